"""A run that stays open once it has ended, for somebody to mend and go on with it."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from engine import task, workflow
from engine.errors import RunError
from engine.runtime.request import Request
from engine.runtime.stored import open_stored
from tests.runtime.harness import Bench, Session, note, until_told
from tests.runtime.live import Watched
from tests.waiting import wait_for


def brittle() -> Any:
    """Fails until a file is there."""
    @task
    def first():
        note("first")
        return 1

    @task
    def second(x, folder):
        from pathlib import Path

        note("second")
        if not Path(folder, "mended").exists():
            raise ValueError("not yet")
        return x + 1

    @task
    def third(x):
        note("third")
        return x + 1

    @workflow
    def flow(folder: str):
        return third(second(first(), folder))

    return flow


@pytest.mark.parametrize("executor", ["thread", "process", "sequential"])
def test_a_failed_run_waits_to_be_mended_and_goes_on(bench: Bench, executor: str):
    run = Watched(bench, brittle(), executor=executor, linger=True)
    run.run_until("FAILED")
    assert run.alive
    assert open_stored(bench.folder / "home", "latest").owner is not None
    (bench.folder / "mended").touch()
    assert run.ask("retry") == "1 task run will be tried again"
    run.run_until("SUCCESS")
    assert run.alive
    assert "run again" in run.ask("rerun", "third")
    wait_for(lambda: bench.ledger.all().count("third") == 2, "third again")
    run.run_until("SUCCESS")
    assert run.live.close is not None
    run.live.close()
    ended = run.end()
    assert (str(ended.state), ended.result) == ("SUCCESS", 3)
    assert bench.ledger.new() == ["first", "second", "second", "third", "third"]


def test_what_makes_no_sense_after_the_end_is_refused(bench: Bench):
    run = Watched(bench, brittle(), linger=True)
    run.run_until("FAILED")
    for command in ("cancel", "pause", "unpause"):
        with pytest.raises(RunError):
            run.ask(command)
    assert run.ask("status") == "FAILED"
    assert run.ask("close") == "the run is closed"
    assert str(run.end().state) == "FAILED"


def test_a_run_told_to_close_early_closes_when_it_has_ended(bench: Bench):
    @task
    def wait(folder):
        from pathlib import Path

        while not Path(folder, "go").exists():
            pass

    @workflow
    def flow(folder: str):
        wait(folder)

    run = Watched(bench, flow, linger=True)
    run.until("wait", "RUNNING")
    assert "when it has ended" in run.ask("close")
    assert run.alive
    assert str(run.end().state) == "SUCCESS"


def test_a_cancelled_run_can_be_gone_on_with(bench: Bench):
    @task
    def wait(folder):
        import time
        from pathlib import Path

        from engine import current

        note("wait")
        while not Path(folder, "go").exists():
            if current().cancelled():
                raise InterruptedError
            time.sleep(0.002)

    @task
    def after(x):
        note("after")

    @workflow
    def flow(folder: str):
        after(wait(folder))

    run = Watched(bench, flow, linger=True)
    run.until("wait", "RUNNING")
    run.ask("cancel")
    run.run_until("CANCELLED")
    (bench.folder / "go").touch()
    run.ask("retry", "wait")
    run.run_until("SUCCESS")
    run.ask("close")
    assert str(run.end().state) == "SUCCESS"
    assert bench.ledger.new() == ["after", "wait", "wait"]


def hosted(bench: Bench) -> Session:
    """The same in a process of its own."""
    folder = str(bench.folder)
    act = lambda: bench.run(  # noqa: E731
        brittle(), request=Request(linger=True), parameters={"folder": folder})
    session = Session(act, bench.folder / "session.txt")
    bench.ledger.until("second")

    def state() -> str:
        return str(open_stored(bench.folder / "home", "latest").record.run_state)

    wait_for(lambda: state() == "FAILED", "the failure to be recorded")
    return session


def test_killed_while_it_waits_it_is_a_failed_run_like_any_other(bench: Bench):
    session = hosted(bench)
    session.signal(signal.SIGKILL)
    session.ended()
    stored = open_stored(bench.folder / "home", "latest")
    assert str(stored.state) == "FAILED" and stored.owner is None
    bench.ledger.new()
    (bench.folder / "mended").touch()
    run = bench.run(brittle(), parameters={"folder": str(bench.folder)})
    assert run.result == 3
    assert bench.ledger.new() == ["second", "third"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_and_leaves_the_run_as_it_ended(bench: Bench, number: int):
    session = hosted(bench)
    session.signal(number)
    assert session.ended() == 0, session.text()
    assert str(open_stored(bench.folder / "home", "latest").state) == "FAILED"


@pytest.mark.parametrize("level", [1, 2, 3])
def test_so_does_the_host(bench: Bench, level: int):
    run = Watched(bench, brittle(), linger=True)
    run.run_until("FAILED")
    assert run.live.stop is not None
    run.live.stop(level)
    assert str(run.end().state) == "FAILED"


def test_a_drained_run_does_not_wait(bench: Bench):
    @task
    def wait(folder):

        until_told(folder)

    @task
    def after(x): ...

    @workflow
    def flow(folder: str):
        after(wait(folder))

    run = Watched(bench, flow, linger=True)
    run.until("wait", "RUNNING")
    assert run.live.stop is not None
    run.live.stop(1)
    assert str(run.end().state) == "INTERRUPTED"
