"""A ticker that dozes while nothing can change: whatever a step changes wakes it.

Its doze is made a day long here, so that a wake which is missing is an end that never comes.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from engine import task, workflow
from engine.runtime import runner
from engine.runtime.runner import Runner
from tests.runtime.harness import Bench, first, note
from tests.runtime.live import Watched
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("long_doze")
EXECUTORS = ("thread", "process", "sequential")


@pytest.fixture
def long_doze(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "DOZE", 86_400.0)


class Alarm(threading.Event):
    """What wakes the ticker; it tells for how long that sleeps."""

    asked = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.asked = timeout or 0.0
        return super().wait(timeout)


class Bed:
    """The ticker of a run that has begun."""

    def __init__(self, run: Watched) -> None:
        close: Any = run.live.close
        self.runner: Runner = close.__self__
        before, self.alarm = self.runner._wake, Alarm()
        self.runner._wake = self.alarm
        before.set()

    def dozes(self) -> None:
        """Wait until it dozes."""
        wait_for(lambda: self.alarm.asked > 3_600, "the ticker to doze")


@task
def waits(folder):
    import time
    from pathlib import Path

    from engine import current

    note("waits")
    while not Path(folder, "go").exists():
        if current().cancelled():
            raise InterruptedError
        time.sleep(0.002)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_run_that_has_ended_and_lingers_is_not_looked_at(bench: Bench, executor: str):
    @task
    def fails_once():
        note("fails_once")
        if first("fails_once"):
            raise ValueError("not yet")

    @task
    def behind(x, folder):
        note("behind")

    @workflow
    def flow(folder: str):
        behind(fails_once(), folder)

    run = Watched(bench, flow, executor=executor, linger=True)
    run.run_until("FAILED")
    bed = Bed(run)
    bed.dozes()
    looked: list[int] = []
    bed.runner.pollers.append(lambda: looked.append(1))
    assert run.ask("status") == "FAILED"
    assert looked == []  # being asked changes nothing
    run.ask("retry")
    run.run_until("SUCCESS")
    assert bench.ledger.all() == ["fails_once", "fails_once", "behind"]
    wait_for(lambda: looked, "the ticker to have looked at what the command did")
    bed.dozes()
    run.ask("close")
    assert str(run.end().state) == "SUCCESS"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_while_one_task_runs_it_dozes_and_hears_of_a_cancel(bench: Bench, executor: str):
    @workflow
    def flow(folder: str):
        waits(folder)

    run = Watched(bench, flow, executor=executor, linger=True)
    run.until("waits", "RUNNING")
    Bed(run).dozes()
    run.ask("cancel")
    run.run_until("CANCELLED")
    run.ask("close")
    assert str(run.end().state) == "CANCELLED"


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_begins_meanwhile_is_announced_and_runs_out_of_time(bench: Bench, executor: str):
    @task(timeout=0.7, retries=1, retry_delay=0.7)
    def too_long(folder):
        import time
        from pathlib import Path

        from engine import current

        note("too_long")
        while not Path(folder, "go").exists() and not current().cancelled():
            time.sleep(0.002)

    @task
    def never(x):
        note("never")

    @workflow
    def flow(folder: str):
        never(too_long(folder))

    run = Watched(bench, flow, executor=executor, linger=True)
    run.until("too_long", "RUNNING")
    run.run_until("FAILED")
    Bed(run).dozes()
    assert bench.ledger.all() == ["too_long", "too_long"]
    run.ask("retry")
    bench.ledger.until("too_long", "too_long", "too_long")
    run.until("too_long", "RUNNING")
    run.ask("close")
    assert str(run.end().state) in ("SUCCESS", "FAILED")


def test_of_two_that_run_one_ends_and_the_other_is_still_waited_for_in_a_doze(bench: Bench):
    @task
    def shorter(folder):
        import time
        from pathlib import Path

        note("shorter")
        while not Path(folder, "end shorter").exists():
            time.sleep(0.002)

    @workflow
    def flow(folder: str):
        waits(folder)
        shorter(folder)

    run = Watched(bench, flow, executor="thread", workers=2, linger=True)
    run.until("waits", "RUNNING")
    run.until("shorter", "RUNNING")
    Bed(run).dozes()
    (bench.folder / "end shorter").touch()
    run.until("shorter", "SUCCESS")
    Bed(run).dozes()
    run.ask("close")
    assert str(run.end().state) == "SUCCESS"


def test_what_is_left_in_the_queue_of_a_run_that_has_stopped_keeps_nobody_awake(bench: Bench):
    @task
    def fails(i, folder):
        raise ValueError(i)

    @workflow(on_failure="stop")
    def flow(folder: str):
        fails.partial(folder=folder).map(list(range(50)))

    run = Watched(bench, flow, executor="thread", workers=2, linger=True)
    run.run_until("FAILED")
    bed = Bed(run)
    bed.dozes()
    run.ask("close")
    assert str(run.end().state) == "FAILED"


def test_a_run_that_was_cancelled_while_it_lingers_is_tried_again_as_a_whole(bench: Bench):
    @workflow
    def flow(folder: str):
        waits(folder)

    run = Watched(bench, flow, executor="thread", linger=True)
    run.until("waits", "RUNNING")
    run.ask("cancel")
    run.run_until("CANCELLED")
    assert run.ask("retry") == "1 task run will be tried again"
    bench.ledger.until("waits", "waits")
    (bench.folder / "go").touch()
    run.run_until("SUCCESS")
    run.ask("close")
    assert str(run.end().state) == "SUCCESS"
