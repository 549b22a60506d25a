"""Workers that die, hang, or cannot be had: on whole runs, and where that says more, on a pool."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from engine import current, task, workflow
from engine.core.states import FAILED, FailureReason
from tests.executors.processes import text_in
from tests.runtime.harness import Bench, first, note, until_told, within
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process workers, /proc")


def add(a: int, b: int = 1) -> int:
    return a + b


@pytest.mark.fault(1)
def test_of_four_busy_workers_the_killed_one_is_blamed_alone(bench: Bench):
    @task
    def busy(i: int, folder: str):
        note(f"busy{i}")
        # Whole or not there: the test reads it as soon as it is.
        Path(folder, f"part{i}").write_text(str(os.getpid()))
        os.rename(Path(folder, f"part{i}"), Path(folder, f"pid{i}"))
        until_told(folder)
        return [i, current().attempt]

    @workflow
    def flow(folder: str):
        return busy.partial(folder=folder).map(i=range(4))

    heard: list[Any] = []

    def meddle() -> None:
        pids = [int(text_in(bench.folder / f"pid{i}")) for i in range(4)]
        assert len(set(pids)) == 4
        os.kill(pids[2], signal.SIGKILL)
        wait_for(lambda: bench.ledger.all().count("busy2") == 2, "the second attempt")
        (bench.folder / "go").touch()

    from engine import TaskFailed, TaskRetrying

    for kind in (TaskFailed, TaskRetrying):
        flow.on(kind, heard.append)
    helper = threading.Thread(target=meddle)
    helper.start()
    run = bench.run(flow, executor="process", workers=4,
                    parameters={"folder": str(bench.folder)})
    helper.join()
    assert run.result == [[0, 1], [1, 1], [2, 2], [3, 1]]
    assert [(e.task, type(e).__name__) for e in heard] == [("busy[2]", "TaskRetrying")]
    assert "signal 9 (SIGKILL)" in heard[0].error.message
    assert sorted(bench.ledger.all()) == ["busy0", "busy1", "busy2", "busy2", "busy3"]


@pytest.mark.fault(7)
def test_an_exception_that_pickles_but_cannot_be_unpickled(pool: Any):
    class Twofold(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")  # unpickled as Twofold("1 and 2"): a TypeError

    def fails() -> None:
        raise Twofold(1, 2)

    p = pool()
    a, after = p.hub.attempt(fails), p.hub.attempt(add, 1)
    p.hub.give(a, after)
    p.hub.wait(a, after)
    assert a.status is FAILED and a.reason == FailureReason.ERROR
    assert (a.error.type, a.error.message) == ("Twofold", "1 and 2")
    assert "raise Twofold(1, 2)" in a.error.traceback
    assert p.hub.value(after) == 2


@pytest.mark.fault(11)
def test_a_result_that_comes_after_the_timeout_and_beside_the_retry_is_refused(bench: Bench):
    @task(timeout=0.05, retries=1)
    def slow(folder: str):
        if first("slow"):
            until_told(folder, "second")
            note("late")
            return "late"
        Path(folder, "second").touch()
        return "in time"

    @task
    def last(x: str, folder: str):
        wait_for(lambda: "late" in bench.ledger.all(), "the late one")
        return x

    @workflow
    def flow(folder: str):
        return last(slow(folder), folder)

    run = bench.run(flow, executor="thread", parameters={"folder": str(bench.folder)})
    assert run.result == "in time"
    assert run.task_runs["slow"].attempt == 2


@pytest.mark.fault(12)
def test_a_run_with_a_task_that_runs_out_of_memory(bench: Bench):
    @task
    def hungry():
        import resource

        import psutil

        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
        return len(bytearray(1 << 30))

    @task
    def modest(i: int):
        return i

    @workflow
    def flow():
        return hungry(), modest.map(range(20))

    run = bench.run(flow, executor="process")
    assert run.state == "FAILED"
    assert "probably out of memory" in run.task_runs["hungry"].error.message
    assert all(run.task_runs[f"modest[{i}]"].result == i for i in range(20))


@pytest.mark.fault(13)
def test_a_poison_task_fails_after_two_workers_and_the_rest_goes_on(bench: Bench):
    @task(retries=5)
    def poison(i: int):
        note(f"poison{i}")
        os.kill(os.getpid(), signal.SIGSEGV)

    @task
    def good(i: int):
        return i

    @task
    def below(x: object):
        note("below")

    @workflow
    def flow():
        below(poison(0))
        return good.map(range(200))

    run = bench.run(flow, executor="process")
    assert run.state == "FAILED"
    assert bench.ledger.all() == ["poison0"] * 2
    info = run.task_runs["poison"]
    assert (info.state.name, info.reason) == ("FAILED", "crashed")
    assert "signal 11 (SIGSEGV)" in info.error.message
    assert run.task_runs["below"].state.name == "UPSTREAM_FAILED"
    assert all(run.task_runs[f"good[{i}]"].result == i for i in range(200))


@pytest.mark.fault(14)
def test_a_worker_killed_while_it_sends_100_mb_is_a_crash(bench: Bench):
    @task
    def huge(folder: str):
        if first("kill"):
            pid = os.getpid()

            def kill_in_mid_send() -> None:
                # One message of 100 MB, and a pipe of 256 kB: a write that lasts.
                task_thread = Path(f"/proc/{pid}/task/{pid}/syscall")
                while not _writes_much(task_thread.read_text()):
                    pass
                os.kill(pid, signal.SIGKILL)

            threading.Thread(target=kill_in_mid_send, daemon=True).start()
        return [os.urandom(1 << 20) * 50, b"x" * 50_000_000]

    @workflow
    def flow(folder: str):
        return huge(folder)

    run = bench.run(flow, executor="process", parameters={"folder": str(bench.folder)})
    assert run.task_runs["huge"].attempt == 2, "it was not killed"
    assert [len(part) for part in run.result] == [50 << 20, 50_000_000]


def _writes_much(syscall: str) -> bool:
    """True within write(fd, data, more than 10 MB); the number of `write` by machine."""
    number, *arguments = syscall.split()
    numbers = {"x86_64": "1", "aarch64": "64"}
    return number == numbers[os.uname().machine] and int(arguments[2], 16) > 10_000_000


@pytest.mark.fault(15)
def test_without_processes_it_waits_and_says_so(pool: Any, monkeypatch: pytest.MonkeyPatch):
    """EAGAIN of the system call itself, which root does not get from RLIMIT_NPROC."""
    import _posixsubprocess

    real, tries = _posixsubprocess.fork_exec, []

    def none_left(*args: Any) -> int:
        tries.append(1)
        if len(tries) <= 3:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return real(*args)

    p = pool()
    p.executor.guardian()  # a process of its own
    monkeypatch.setattr("subprocess._fork_exec", none_left)
    a = p.hub.attempt(add, 1)
    p.hub.give(a)
    p.hub.wait(a)
    assert p.hub.value(a) == 2 and len(tries) == 4
    assert sum("trying again" in note for note in p.hub.notes) == 1


@pytest.mark.fault(15)
def test_a_run_without_descriptors_waits_and_goes_on(bench: Bench):
    """Everything that the engine itself opens while it runs must survive that, too."""
    @task
    def opens(folder: str):
        note("opens")
        until_told(folder)
        return 1

    @task(executor="process")
    def behind(x: int):
        return x + 1

    @workflow
    def flow(folder: str):
        return behind(opens(folder))

    import resource as limits

    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)

    def meddle() -> None:
        bench.ledger.until("opens")
        limits.setrlimit(limits.RLIMIT_NOFILE, (3, hard))
        try:
            # The ledger's folder cannot be listed either: a descriptor that is there is used.
            os.write(go, b"x")
            os.rename(bench.folder / "gone", bench.folder / "go")
            wait_for(lambda: any("trying again" in s for s in bench.said), "a word about it")
        finally:
            limits.setrlimit(limits.RLIMIT_NOFILE, (soft, hard))

    go = os.open(bench.folder / "gone", os.O_CREAT | os.O_WRONLY)
    helper = threading.Thread(target=meddle)
    helper.start()
    try:
        with within(60.0) as call:
            run = call(lambda: bench.run(flow, executor="thread",
                                         parameters={"folder": str(bench.folder)}))
    finally:
        helper.join()
        os.close(go)
    assert run.result == 2
