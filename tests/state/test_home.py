"""The state directory: private, listed cheaply, found by prefix."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

import pytest

from engine.errors import RunNotFound, StorageError
from engine.state.home import RUN_ID, Home
from engine.state.sqlite_store import SqliteStore


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / ".flowforge")


def make_run(home, run_id, **words):
    home.run_dir(run_id).mkdir()
    store = SqliteStore.create(home.run_dir(run_id) / "run.db", "process")
    store.append(b"x", words)
    store.close()


def test_it_is_made_for_its_user_alone(home):
    for path in (home.path, home.runs_path, home.run_dir(home.new_run_id())):
        assert path.stat().st_mode & 0o777 == 0o700


def test_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Home(create=False).path == tmp_path / ".flowforge"
    monkeypatch.setenv("FLOWFORGE_HOME", str(tmp_path / "env"))
    assert Home(create=False).path == tmp_path / "env"
    assert Home(tmp_path / "given", create=False).path == tmp_path / "given"
    assert list(tmp_path.iterdir()) == []
    assert Home(create=False).runs() == []


@pytest.mark.fault(52)
def test_unsafe_directories_are_refused_with_the_reason(tmp_path, monkeypatch):
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "file").write_text("")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    for path, reason in [(tmp_path / "link", "symbolic link"), (open_to_all, "chmod 700"),
                         (tmp_path / "file", "not a directory"),
                         (tmp_path / "file" / "below", "cannot be made")]:
        with pytest.raises(StorageError, match=reason):
            Home(path)
    with pytest.raises(StorageError, match="symbolic link"):
        Home(tmp_path / "link", create=False)
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    with pytest.raises(StorageError, match="another user"):
        Home(real)


@pytest.mark.fault(52)
def test_a_directory_that_others_can_read_is_closed_to_them(tmp_path):
    path = tmp_path / "home"
    path.mkdir()
    path.chmod(0o755)
    Home(path)
    assert path.stat().st_mode & 0o777 == 0o700


def test_run_ids_are_unique_and_checked(home):
    ids = [home.new_run_id() for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(RUN_ID.fullmatch(i) for i in ids)
    assert home.run_ids() == sorted(ids, reverse=True)
    for bad in ("../x", "", "a\0b", "-rf", "20261122-214850-x7k2/..", "20261122-214850-x7k2\n"):
        with pytest.raises(RunNotFound):
            home.run_dir(bad)


def test_runs_are_listed_newest_first_with_their_words(home):
    make_run(home, "20260101-000000-aaaa", state="SUCCESS", workflow="one")
    make_run(home, "20260301-000000-aaaa", state="RUNNING", workflow="two")
    home.run_dir("20260201-000000-aaaa").mkdir()
    (home.runs_path / "notes.txt").write_text("not a run")
    newest, broken, oldest = home.runs()
    assert (newest.meta["workflow"], newest.problem) == ("two", "")
    assert broken.meta == {} and "run.db" in broken.problem
    assert oldest.meta["state"] == "SUCCESS"


def test_a_live_run_is_listed_too(home):
    run_id = home.new_run_id()
    store = SqliteStore.create(home.run_dir(run_id) / "run.db", "process")
    store.append(b"x", {"state": "RUNNING"})
    assert home.runs()[0].meta["state"] == "RUNNING"
    store.append(b"y", {"state": "SUCCESS"})
    assert home.runs()[0].meta["state"] == "SUCCESS"
    store.close()


def test_damaged_and_newer_runs_do_not_hide_the_others(home):
    make_run(home, "20260101-000000-aaaa", state="SUCCESS")
    make_run(home, "20260102-000000-aaaa")
    make_run(home, "20260103-000000-aaaa")
    (home.run_dir("20260102-000000-aaaa") / "run.db").write_bytes(b"rubbish" * 1000)
    raw = sqlite3.connect(home.run_dir("20260103-000000-aaaa") / "run.db")
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    newer, damaged, sound = home.runs()
    assert "upgrade" in newer.problem
    assert damaged.problem and not damaged.meta
    assert sound.meta["state"] == "SUCCESS"


def test_runs_are_found_by_id_prefix_and_latest(home):
    with pytest.raises(RunNotFound, match="no runs"):
        home.find("latest")
    for run_id in ("20260101-000000-aaaa", "20260101-000000-aabb", "20260201-000000-aaaa"):
        home.run_dir(run_id).mkdir()
    assert home.find("latest") == home.find("202602") == "20260201-000000-aaaa"
    assert home.find("20260101-000000-aab") == "20260101-000000-aabb"
    assert home.find("20260101-000000-aaaa") == "20260101-000000-aaaa"
    with pytest.raises(RunNotFound, match="fits 2 runs"):
        home.find("20260101")
    for bad in ("x", "", "../runs"):
        with pytest.raises(RunNotFound, match="no run is called"):
            home.find(bad)


def test_the_last_run_of_an_identity(home):
    assert home.last_run("flow.py pipeline {}") is None
    first, second = home.new_run_id(), home.new_run_id()
    home.set_last_run("flow.py pipeline {}", first)
    home.set_last_run("flow.py other {}", second)
    assert home.last_run("flow.py pipeline {}") == first
    home.set_last_run("flow.py pipeline {}", second)
    assert home.last_run("flow.py pipeline {}") == second
    home.run_dir(second).rmdir()
    assert home.last_run("flow.py pipeline {}") is None
    home._pointer("flow.py pipeline {}").write_text("../../etc")
    assert home.last_run("flow.py pipeline {}") is None


@pytest.fixture
def runtime(monkeypatch):
    """A runtime directory with a short path; that of `tmp_path` may be too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="ff") as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory)


def test_socket_paths_are_short_private_and_of_the_run(tmp_path, runtime, monkeypatch):
    deep = Home(tmp_path / ("d" * 100) / "e")
    one, two = deep.new_run_id(), deep.new_run_id()
    path = deep.socket_path(one)
    assert path == deep.socket_path(one) != deep.socket_path(two)
    assert path.parent == runtime / "flowforge"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    assert len(os.fsencode(deep.socket_path(one))) <= 103


@pytest.mark.fault(52)
def test_a_socket_directory_of_somebody_else_is_refused(home, runtime):
    (runtime / "flowforge").mkdir()
    (runtime / "flowforge").chmod(0o777)
    with pytest.raises(StorageError, match="chmod 700"):
        home.socket_path(home.new_run_id())


@pytest.mark.fault(25)
def test_network_filesystems_are_recognised(home, monkeypatch):
    assert home.network_filesystem() is None

    mounts = f"dev / ext4 rw 0 0\nserver:/x {home.path.resolve()} nfs4 rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda *_: mounts)
    assert home.network_filesystem() == "nfs4"
