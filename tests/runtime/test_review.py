"""The plan of a resume, shown before anything is written, and changed by whoever reviews it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from engine import task, workflow
from engine.runtime.plan import Plan, PlanRow
from engine.runtime.request import PlanRefused, Request
from engine.runtime.stored import open_stored
from tests.runtime.harness import Bench, first, note


def made(*, one: int = 1, ten: int = 10) -> Any:
    """a → b → c, and a map of which one item fails the first time, and what follows it."""
    @task(version=str(one))
    def a():
        note("a")
        return one

    @task(version=str(ten))
    def b(x):
        note("b")
        return x + ten

    @task
    def c(x):
        note("c")
        return x

    @task
    def item(x):
        note(f"item{x}")
        if x == 1 and first("bad"):
            raise ValueError("bad")
        return x

    @task
    def total(xs):
        note("total")
        return sum(xs)

    @workflow
    def flow():
        return c(b(a())), total(item.map([0, 1, 2]))

    return flow


class Reviewer:
    """Answers with wishes by name; keeps what it was shown."""

    def __init__(self, wishes: Mapping[str, Any] | None) -> None:
        self.wishes = wishes
        self.rows: dict[str, PlanRow] = {}
        self.chosen: dict[str, PlanRow] = {}
        self.plan: Plan | None = None

    def __call__(self, plan: Plan) -> Mapping[int, Any] | None:
        self.plan = plan
        self.rows = {row.name: row for row in plan.rows()}
        if self.wishes is None:
            return None
        wishes = {self.rows[name].node: wish for name, wish in self.wishes.items()}
        self.chosen = {row.name: row for row in plan.choose(wishes).rows()}
        assert [r[:5] for r in plan.choose(wishes).choose({}).rows()] == [
            r[:5] for r in plan.rows()], "wishes are all there is, so that one can be taken back"
        return wishes


def resumed(bench: Bench, wishes: Mapping[str, Any] | None, **more: Any) -> Reviewer:
    """Resume under review; what ran is in the ledger."""
    bench.ledger.new()
    reviewer = Reviewer(wishes)
    bench.run(made(**more), request=Request("resume", "latest", review=reviewer))
    return reviewer


def finished(bench: Bench) -> None:
    """A run of it in which nothing fails."""
    first("bad")
    bench.run(made())


def state(bench: Bench, name: str) -> str:
    stored = open_stored(bench.folder / "home", "latest")
    return stored.state_word(stored.find(name)[0])


def test_without_wishes_it_is_what_it_was(bench: Bench):
    bench.run(made())
    reviewer = resumed(bench, {})
    assert bench.ledger.new() == ["item1", "total"]
    rows = reviewer.rows
    assert {n: (r.action, dict(r.counts), r.choices) for n, r in rows.items()} == {
        "a": ("keep", {"keep": 1}, ("run",)), "b": ("keep", {"keep": 1}, ("run",)),
        "c": ("keep", {"keep": 1}, ("run",)),
        "item": ("run", {"keep": 2, "run": 1}, ("keep",)),
        "total": ("run", {"run": 1}, ()),
    }
    assert rows["item"].reason == "had failed"


def test_a_review_that_says_no_leaves_everything_as_it_was(bench: Bench):
    bench.run(made())
    before = open_stored(bench.folder / "home", "latest").history
    bench.ledger.new()
    request = Request("resume", "latest", review=lambda plan: None)
    with pytest.raises(PlanRefused):
        bench.run(made(one=2), request=request)
    assert request.run is None and request.plan is not None
    after = open_stored(bench.folder / "home", "latest").history
    assert (after.seq, len(after.sessions)) == (before.seq, 1)
    assert bench.ledger.new() == []
    # Nothing holds the run: it can be carried on.
    resumed(bench, {})
    assert bench.ledger.new() == ["item1", "total"]


def test_what_stands_is_run_again_with_what_follows_it(bench: Bench):
    bench.run(made())
    reviewer = resumed(bench, {"b": "run"})
    assert bench.ledger.new() == ["b", "c", "item1", "total"]
    assert {name: row.action for name, row in reviewer.chosen.items()} == {
        "a": "keep", "b": "run", "c": "run", "item": "run", "total": "run"}


def test_what_changed_is_kept_for_that_task_alone(bench: Bench):
    finished(bench)
    reviewer = resumed(bench, {"a": "keep"}, one=2, ten=20)
    rows = reviewer.rows
    assert (rows["a"].action, rows["b"].action, rows["c"].action) == ("changed",) * 3
    assert rows["a"].choices == ("keep",)
    assert bench.ledger.new() == ["b", "c"]
    # And is not counted as changed the next time.
    reviewer = resumed(bench, {}, one=2, ten=20)
    assert {r.action for r in reviewer.rows.values()} == {"keep"}
    assert bench.ledger.new() == []


def test_what_only_follows_a_change_that_is_kept_stays_too(bench: Bench):
    finished(bench)
    resumed(bench, {"a": "keep"}, one=2)
    assert bench.ledger.new() == []


def test_what_follows_a_change_is_kept_alone(bench: Bench):
    finished(bench)
    resumed(bench, {"c": "keep"}, one=2)
    assert bench.ledger.new() == ["a", "b"]
    assert state(bench, "c") == "SUCCESS"


def test_a_failure_is_left_with_what_it_blocks(bench: Bench):
    bench.run(made())
    reviewer = resumed(bench, {"item": "keep", "c": "run"})
    assert bench.ledger.new() == ["c"]
    assert (state(bench, "item[1]"), state(bench, "total")) == ("FAILED", "UPSTREAM_FAILED")
    chosen = reviewer.chosen
    assert chosen["item"].counts == {"keep": 3} and chosen["item"].choices == ("keep", "run")
    assert chosen["total"].action == "keep"


def test_what_cannot_be_wished_for_is_left_out(bench: Bench):
    bench.run(made())
    resumed(bench, {"total": "keep"})
    assert bench.ledger.new() == ["item1", "total"]


def test_tasks_asked_for_by_name_are_shown_and_not_changed(bench: Bench):
    bench.run(made())
    reviewer = Reviewer({})
    bench.ledger.new()
    request = Request("rerun", "latest", ("b",), review=reviewer)
    bench.run(made(), request=request)
    assert bench.ledger.new() == ["b", "c"]
    assert reviewer.rows["b"].action == "run" and reviewer.rows["b"].choices == ()


def test_a_new_run_has_nothing_to_review(bench: Bench):
    first("bad")
    reviewer = Reviewer(None)
    run = bench.run(made(), request=Request(review=reviewer))
    assert str(run.state) == "SUCCESS" and reviewer.plan is None
