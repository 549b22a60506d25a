"""Ctrl-C, once to three times, and SIGTERM on runs under plain `python FILE`."""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

import pytest

from engine import current, task, workflow
from engine.executors.guardian import RUN_MARK, carriers
from engine.runtime.stored import open_stored
from tests.runtime.harness import Bench, Session, first, note
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


def flow_of(stubborn: bool = False) -> Any:
    """Two tasks that wait for a word each, and two behind them."""
    @task
    def held(i, folder):
        from pathlib import Path

        note(f"held{i}")
        while not Path(folder, "go").exists():
            if current().cancelled() and not stubborn:
                raise InterruptedError("told to stop")
            time.sleep(0.005)
        note(f"ended{i}")
        return i

    @task
    def behind(x):
        note(f"behind{x}")
        return x

    @workflow
    def flow(folder: str):
        return [behind(held(i, folder)) for i in range(2)]

    return flow


def begun(bench: Bench, **more: Any) -> Session:
    stubborn = more.pop("stubborn", False)
    session = bench.start(flow_of(stubborn), parameters={"folder": str(bench.folder)}, **more)
    bench.ledger.until("held0", "held1") if more.get("executor") != "sequential" else (
        bench.ledger.until("held0"))
    return session


def carried_on(bench: Bench, **more: Any) -> list[str]:
    """The names of what ran when the run was carried on to its end."""
    stored = open_stored(bench.folder / "home", "latest")
    assert stored.state == "INTERRUPTED"
    bench.ledger.new()
    (bench.folder / "go").touch()
    run = bench.run(flow_of(), parameters={"folder": str(bench.folder)}, **more)
    assert run.run_id == stored.run_id and run.result == [0, 1]
    return bench.ledger.new()


@pytest.mark.fault(47)
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_the_first_drains(bench: Bench, executor: str):
    session = begun(bench, executor=executor)
    session.signal(signal.SIGINT)
    wait_for(lambda: "no new task starts" in session.text(), "an answer")
    (bench.folder / "go").touch()
    assert session.ended() == 130, session.text()
    assert not {"behind0", "behind1"} & set(bench.ledger.all())
    assert carried_on(bench, executor=executor) == ["behind0", "behind1"]


@pytest.mark.fault(47)
@pytest.mark.parametrize("executor", ["thread", "process", "sequential"])
def test_the_second_stops_what_runs(bench: Bench, executor: str):
    session = begun(bench, executor=executor)
    session.signal(signal.SIGINT)
    wait_for(lambda: "no new task starts" in session.text(), "an answer")
    session.signal(signal.SIGINT)
    assert session.ended() == 130, session.text()
    assert "ended0" not in bench.ledger.all()
    again = carried_on(bench)
    assert {"held0", "held1", "behind0", "behind1"} <= set(again)


@pytest.mark.fault(47)
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_the_third_leaves_at_once(bench: Bench, executor: str):
    session = begun(bench, executor=executor, stubborn=True, grace=60.0)
    for answer in ("no new task starts", "once more to leave", ""):
        session.signal(signal.SIGINT)
        wait_for(lambda a=answer: a in session.text(), answer)
    assert session.ended() == 130, session.text()
    run_id = bench.run_dirs[0].name
    wait_for(lambda: not carriers(RUN_MARK, run_id), "the end of the workers")
    assert "held0" in carried_on(bench)


@pytest.mark.fault(46)
def test_sigterm_stops_what_runs_and_ends_the_process_by_it(bench: Bench):
    session = begun(bench)
    session.signal(signal.SIGTERM)
    assert session.ended() == 128 + signal.SIGTERM, session.text()
    assert "ended0" not in bench.ledger.all()
    assert "held0" in carried_on(bench)


def test_an_at_most_once_task_that_was_stopped_by_a_signal_is_not_repeated(bench: Bench):
    @task(on_interrupt="fail")
    def pay(folder):
        note("pay")
        while not current().cancelled():
            time.sleep(0.005)
        raise InterruptedError

    @workflow
    def flow(folder: str):
        return pay(folder)

    session = bench.start(flow, parameters={"folder": "x"})
    bench.ledger.until("pay")
    session.signal(signal.SIGTERM)
    session.ended()
    run = bench.run(flow, parameters={"folder": "x"})
    assert run.state == "FAILED" and run.task_runs["pay"].reason == "interrupted"
    assert bench.ledger.all() == ["pay"]


@pytest.mark.fault(46)
def test_sighup_does_not_stop_a_headless_run(bench: Bench):
    session = begun(bench)
    session.signal(signal.SIGHUP)
    (bench.folder / "go").touch()
    assert session.ended() == 0, session.text()
    assert open_stored(bench.folder / "home", "latest").state == "SUCCESS"


def test_a_signal_between_two_tasks_of_a_sequential_run(bench: Bench):
    @task
    def step(i):
        note(f"step{i}")
        if i == 3 and first("signal"):
            import os

            os.kill(os.getpid(), signal.SIGINT)
        if i > 3:
            time.sleep(0.002)  # a signal is heard within a tick, and 300 no-ops take fewer
        return i

    @workflow
    def flow():
        x = step(0)
        for i in range(1, 300):
            x = step.options(name=f"s{i}")(i).after(x)
        return x

    session = bench.start(flow, executor="sequential")
    assert session.ended() == 130, session.text()
    done = bench.recorded()
    assert 3 < len(done) < 300
    bench.ledger.new()
    assert bench.run(flow, executor="sequential").result == 299
    assert len(bench.ledger.new()) == 300 - len(done)
