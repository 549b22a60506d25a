"""The order in which steps get to the disk, and what waits for it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from engine import task, workflow
from engine.core.events import Attempt, Change, Moved, RunMoved
from engine.core.machine import Machine
from engine.core.states import SKIPPED, RunState
from engine.errors import StorageBroken, StorageFull
from engine.runtime.journal import unpack_entries
from engine.runtime.recorder import RESTED, Recorder
from engine.state.sqlite_store import SqliteStore
from engine.state.store import MemoryStore
from tests.runtime.harness import PATIENCE, Bench, note, within
from tests.waiting import wait_for


def step(tid: int) -> list[Change]:
    return [Moved([tid], SKIPPED, -1, "")]


class GatedStore(MemoryStore):
    """Holds each append until the gate is open; raises `error` where one is set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.tries = 0
        self.error: Exception | None = None

    def append(self, data: bytes, meta: dict[str, str] | None = None) -> int:
        self.tries += 1
        assert self.gate.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return super().append(data, meta)

    def steps(self) -> list[list[int]]:
        """The task runs that each row tells of."""
        return [[entry[1][0] for entry in unpack_entries(row.data or b"")] for row in self.rows()]


class Desk:
    """A recorder, and threads that settle with it."""

    def __init__(self) -> None:
        self.store = GatedStore()
        self.published: list[Change] = []
        self.said: list[str] = []
        self.recorder = Recorder(self.store, self.published.extend, self.said.append)
        self.outcomes: list[bool] = []

    def settling(self, tid: int) -> threading.Thread:
        """Add a step, and settle it on a thread of its own."""
        self.recorder.add(step(tid))
        ticket = self.recorder.queued
        thread = threading.Thread(
            target=lambda: self.outcomes.append(self.recorder.settle(ticket)), daemon=True)
        thread.start()
        return thread


@pytest.fixture
def desk() -> Desk:
    return Desk()


