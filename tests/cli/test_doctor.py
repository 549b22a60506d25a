"""`flowforge doctor`: what it finds, and that a damaged run is spoken of wherever it is opened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.runtime.checkup import has_wal_reset_bug, sqlite_finding
from tests.cli.flows import Place
from tests.waiting import wait_for

#: With a result large enough for a file of its own.
LARGE = """
from engine import task, workflow

@task
def big():
    return b"x" * 300_000

@task
def small(x):
    return len(x)

@workflow
def large():
    return small(big())
"""


def wrong(place: Place) -> list[str]:
    """What is found to be wrong."""
    done = place.start("doctor", "--json")
    out, err = done.communicate(timeout=60)
    assert not err, err
    told = json.loads(out)
    found = [f"{f['what']}: {f['told']}" for f in told["findings"] if f["verdict"] == "wrong"]
    assert told["good"] is (not found) and done.returncode == (3 if found else 0)
    return found


def run_dir(place: Place) -> Path:
    return max((place.path / ".flowforge" / "runs").iterdir())


def test_all_is_well(place: Place):
    assert wrong(place) == []
    place.do("run", "pipe.py")
    assert wrong(place) == []
    text = place.do("doctor").stdout
    for word in ("SQLite", "signing key", "writing", "filesystem", "disk", "SUCCESS", "1 run"):
        assert word in text


def test_the_state_directory(place: Place):
    home = place.path / ".flowforge"
    home.mkdir()
    home.chmod(0o777)
    assert any("chmod 700" in told for told in wrong(place))
    home.rmdir()
    home.symlink_to(place.path)
    assert any("symbolic link" in told for told in wrong(place))


def test_a_key_that_is_open_to_others(place: Place):
    place.do("run", "pipe.py")
    (place.path / "key").touch()
    (place.path / "key").chmod(0o644)
    assert any("chmod 600" in told for told in wrong(place))


def flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] ^= 1
    path.write_bytes(data)


def flip_row(directory: Path) -> None:
    path = directory / "run.db"
    data = bytearray(path.read_bytes())
    data[data.index(b"small") + 2] ^= 1
    path.write_bytes(data)


def flip_row_of_both(directory: Path) -> None:
    flip_row(directory)
    (directory / "snapshot.msgpack").unlink()


def truncate(directory: Path) -> None:
    os.truncate(directory / "run.db", 5000)


def ruin(directory: Path) -> None:
    (directory / "run.db").write_bytes(b"not a database" * 100)


DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("row", flip_row, "damaged: row"),
    ("row, no snapshot", flip_row_of_both, "journal is damaged"),
    ("truncated", truncate, "damaged"),
    ("ruined", ruin, "journal cannot be read"),
    ("snapshot", lambda d: flip(d / "snapshot.msgpack"), "second copy"),
    ("blob", lambda d: flip(next((d / "blobs").rglob("?" * 40))), "large result"),
    ("blob gone", lambda d: next((d / "blobs").rglob("?" * 40)).unlink(), "large result"),
]


@pytest.mark.fault(20, 21, 23)
@pytest.mark.parametrize(("harm", "words"), [d[1:] for d in DAMAGE], ids=[d[0] for d in DAMAGE])
def test_damage_is_found_and_said_wherever_the_run_is_opened(
    place: Place, harm: Callable[[Path], object], words: str
):
    place.write("large.py", LARGE)
    place.do("run", "large.py")
    harm(run_dir(place))
    found = wrong(place)
    assert found and words in " ".join(found), found
    if words in ("damaged: row", "second copy", "large result"):
        return  # no part of what a look shows
    assert "damage:" in place.do("show", "latest").stdout
    assert json.loads(place.do("show", "latest", "--json").stdout)["damage"]
    resumed = place.do("resume", "latest")
    assert "damage found" in resumed.stderr


@pytest.mark.fault(21)
def test_a_log_that_is_gone_is_missed_by_a_look_too(place: Place):
    gate = place.start("run", "gate.py")
    place.wait_for("waiting")
    gate.send_signal(signal.SIGKILL)
    gate.communicate()
    (run_dir(place) / "run.db-wal").unlink()
    assert "run.db-wal" in place.do("show", "latest").stdout
    shutil.rmtree(place.path / ".flowforge")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_that_a_dead_owner_left(place: Place):
    place.do("run", "pipe.py")
    stray = subprocess.Popen(["sleep", "60"], env={
        **os.environ, "FLOWFORGE_RUN": run_dir(place).name, "FLOWFORGE_ENGINE": "gone"})
    try:
        wait_for(lambda: any(str(stray.pid) in told for told in wrong(place)), "the stray")
    finally:
        stray.kill()
        stray.wait()
    assert wrong(place) == []


def test_a_live_run_is_left_alone(place: Place):
    gate = place.start("run", "gate.py")
    place.wait_for("waiting")
    text = place.do("doctor").stdout
    assert f"owned by process {gate.pid}" in text
    place.write("go", "")
    gate.communicate(timeout=60)
    assert gate.returncode == 0


def test_a_setting_that_is_wrong(place: Place):
    place.env["FLOWFORGE_WORKERS"] = "many"
    done = place.do("doctor", code=3)
    assert "FLOWFORGE_WORKERS" in done.stdout and "Traceback" not in done.stderr


@pytest.mark.parametrize(("version", "verdict"), [
    ((3, 34, 1), "wrong"), ((3, 40, 1), "note"), ((3, 44, 5), "note"), ((3, 44, 6), "ok"),
    ((3, 45, 0), "note"), ((3, 50, 6), "note"), ((3, 50, 7), "ok"), ((3, 51, 2), "note"),
    ((3, 51, 3), "ok"), ((3, 53, 0), "ok"),
])
def test_sqlite_versions_and_what_is_known_of_them(version: tuple[int, ...], verdict: str):
    assert sqlite_finding(version, 3).verdict == verdict
    assert has_wal_reset_bug(version) is (verdict == "note" or version == (3, 34, 1))
    assert sqlite_finding(version, 0).verdict == "wrong"
