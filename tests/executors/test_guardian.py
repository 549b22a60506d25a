"""Nothing of a run outlives its engine by more than two seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.executors import guardian
from engine.executors.guardian import ENGINE_MARK, RUN_MARK, Guardian
from tests.executors.processes import assert_dies, is_dead, text_in
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

ROOT = str(Path(__file__).parents[2])

# An engine with two busy process workers, one of which has children in its group, in a session
# of their own, and forked; and a child started from a thread, as shell tasks are.
ENGINE = f"""
import os, subprocess, sys, time
sys.path.insert(0, {ROOT!r})
from engine.executors.guardian import Guardian
from engine.executors.process import ProcessExecutor
from tests.executors.fake_hub import FakeHub

def hang(path, detached):
    pids = [os.getpid()]
    pids += [subprocess.Popen(["sleep", "90"], start_new_session=d).pid for d in detached]
    forked = os.fork()
    if not forked:
        os.setsid()
        time.sleep(90)
    open(path + ".part", "w").write(" ".join(map(str, [*pids, forked])))
    os.rename(path + ".part", path)
    for i in range(10**12):
        pass

folder = sys.argv[1]
guardian = Guardian.start("guarded-run")
hub, executor = FakeHub("guarded-run"), ProcessExecutor(guardian)
hub.batch = 1
executor.start(hub, 2, 5.0)
hub.give(hub.attempt(hang, folder + "/one", [False, True]), hub.attempt(hang, folder + "/two", []))
shell = subprocess.Popen(["sleep", "90"], start_new_session=True)
while not all(os.path.exists(folder + "/" + name) for name in ("one", "two")):
    time.sleep(0.005)
holder = os.fork()
if not holder:
    time.sleep(90)  # holds the engine's end of the guardian's pipe
open(folder + "/engine.part", "w").write(f"{{shell.pid}} {{guardian.pid}}")
os.rename(folder + "/engine.part", folder + "/engine")
time.sleep(90)
"""


def numbers(path: Path) -> list[int]:
    return [int(word) for word in text_in(path).split()]


@pytest.mark.fault(2, 3)
def test_everything_is_gone_two_seconds_after_the_engine_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "engine_script.py"
    script.write_text(ENGINE)
    engine = subprocess.Popen([sys.executable, "-W", "ignore", str(script), str(tmp_path)])
    try:
        shell, guarding = numbers(tmp_path / "engine")
        run = [*numbers(tmp_path / "one"), *numbers(tmp_path / "two"), shell]
        assert len(run) == 7 and not any(is_dead(pid) for pid in run)
        engine.kill()
        killed = time.monotonic()
        for pid in run:
            assert_dies(pid, within=2.0 - (time.monotonic() - killed))
        assert_dies(guarding)
    finally:
        engine.kill()
        engine.wait()
        for child in psutil.process_iter(["cmdline"]):
            if str(script) in (child.info["cmdline"] or []):  # the fork that held the pipe
                child.kill()


BRIEF = f"""
import subprocess, sys, time
sys.path.insert(0, {ROOT!r})
from engine.executors import guardian

guardian._SHELL = sys.argv[1]
one = guardian.Guardian.start("brief-run")
carrier = subprocess.Popen(["sleep", "90"], start_new_session=True)
bare = subprocess.Popen(["sleep", "90"], start_new_session=True, env={{"PATH": "/usr/bin:/bin"}})
one.watch(bare.pid)
print(carrier.pid, bare.pid, one.pid, flush=True)
time.sleep(90)
"""


@pytest.mark.fault(2, 3)
@pytest.mark.parametrize("shell", [guardian._SHELL, "/no/shell"])
def test_what_an_engine_left_that_was_killed_at_once_is_gone_too(shell: str) -> None:
    command = [sys.executable, "-c", BRIEF, shell]
    engine = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    carrier, bare, guarding = map(int, engine.stdout.readline().split())
    engine.kill()
    killed = time.monotonic()
    engine.communicate()
    for pid in (carrier, bare):
        assert_dies(pid, within=2.0 - (time.monotonic() - killed))
    assert_dies(guarding)


def test_a_guardian_that_is_ended_leaves_no_sleeper() -> None:
    one = Guardian.start("a-run")
    sleepers = psutil.Process(one.pid).children()
    one.close()
    for sleeper in sleepers:
        assert_dies(sleeper.pid)


def test_a_goodbye_kills_nothing_and_leaves_the_environment_as_it_was() -> None:
    before = dict(os.environ)
    one = Guardian.start("a-run")
    assert os.environ[RUN_MARK] == "a-run" and os.environ[ENGINE_MARK]
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        one.watch(child.pid)
        one.close()
        one.close()
        assert is_dead(one.pid)
        assert child.poll() is None
        assert dict(os.environ) == before
    finally:
        child.kill()
        child.wait()


def test_signals_meant_for_the_engine_do_not_end_its_guardian() -> None:
    one = Guardian.start("a-run")
    try:
        # It ignores them once it is up; before that, the replacement below is what protects.
        wait_for(lambda: "guardian.py" in " ".join(psutil.Process(one.pid).cmdline())
                 and _ignores(one.pid, signal.SIGTERM), "the guardian to be up")
        os.kill(one.pid, signal.SIGTERM)
        os.kill(one.pid, signal.SIGINT)
        one.watch(os.getpid())
        one.forget(os.getpid())
        assert not is_dead(one.pid)
    finally:
        one.close()


def _ignores(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_a_guardian_that_was_killed_is_replaced() -> None:
    one = Guardian.start("a-run")
    try:
        first = one.pid
        os.kill(first, signal.SIGKILL)
        assert_dies(first)

        def replaced() -> bool:
            one.watch(99999999)
            one.forget(99999999)
            return one.pid != first

        # Its sleeper, just forked, has the pipe until it has put another file in its place.
        wait_for(replaced, "another guardian")
        assert not is_dead(one.pid)
    finally:
        one.close()


def test_a_resume_sweeps_away_what_an_earlier_owner_left() -> None:
    environment = {**os.environ, RUN_MARK: "swept-run"}
    stray = subprocess.Popen(["sleep", "60"], env=environment, start_new_session=True)
    other = subprocess.Popen(["sleep", "60"], env={**environment, RUN_MARK: "swept-run-2"})
    try:
        # A process that has just been started has no environment for some microseconds.
        wait_for(lambda: guardian.carriers(RUN_MARK, "swept-run") == [stray.pid])
        assert guardian.sweep("swept-run") == 1
        assert stray.wait(5) == -signal.SIGKILL
        assert other.poll() is None
        assert guardian.sweep("swept-run") == 0
    finally:
        for process in (stray, other):
            process.kill()
            process.wait()


def test_what_shows_its_environment_late_is_found_at_the_next_look(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process that is just being started, on a machine that does much else."""
    stray = subprocess.Popen(["sleep", "60"], env={**os.environ, RUN_MARK: "late-run"})
    looks: list[int] = []
    real = guardian.carriers

    def late(mark: str, value: str) -> list[int]:
        looks.append(0)
        return real(mark, value) if len(looks) > 1 else []

    try:
        wait_for(lambda: real(RUN_MARK, "late-run") == [stray.pid])
        monkeypatch.setattr(guardian, "carriers", late)
        guardian.hunt_carriers(RUN_MARK, "late-run")
        assert stray.wait(5) == -signal.SIGKILL
        assert len(looks) >= 4, "one that found nothing, one that did, and two more"
    finally:
        stray.kill()
        stray.wait()