def ended(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_steps_taken_during_a_write_share_the_next_row(desk: Desk):
    desk.store.gate.clear()
    first = desk.settling(0)
    wait_for(lambda: desk.store.tries == 1, "the first write")
    others = [desk.settling(tid) for tid in (1, 2, 3)]
    assert desk.recorder.stored == 0 and not desk.published and not desk.outcomes
    desk.store.gate.set()
    ended(first, *others)
    assert desk.store.steps() == [[0], [1, 2, 3]]
    assert desk.outcomes == [True] * 4
    assert [c.tids for c in desk.published] == [[0], [1], [2], [3]]


def test_a_step_is_settled_with_all_that_came_before_it(desk: Desk):
    for tid in range(3):
        desk.recorder.add(step(tid))
    assert desk.recorder.settle(2)
    assert desk.recorder.settle(desk.recorder.queued)
    assert desk.store.steps() == [[0, 1, 2]] and desk.store.tries == 1


def test_between_its_end_and_going_on_in_the_same_session_a_run_rests(desk: Desk):
    desk.store.append(b"", {RESTED: "5.0"})  # as the session found it

    def rested(*moves: tuple[RunState, float]) -> float:
        desk.recorder.add([RunMoved(state, "", at) for state, at in moves])
        assert desk.recorder.settle(desk.recorder.queued)
        return float(desk.store.meta()[RESTED])

    assert rested((RunState.RUNNING, 100.0)) == 5
    assert rested((RunState.PAUSED, 110.0), (RunState.RUNNING, 150.0)) == 5
    assert rested((RunState.FAILED, 160.0)) == 5
    assert rested((RunState.RUNNING, 200.0), (RunState.SUCCESS, 210.0)) == 45
    assert rested((RunState.RUNNING, 211.0)) == 46
    assert rested((RunState.CANCELLING, 220.0), (RunState.CANCELLED, 230.0)) == 46


def test_without_room_nothing_is_settled_and_nothing_is_lost(desk: Desk):
    desk.store.error = StorageFull("made by the test")
    desk.recorder.add(step(0))
    assert not desk.recorder.settle(1, wait=False)
    assert not desk.recorder.settle(1, wait=False)
    assert "the disk is full" in desk.said[0] and len(desk.said) == 1
    assert not desk.published and desk.recorder.stored == 0
    waiting = desk.settling(1)
    desk.store.error = None
    ended(waiting)
    assert desk.store.steps() == [[0, 1]] and desk.outcomes == [True]
    assert "room" in desk.said[1] and not desk.recorder.overdue


def test_after_a_failure_nothing_more_is_written(desk: Desk):
    desk.store.error = StorageBroken("made by the test")
    desk.recorder.add(step(0))
    with pytest.raises(StorageBroken):
        desk.recorder.settle(1)
    desk.store.error = None
    desk.recorder.add(step(1))
    assert not desk.recorder.settle(2)
    assert desk.store.tries == 1 and not desk.published


def test_closing_waits_for_what_is_being_written_and_lets_the_others_go(desk: Desk):
    desk.store.gate.clear()
    first = desk.settling(0)
    wait_for(lambda: desk.store.tries == 1, "the first write")
    second = desk.settling(1)
    closing = threading.Thread(target=desk.recorder.close, daemon=True)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive(), "it must not return while the store is in use"
    desk.store.gate.set()
    ended(first, second, closing)
    assert desk.store.tries == 1 and sorted(desk.outcomes) == [False, True]


def test_closing_ends_the_wait_for_room(desk: Desk):
    desk.store.error = StorageFull("made by the test")
    waiting = desk.settling(0)
    wait_for(lambda: desk.said, "a word about the disk")
    desk.recorder.close()
    ended(waiting)
    assert desk.outcomes == [False]


def test_the_row_that_moves_the_run_says_where_to(desk: Desk):
    desk.recorder.add([RunMoved(RunState.PAUSED, "", 1.0)])
    desk.recorder.add([RunMoved(RunState.RUNNING, "", 2.0), *step(0)])
    assert desk.recorder.settle(2)
    assert desk.store.meta()["state"] == "RUNNING"


def test_while_a_commit_takes_its_time_others_step_and_nothing_is_handed_out(
    bench: Bench, monkeypatch
):
    """`fast` is being written when `slow` ends: the machine hears of it, its child waits."""
    begun, writing, go_on, stepped = (threading.Event() for _ in range(4))
    append, finish = SqliteStore.append, Machine.finish
    ran_meanwhile: list[str] = []

    def held(store: SqliteStore, data: bytes, meta: Any = None) -> int:
        if b"from fast" in data:
            writing.set()
            assert go_on.wait(PATIENCE)
        return append(store, data, meta)

    def heard(machine: Machine, attempts: list[Attempt], now: float) -> None:
        finish(machine, attempts, now)
        if any(a.node.name == "slow" for a in attempts):
            stepped.set()

    monkeypatch.setattr(SqliteStore, "append", held)
    monkeypatch.setattr(Machine, "finish", heard)

    @task
    def fast():
        assert begun.wait(PATIENCE), "the second worker never came"
        return "from fast"

    @task
    def slow():
        begun.set()
        assert writing.wait(PATIENCE)
        return "from slow"

    @task
    def use(x):
        note(f"use:{x.split()[-1]}")
        return x

    @workflow
    def flow():
        return [use(fast()), use(slow())]

    def watch() -> None:
        if stepped.wait(PATIENCE):
            ran_meanwhile.extend(bench.ledger.all())
        go_on.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    with within() as call:
        run = call(lambda: bench.run(flow, workers=2))
    watcher.join()
    assert stepped.is_set(), "the second worker was held up by the first one's commit"
    assert ran_meanwhile == [], "a task ran upon a success that was not on disk"
    assert run.result == ["from fast", "from slow"]
    assert sorted(bench.ledger.all()) == ["use:fast", "use:slow"]
