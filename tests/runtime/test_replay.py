"""Stored runs told again as changes: the same end as live, whatever happened on the way."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from engine import task, workflow
from engine.core.events import Moved, Ran, Started, Succeeded
from engine.core.record import RunRecord
from engine.core.states import TaskState
from engine.errors import StorageError
from engine.runtime.journal import ChangePacker, fold, pack_entries, unpack_entries
from engine.runtime.replay import (
    Damaged,
    Figures,
    Follower,
    GraphChanged,
    PastAttempt,
    SessionBegan,
    changes_from,
    changes_of,
)
from engine.runtime.request import Request
from engine.runtime.stored import follow_stored, open_stored
from tests.runtime.harness import Bench, die, first, note
from tests.runtime.told import Model, states_in


class Listener:
    """A reporter that folds what a live run tells."""

    def __init__(self) -> None:
        self.model = Model()

    def begin(self, live: Any) -> None: ...

    def changes(self, batch: Any) -> None:
        self.model.take(batch)

    def say(self, text: str) -> None: ...

    def plan(self, plan: Any) -> None: ...

    def end(self, run: Any) -> None: ...


def mixed(*, bad: bool = True, extra: bool = False) -> Any:
    """Maps, retries, failures, skips, blocked tasks."""
    @task
    def numbers():
        return list(range(8))

    @task(retries=2)
    def odd(x):
        if first(f"try-{x}"):
            raise ValueError(f"at first {x}")
        return x * 2

    @task
    def broken(x):
        if bad and x == 6:
            raise KeyError("six")
        return x

    @task
    def total(xs):
        return sum(xs)

    @task
    def skipped():
        return "never"

    @task
    def more():
        return "more"

    @workflow
    def flow():
        if extra:
            more()
        xs = numbers()
        skipped.options(when=False)()
        total(broken.map(odd.map(xs)))
        return total.options(name="sum")(odd.options(name="other").map(xs))

    return flow


def follow(bench: Bench) -> tuple[Model, Follower]:
    follower = Follower(bench.run_dirs[-1])
    model = Model()
    while steps := follower.poll(3):
        model.steps(steps)
    return model, follower


def test_a_stored_run_folds_to_what_the_live_one_did(bench: Bench):
    listener = Listener()
    run = bench.run(mixed(), request=Request(reporter=lambda output: listener))
    assert str(run.state) == "FAILED"
    model, follower = follow(bench)
    assert model.states() == listener.model.states()
    assert model.ends() == listener.model.ends()
    assert (model.run, model.damage) == ("FAILED", [])
    assert "FAILED" in model.states().values() and "UPSTREAM_FAILED" in model.states().values()
    assert states_in(follower.history.record) == model.states()


def test_after_retries_reruns_and_changes_of_the_graph_it_is_still_the_same(bench: Bench):
    bench.run(mixed())
    bench.command(mixed(bad=False), "retry")
    bench.command(mixed(bad=False), "rerun", "odd[2]", run="latest")
    bench.run(mixed(bad=False, extra=True), request=Request(command="resume", run_id="latest"))
    model, follower = follow(bench)
    stored = open_stored(bench.folder / "home", "latest")
    assert model.states() == states_in(stored.record) == states_in(follower.history.record)
    assert set(model.states().values()) == {"SUCCESS", "SKIPPED"}
    record = stored.record
    told = {t: row[2] for t, row in model.ends().items()}
    assert told == {t: record.generation.get(t, 1) for t in told}
    assert 2 in told.values()


def test_a_killed_session_leaves_nothing_running_once_the_next_has_begun(bench: Bench):
    def flow() -> Any:
        @task(on_interrupt="fail")  # its start is on disk
        def stops():
            note("stops")
            if first("kill"):
                die()

        @task
        def after(x):
            return x

        @workflow
        def cut():
            return after(stops())

        return cut

    bench.killed(flow())
    model, follower = follow(bench)
    assert model.states() == {0: "RUNNING"}
    bench.run(flow())
    seen = follower.poll()
    began = next(i for i, s in enumerate(seen) if isinstance(s.changes[0], SessionBegan))
    model.steps(seen[began:began + 1])
    assert model.states() == {}
    model.steps(seen[began + 1:])
    assert model.states() == {0: "FAILED", 1: "UPSTREAM_FAILED"}


def test_times_of_steps_never_run_backwards(bench: Bench):
    bench.run(mixed())
    follower = Follower(bench.run_dirs[-1])
    steps = follower.poll()
    times = [step.at for step in steps]
    assert times == sorted(times) and times[0] > 0
    assert [s.seq for s in steps] == list(range(1, len(steps) + 1))
    assert isinstance(steps[-1].changes[-1], Figures)


def test_a_record_is_told_by_changes_that_lead_to_it(bench: Bench):
    bench.run(mixed())
    record = open_stored(bench.folder / "home", "latest").record
    model = Model()
    model.take(changes_from(record))
    assert model.states() == states_in(record)
    assert model.run == "FAILED"
    assert {t: row[3:5] for t, row in model.ends().items()} == {
        t: (record.start[t], record.end[t]) for t in model.ends()}


def test_a_row_by_itself_has_no_generations():
    attempts = [PastAttempt(t, 1 + t % 2, 7, 1.0 + t, 2.0 + t, None) for t in (4, 5, 9)]
    for a in attempts:
        a.succeed(a.tid, a.tid)
    told = changes_of(ChangePacker()([Succeeded(attempts), Started(attempts[:1])]))
    assert [type(c) for c in told] == [Succeeded, Started]
    assert [(a.tid, a.number, a.generation, a.start, a.end, a.worker) for a in told[0].attempts] \
        == [(a.tid, a.number, 0, a.start, a.end, -1) for a in attempts]


def test_kinds_that_are_not_known_are_passed_over():
    assert changes_of(pack_entries([["?", 1, 2], ["V", "RUNNING", "", 1.0]]))[0].at == 1.0


# -- damage -----------------------------------------------------------------------------------


def break_row(bench: Bench, seq: int) -> None:
    with closing(sqlite3.connect(bench.run_dirs[-1] / "run.db")) as db, db:
        db.execute("UPDATE journal SET data = x'00' WHERE seq = ?", (seq,))


def test_a_damaged_row_is_stood_in_for_by_the_snapshot(bench: Bench):
    bench.run(mixed())
    whole, _ = follow(bench)
    break_row(bench, 3)
    model, follower = follow(bench)
    assert model.states() == whole.states()
    assert model.run == "FAILED"
    assert any("row 3 is damaged" in text for text in model.damage)
    assert follower.history.damage == model.damage


def test_without_a_snapshot_the_rest_is_told_and_the_damage_said(bench: Bench):
    bench.run(mixed())
    (bench.run_dirs[-1] / "snapshot.msgpack").unlink()
    break_row(bench, 3)
    model, _ = follow(bench)
    assert any("row 3 is damaged" in text for text in model.damage)
    assert model.run == "FAILED"


def test_a_journal_that_cannot_be_opened_is_told_from_the_snapshot(bench: Bench):
    bench.run(mixed())
    whole, _ = follow(bench)
    (bench.run_dirs[-1] / "run.db").write_bytes(b"not a database at all" * 100)
    follower = Follower(bench.run_dirs[-1])
    (step,) = follower.poll()
    model = Model()
    model.steps([step])
    assert model.states() == whole.states()
    assert isinstance(step.changes[0], Damaged) and "cannot be read" in step.changes[0].text
    assert follower.poll() == []


def test_nothing_to_read_at_all_is_an_error(bench: Bench):
    bench.run(mixed())
    for file in bench.run_dirs[-1].iterdir():
        if file.is_file():
            file.unlink()
    with pytest.raises(StorageError):
        Follower(bench.run_dirs[-1]).poll()


# -- following --------------------------------------------------------------------------------


def test_a_follower_holds_no_transaction_and_sees_what_is_added(bench: Bench):
    bench.run(mixed())
    path = bench.run_dirs[-1] / "run.db"
    follower = Follower(bench.run_dirs[-1])
    first_rows = follower.poll(2)
    assert len(first_rows) == 2
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        # A reader in a transaction would keep the log from being taken over and cut to nothing.
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        rest = follower.poll()
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        assert len(follower.poll()) == 0 and rest
    bench.command(mixed(bad=False), "retry")
    more = follower.poll()
    assert isinstance(more[0].changes[0], SessionBegan)
    follower.close()
    follower.close()


def test_a_run_that_is_followed_can_be_looked_at(bench: Bench):
    bench.run(mixed())
    stored, follower = follow_stored(bench.folder / "home", "latest")
    assert stored.record.size == 0
    while follower.poll(1):
        pass
    assert [stored.name_of(t) for t in stored.failed()] == ["broken[3]"]
    assert stored.preview(stored.find("sum")[0], repr) == "56"


def test_a_file_that_was_rebuilt_is_read_anew(bench: Bench):
    bench.run(mixed())
    follower = Follower(bench.run_dirs[-1])
    follower.poll(2)
    path = bench.run_dirs[-1] / "run.db"
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    model = Model()
    model.steps(follower.poll())
    assert model.run == "FAILED"


def test_a_hundred_thousand_task_runs_come_in_slices_and_as_one_record(bench: Bench):
    @task
    def one(x):
        return x

    @workflow
    def wide():
        return one.map(range(100_000))

    bench.run(wide, durability="process")
    follower = Follower(bench.run_dirs[-1])
    ends: set[int] = set()
    polls = 0
    while steps := follower.poll():
        polls += 1
        for step in steps:
            for c in step.changes:
                if isinstance(c, Succeeded):
                    ends.update(a.tid for a in c.attempts)
    assert len(ends) == 100_000 and polls > 1
    assert follower.history.record.state[1:].count(4) == 100_000
    assert follower.history.record.values[50_000] == 49_999


def test_what_stands_after_a_change_of_the_graph_is_told_with_it(bench: Bench):
    bench.run(mixed())
    before, follower = follow(bench)
    bench.run(mixed(extra=True), request=Request(command="resume", run_id="latest"))
    steps = follower.poll()
    changed = next(s for s in steps
                   if any(isinstance(c, GraphChanged) for c in s.changes))
    model = Model()
    model.take(changed.changes)
    kept = list(before.states().values())
    assert sorted(model.states().values()) == sorted(kept)


def test_who_follows_from_the_middle_learns_when_a_cancelled_attempt_ran():
    record = RunRecord(2)
    record.started([0], [3], [10.0])
    why = "cancelled while running"
    cancelled = Moved([0], TaskState.CANCELLED, -1, why, Ran(3, 1, 10.0, 40.0))
    never = Moved([1], TaskState.CANCELLED, -1, why)
    for entry in unpack_entries(ChangePacker()([cancelled, never])):
        fold(record, entry)
    assert (record.number[0], record.start[0], record.end[0]) == (3, 10.0, 40.0)
    assert sorted(changes_from(record)) == [cancelled, never]
