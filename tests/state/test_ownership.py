"""Ownership: one process at a time, told from its stand-ins, taken over only when it is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from engine.errors import RunOwned, StorageError
from engine.state.ownership import Owner, Ownership, probe, process_start, take_over
from engine.state.sqlite_store import SqliteStore

HOLDER = """
import sys, time
from pathlib import Path
from engine.state.ownership import Ownership
if len(sys.argv) > 2:
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = Ownership.acquire(Path(sys.argv[1]), socket="/tmp/s")
print(held.epoch, flush=True)
time.sleep(600)
"""

CONTENDER = """
import sys
from pathlib import Path
from engine.errors import RunOwned
from engine.state.ownership import Ownership
sys.stdin.readline()
try:
    held = Ownership.acquire(Path(sys.argv[1]))
    print("own", flush=True)
    sys.stdin.readline()
except RunOwned:
    print("owned", flush=True)
"""


@pytest.fixture
def start(tmp_path):
    started = []

    def run(code, *args):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), *args], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_one_owner_at_a_time(tmp_path):
    held = Ownership.acquire(tmp_path, socket="/tmp/x.sock")
    with pytest.raises(RunOwned, match="attach") as caught:
        Ownership.acquire(tmp_path)
    assert caught.value.pid == os.getpid()
    assert caught.value.host == held.owner.host
    assert abs(caught.value.since - time.time()) < 60
    found = probe(tmp_path)
    assert found == held.owner and found.socket == "/tmp/x.sock" and found.alive
    held.release()
    held.release()
    assert probe(tmp_path) is None
    assert Ownership.acquire(tmp_path).epoch == 2


def test_a_directory_without_owner(tmp_path):
    assert probe(tmp_path) is None
    assert probe(tmp_path / "nothing") is None
    with pytest.raises(StorageError, match="there and writable"):
        Ownership.acquire(tmp_path / "nothing")


def test_the_lock_file_is_not_followed_elsewhere(tmp_path):
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "owner.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        Ownership.acquire(tmp_path)


@pytest.mark.fault(36)
def test_of_twenty_processes_one_gets_the_run(start):
    contenders = [start(CONTENDER) for _ in range(20)]
    for process in contenders:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.stdout.readline().strip() for process in contenders]
    assert sorted(answers) == ["own"] + ["owned"] * 19


def test_death_frees_the_run_and_the_epoch_goes_on(start, tmp_path):
    holder = start(HOLDER)
    assert holder.stdout.readline() == "1\n"
    assert probe(tmp_path).pid == holder.pid
    holder.kill()
    holder.wait()
    assert probe(tmp_path) is None
    assert Ownership.acquire(tmp_path).epoch == 2


def test_a_live_owner_is_left_alone_without_force(start, tmp_path):
    holder = start(HOLDER)
    holder.stdout.readline()
    with pytest.raises(RunOwned):
        take_over(tmp_path)
    assert holder.poll() is None


@pytest.mark.fault(37)
@pytest.mark.parametrize("how", ["asleep", "deaf"])
def test_force_ends_the_owner_first(start, tmp_path, how):
    holder = start(HOLDER, *(["deaf"] if how == "deaf" else []))
    holder.stdout.readline()
    if how == "asleep":
        holder.send_signal(signal.SIGSTOP)
    held = take_over(tmp_path, force=True, grace=0.2 if how == "deaf" else 10.0)
    assert held.epoch == 2
    assert holder.wait(10) in (-signal.SIGTERM, -signal.SIGKILL)
    assert probe(tmp_path).pid == os.getpid()


@pytest.mark.fault(38)
def test_a_stranger_with_the_owners_pid_is_not_the_owner():
    start_time = process_start(os.getpid())
    here = __import__("socket").gethostname()
    assert Owner(os.getpid(), start_time, here).alive
    assert not Owner(os.getpid(), start_time - 1, here).alive
    assert not Owner(os.getpid(), start_time, "elsewhere").alive
    assert not Owner().alive
    assert process_start(2**22 + 1) is None


def test_force_does_not_touch_an_owner_elsewhere(tmp_path, monkeypatch):
    held = Ownership.acquire(tmp_path)
    monkeypatch.setattr("socket.gethostname", lambda: "another machine")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("killed a stranger"))
    with pytest.raises(RunOwned):
        take_over(tmp_path, force=True)
    held.release()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', "\0" * 50])
def test_a_damaged_text_does_not_matter(tmp_path, text):
    store = SqliteStore.create(tmp_path / "run.db", "process", 7)
    store.close()
    (tmp_path / "owner.lock").write_text(text)
    held = Ownership.acquire(tmp_path)
    assert held.epoch == 8
    SqliteStore.open(tmp_path / "run.db", "process", held.epoch).close()
    held.release()
