"""Retry and rerun of a run that is live, whose results are being let go of."""

from __future__ import annotations

from typing import Any

import pytest

from engine import task, workflow
from engine.errors import RunError
from tests.runtime.harness import Bench, first, note, until_told
from tests.runtime.live import LiveRun, Watched
from tests.waiting import wait_for


def gated(body: Any) -> Any:
    """A workflow of `body`, and a task that ends when it is told to."""
    @task
    def gate(folder):
        until_told(folder)

    @workflow
    def flow(folder: str):
        gate(folder)
        return body()

    return flow


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_rerun_of_what_reads_a_result_that_was_not_kept(bench: Bench, executor: str):
    @task(persist=False)
    def a():
        note("a")
        return [1, 2]

    @task
    def b(xs):
        note("b")
        return sum(xs)

    live = LiveRun(bench, gated(lambda: b(a())), executor=executor, workers=2)
    live.until("b", "SUCCESS")
    live.ask("rerun", "b")
    wait_for(lambda: bench.ledger.all().count("b") == 2, "b again")
    assert live.end().result == 3
    assert bench.ledger.new() == ["a", "a", "b", "b"]


def test_retry_of_an_item_of_a_map_over_what_was_not_kept(bench: Bench):
    @task(persist=False)
    def rows():
        note("rows")
        return [[1], [2], [3]]

    @task
    def item(row):
        note(f"item{row[0]}")
        if row == [2] and first("fail"):
            raise ValueError
        return row[0]

    @task(trigger_rule="all_done")
    def total(xs):
        note("total")
        return sum(x or 0 for x in xs)

    live = LiveRun(bench, gated(lambda: total(item.map(rows()))))
    live.until("total", "SUCCESS")
    assert live.ask("retry", "item[1]")
    wait_for(lambda: bench.ledger.all().count("total") == 2, "total again")
    assert live.end().result == 6
    assert [n for n in bench.ledger.all() if n.startswith("item")].count("item1") == 1


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_rerun_reads_let_go_results_back_and_sees_new_ones(bench: Bench, executor: str):
    @task
    def a():
        note("a")
        return {"n": bench.ledger.all().count("a")}

    @task
    def b(x):
        note("b")
        return [x["n"]]

    @task
    def c(x):
        note("c")
        return x[0] * 10

    live = LiveRun(bench, gated(lambda: c(b(a()))), executor=executor, workers=2)
    live.until("c", "SUCCESS")
    live.ask("rerun", "c")
    wait_for(lambda: bench.ledger.all().count("c") == 2, "c again")
    live.until("c", "SUCCESS")
    live.ask("rerun", "a")
    wait_for(lambda: bench.ledger.all().count("c") == 3, "all again")
    live.until("c", "SUCCESS")
    run = live.end()
    assert run.result == 20
    assert sorted(bench.ledger.all()) == ["a", "a", "b", "b", "c", "c", "c"]
    assert run.task_runs["c"].generation == 3


@pytest.mark.fault(39)
def test_rerun_pressed_twice_is_one_generation(bench: Bench):
    @task
    def a():
        note("a")
        return 1

    live = LiveRun(bench, gated(a))
    live.until("a", "SUCCESS")
    live.ask("rerun", "a")
    live.until("a", "SUCCESS")
    with pytest.raises(RunError, match="nothing to retry"):
        live.ask("retry", "a")
    run = live.end()
    assert run.task_runs["a"].generation == 2
    assert bench.ledger.all() == ["a", "a"]


def test_results_that_were_let_go_are_read_back_together(bench: Bench):
    @task
    def item(x):
        return [x]

    @task
    def total(xs):
        note("total")
        return sum(x for (x,) in xs)

    @task
    def after(n):
        return n

    live = Watched(bench, gated(lambda: after(total(item.map(range(300))))), workers=2)
    live.until("after", "SUCCESS")
    assert live.live.look is not None
    values = live.live.look._values
    reads = []
    read = values._reload
    values._reload = lambda: reads.append(1) or read()
    live.ask("rerun", "total")
    wait_for(lambda: bench.ledger.all().count("total") == 2, "total again")
    assert live.end().result == 300 * 299 // 2
    assert len(reads) == 1
