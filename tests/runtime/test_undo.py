"""Taking a command back: as if it had not been given, in memory, on disk and to who follows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from engine import task, workflow
from engine.core.events import Change
from engine.core.record import NO_VALUE, RunRecord
from engine.core.states import TaskState
from engine.errors import RunError
from engine.runtime import commands
from engine.runtime.replay import Follower, Step
from engine.runtime.request import Request
from engine.runtime.stored import StoredRun, open_stored
from flowforge_tui.history import Past, Travel
from flowforge_tui.model import RunView
from flowforge_tui.shape import Shape
from tests.runtime.harness import Bench, Session, note, until_told
from tests.runtime.live import Watched
from tests.runtime.told import Model, states_in
from tests.waiting import wait_for


def flow_of() -> Any:
    """One worker is held; the rest has ended, some of it badly."""
    @task
    def make():
        note("make")
        return [1, 2, 3]

    @task(persist=False)
    def seed(xs):
        note("seed")
        return len(xs)

    @task
    def item(x, n):
        note(f"item{x}")
        if x == 2:
            raise ValueError("two")
        return {"x": x, "n": n}

    @task
    def total(xs):
        note("total")
        return len(xs)

    @task
    def report(n):
        note("report")
        return f"{n} rows"

    @task(priority=-1.0)
    def hold(folder):

        note("hold")
        until_told(folder)

    @workflow
    def flow(folder: str):
        xs = make()
        n = seed(xs)
        total(item.partial(n=n).map(xs))
        report(n)
        hold(folder)

    return flow


def facts(record: RunRecord) -> dict[int, tuple[Any, ...]]:
    """All that is known of each task run, its value included."""
    ids = (*record.live_ids(), *record.expansions)
    return {
        t: (record.state[t], record.number[t], record.start[t], record.end[t],
            repr(record.values[t]) if record.values[t] is not NO_VALUE else None,
            record.generation.get(t, 1), record.errors.get(t), record.why.get(t),
            record.expansions.get(t), record.marks.get(t))
        for t in ids
    }


def as_the_screen_has_it(steps: list[Step], record: RunRecord, stored: StoredRun) -> None:
    """The screen's model folds to the record, counters too, and its past leads there as well."""
    assert stored.history.outline is not None
    view = RunView(Shape(stored.history.outline))
    past = Past(view)
    for step in steps:
        view.apply([c for c in step.changes if isinstance(c, Change)])
    for shown in (view, Travel(past).view()):
        for t in record.live_ids():
            assert (shown.state[t], shown.start[t], shown.end[t], shown.generation_of(t)) == (
                record.state[t], record.start[t], record.end[t], record.generation.get(t, 1))
        assert {s: shown.totals[s] for s in TaskState} == record.counts()


class Steered(Watched):
    """With one worker, which is held, so that nothing asked for starts."""

    def __init__(self, bench: Bench, **more: Any) -> None:
        super().__init__(bench, flow_of(), workers=1, **more)
        self.until("hold", "RUNNING")
        # A worker process tells what it ended a little later than what it began.
        for name, state in (("total", "UPSTREAM_FAILED"), ("report", "SUCCESS"),
                            ("item[0]", "SUCCESS"), ("item[2]", "SUCCESS")):
            self.until(name, state)

    def record(self) -> RunRecord:
        return open_stored(self.bench.folder / "home", "latest").record


@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize(("command", "names"), [
    ("retry", ()), ("retry", ("item[1]",)), ("rerun", ("make",)), ("rerun", ("item[0]",)),
    ("rerun", ("report",)), ("rerun", ("item",)), ("rerun", ("seed",)),
], ids=str)
def test_after_an_undo_everything_stands_as_it_did(
    bench: Bench, executor: str, command: str, names: tuple[str, ...]
):
    run = Steered(bench, executor=executor)
    before, machine = facts(run.record()), bytes(run.live.machine.state)
    generation = dict(run.live.machine.generation)
    failed = set(run.live.machine.failed)
    ran = bench.ledger.all()
    run.ask(command, *names)
    assert facts(run.record()) != before
    assert "stand as before" in run.ask("undo")
    assert facts(run.record()) == before
    assert bytes(run.live.machine.state)[:len(machine)] == machine
    assert run.live.machine.generation == generation and run.live.machine.failed == failed
    follower, model = Follower(bench.run_dirs[-1]), Model()
    steps = follower.poll()
    model.steps(steps)
    assert model.states() == states_in(run.record())
    as_the_screen_has_it(steps, run.record(), open_stored(bench.folder / "home", "latest"))
    ended = run.end()
    assert bench.ledger.all() == ran, "nothing ran for it"
    assert str(ended.state) == "FAILED"
    assert ended.task_runs["item[2]"].result == {"x": 3, "n": 3}


def test_and_a_second_undo_has_nothing_left(bench: Bench):
    run = Steered(bench)
    run.ask("retry")
    run.ask("undo")
    with pytest.raises(RunError, match="nothing to undo"):
        run.ask("undo")
    run.ask("retry")
    assert str(run.end().state) == "FAILED"
    assert bench.ledger.all().count("item2") == 2


def test_what_has_started_is_not_undone(bench: Bench):
    run = Watched(bench, flow_of(), workers=2)
    run.until("hold", "RUNNING")
    run.until("total", "UPSTREAM_FAILED")
    run.ask("rerun", "make")
    wait_for(lambda: bench.ledger.all().count("make") == 2, "make to start again")
    with pytest.raises(RunError, match="has started"):
        run.ask("undo")
    run.end()


def test_after_some_seconds_it_is_too_late(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    run = Steered(bench)
    run.ask("retry")
    later = commands.now() + commands.UNDO_SECONDS + 0.1
    monkeypatch.setattr(commands, "now", lambda: later)
    with pytest.raises(RunError, match="last 5 seconds"):
        run.ask("undo")
    monkeypatch.undo()
    run.end()


def test_a_reset_that_stopped_attempts_is_not_undone(bench: Bench):
    run = Steered(bench)
    run.ask("rerun", "report")
    run.ask("undo")
    run.ask("rerun", "make")  # nothing below it runs
    run.ask("undo")
    with pytest.raises(RunError):
        run.ask("rerun", "hold")
    run.end()


def test_a_pause_and_its_end_are_taken_back(bench: Bench):
    run = Steered(bench)
    run.ask("pause")
    assert run.ask("undo") == "the run goes on"
    assert run.ask("status") == "RUNNING"
    run.ask("pause")
    run.ask("unpause")
    run.ask("undo")
    assert run.ask("status") == "PAUSED"
    run.ask("unpause")
    run.ask("pause", "report")
    run.ask("undo")
    assert not run.live.machine.paused_nodes
    run.end()


def test_a_cancel_of_what_waits_is_taken_back_and_of_what_runs_is_not(bench: Bench):
    run = Steered(bench)
    run.ask("rerun", "report", "total", "seed")
    run.ask("cancel", "report")
    assert run.record().counts()[10] == 1
    assert "go on" in run.ask("undo")
    assert run.record().counts()[10] == 0
    run.ask("cancel", "hold")
    with pytest.raises(RunError, match="was running"):
        run.ask("undo")
    run.end()


def test_a_cancel_that_set_off_something_is_not_taken_back(bench: Bench):
    @task
    def hold(folder):

        until_told(folder)

    @task
    def waits(x):
        note("waits")

    @task(trigger_rule="all_done")
    def tidies(x):
        note("tidies")

    @workflow
    def flow(folder: str):
        tidies(waits(hold(folder)))

    run = Watched(bench, flow, workers=2)
    run.until("hold", "RUNNING")
    run.ask("cancel", "waits")
    run.until("tidies", "SUCCESS")
    with pytest.raises(RunError, match="tidies has started"):
        run.ask("undo")
    assert run.state("tidies") == "SUCCESS"
    run.end()


def test_a_cancel_of_nothing_leaves_the_last_command_to_be_undone(bench: Bench):
    run = Steered(bench)
    run.ask("rerun", "report")
    with pytest.raises(RunError, match="nothing to cancel"):
        run.ask("cancel", "make")
    assert "1 task run and 1 result stand as before" in run.ask("undo")
    run.end()


def test_killed_right_after_an_undo_it_resumes_to_the_same(bench: Bench):
    folder = str(bench.folder)
    act = lambda: bench.run(  # noqa: E731
        flow_of(), parameters={"folder": folder}, workers=1, request=Request())
    session = Session(act, bench.folder / "session.txt")
    bench.ledger.until("hold")

    def held() -> bool:
        stored = open_stored(bench.folder / "home", "latest")
        return stored.state_word(stored.find("hold")[0]) == "RUNNING"

    wait_for(held, "hold to be announced")
    stored = open_stored(bench.folder / "home", "latest")
    before = facts(stored.record)
    stored.ask("rerun", ("make",))
    stored.ask("undo")
    session.signal(signal.SIGKILL)
    session.ended()
    assert facts(open_stored(bench.folder / "home", "latest").record) == before
    ran = bench.ledger.new()
    assert ran.count("make") == 1
    (bench.folder / "go").touch()
    bench.run(flow_of(), parameters={"folder": folder}, workers=1)
    assert bench.ledger.new() == ["hold", "item2", "seed"]


def test_the_command_line_undoes(bench: Bench):
    run = Steered(bench)
    run.ask("retry")
    done = subprocess.run(
        [sys.executable, "-m", "flowforge_tui", "undo", "latest"],
        env={**os.environ, "FLOWFORGE_HOME": str(bench.folder / "home")},
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "stand as before" in done.stdout, done.stderr
    run.end()
