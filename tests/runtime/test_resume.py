"""Runs that were killed or failed, and what carrying them on runs again: that and nothing else.

Every task notes its name in a ledger outside the engine; `bench.ledger.new()` is what ran since
it was last asked.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from engine import Dag, Missing, Scheduler, Task, task, workflow
from engine.errors import CodeChanged, RunError, RunFailed
from engine.runtime.request import Request, requested
from engine.runtime.stored import open_stored
from tests.runtime.harness import Bench, die, first, note
from tests.waiting import wait_for

# -- unfinished and failed runs --------------------------------------------------------------


def test_a_killed_run_goes_on_where_it_was(bench: Bench):
    @task
    def step(i, before=None):
        note(f"step{i}")
        if i == 2 and first("kill"):
            die()
        return i

    @workflow
    def flow():
        a = step(0)
        b = step(1, a)
        c = step(2, b)
        return [a, b, c]

    assert bench.killed(flow) == ["step0", "step1", "step2"]
    run = bench.run(flow)
    assert run.result == [0, 1, 2]
    assert bench.ledger.new() == ["step2"]
    assert len(bench.run_dirs) == 1
    assert "2 done" in bench.said[0]


def test_a_success_is_not_carried_on(bench: Bench):
    @task
    def only():
        note("only")

    @workflow
    def flow():
        only()

    one, two = bench.run(flow), bench.run(flow)
    assert one.run_id != two.run_id
    assert bench.ledger.new() == ["only", "only"]


def test_other_parameters_are_another_run(bench: Bench):
    @task
    def step(n):
        note(f"step{n}")
        if first(f"kill{n}"):
            die()
        return n

    @workflow
    def flow(n: int):
        return step(n)

    bench.killed(flow, parameters={"n": 1})
    bench.killed(flow, parameters={"n": 2})
    assert len(bench.run_dirs) == 2
    assert bench.run(flow, parameters={"n": 1}).result == 1
    assert bench.run(flow, parameters={"n": 2}).result == 2
    assert len(bench.run_dirs) == 2


def test_fresh_starts_anew(bench: Bench):
    @task
    def step(i):
        note(f"step{i}")
        if i == 1 and first("kill"):
            die()
        return i

    @workflow
    def flow():
        return [step(0), step(1)]

    bench.killed(flow, workers=1)
    assert bench.run(flow, fresh=True).result == [0, 1]
    assert bench.ledger.new() == ["step0", "step1"]


def test_failed_tasks_are_tried_again_and_tolerant_consumers_with_them(bench: Bench):
    @task
    def shaky():
        note("shaky")
        if first("fail"):
            raise ValueError("not yet")
        return "value"

    @task
    def solid():
        note("solid")
        return "solid"

    @task
    def strict(x):
        note("strict")
        return x

    @task(trigger_rule="all_done")
    def tolerant(x, y):
        note("tolerant")
        return [x.state if isinstance(x, Missing) else x, y]

    @task
    def below(x):
        note("below")
        return x

    @task
    def fails_once(x):
        note("fails_once")
        if first("fail-2"):
            raise ValueError("keeps the run FAILED")

    @workflow
    def flow():
        s, o = shaky(), solid()
        fails_once(o)
        return [strict(s), below(tolerant(s, o))]

    run = bench.run(flow)
    assert run.state == "FAILED"
    assert run.task_runs["below"].result == ["FAILED", "solid"]
    bench.ledger.new()
    run = bench.run(flow)
    assert run.result == ["value", ["value", "solid"]]
    assert bench.ledger.new() == ["below", "fails_once", "shaky", "strict", "tolerant"]
    assert run.task_runs["tolerant"].generation == 2
    assert run.task_runs["shaky"].generation == 1 and run.task_runs["shaky"].attempt == 2


@pytest.mark.fault(33)
def test_a_map_goes_on_with_the_missing_items(bench: Bench):
    @task
    def numbers():
        note("numbers")
        return list(range(40))

    @task
    def double(x):
        note(f"double[{x}]")
        time.sleep(0.001)  # so that some batches are on disk when it is killed
        if x == 37 and first("kill"):
            die()
        return 2 * x

    @task
    def total(xs):
        note("total")
        return sum(xs)

    @workflow
    def flow():
        return total(double.map(numbers()))

    bench.killed(flow, workers=1)
    recorded = bench.recorded()
    assert len(recorded) > 10 and "numbers" in recorded
    assert bench.run(flow).result == 1560
    everything = {"numbers", "total", *(f"double[{x}]" for x in range(40))}
    assert set(bench.ledger.new()) == everything - recorded


def test_items_that_failed_run_again_alone_and_by_name(bench: Bench):
    @task
    def place(name):
        note(name)
        if name == "west" and first("fail"):
            raise ValueError
        return name

    @task
    def shout(name):
        note(name.upper())
        return name.upper()

    @task
    def places():
        note("places")
        return ["north", "west", "south"]

    @workflow
    def flow():
        return shout.map(place.map(places(), key=lambda name: name))

    assert bench.run(flow).state == "FAILED"
    assert "WEST" not in bench.ledger.new()
    run = bench.run(flow)
    assert run.result == ["NORTH", "WEST", "SOUTH"]
    assert bench.ledger.new() == ["WEST", "west"]
    assert run.task_runs["shout[west]"].result == "WEST"


def test_a_workflow_without_tasks(bench: Bench):
    @workflow
    def flow():
        return {"constant": 1}

    run = bench.run(flow)
    assert run.state == "SUCCESS" and run.result == {"constant": 1}
    again = bench.command(flow, "resume", run=run.run_id)
    assert again.state == "SUCCESS" and again.run_id == run.run_id


@pytest.mark.parametrize("kind", ["thread", "sequential", "process", "async"])
def test_a_run_in_which_nothing_is_left_to_do(bench: Bench, kind):
    async def later():
        await asyncio.sleep(0)
        return [1, 2]

    def now():
        return [1, 2]

    made = task(later if kind == "async" else now)
    executor = "thread" if kind == "async" else kind

    @workflow
    def flow():
        return made()

    run = bench.run(flow, executor=executor)
    again = bench.command(flow, "resume", run=run.run_id, executor=executor)
    assert again.run_id == run.run_id and again.result == [1, 2]


def test_only_the_last_consumer_was_missing(bench: Bench):
    @task
    def make():
        note("make")
        return {"rows": [(1, "a"), (2, "b")]}

    @task
    def use(made):
        note("use")
        if first("kill"):
            die()
        return made["rows"][1]

    @workflow
    def flow():
        made = make()
        return {"made": made, "used": use(made), "literal": (1,)}

    bench.killed(flow)
    run = bench.run(flow)
    assert run.result == {"made": {"rows": [(1, "a"), (2, "b")]}, "used": (2, "b"),
                          "literal": (1,)}
    assert bench.ledger.new() == ["use"]


def test_the_block_form_carries_on(bench: Bench):
    def build():
        with workflow("blocky") as wf:
            @task
            def one():
                note("one")
                return 1

            @task
            def two():
                note("two")
                if first("fail"):
                    raise ValueError
                return 2

            @task
            def three():
                note("three")
                return 3

            one() >> two() >> three()
        return wf

    assert bench.run(build()).state == "FAILED"
    assert bench.ledger.new() == ["one", "two"]
    run = bench.run(build())
    assert run.result == {"three": 3}
    assert bench.ledger.new() == ["three", "two"]


def test_a_leaf_that_was_not_kept_is_made_again_for_the_result_of_a_block(bench: Bench):
    def build():
        with workflow("leafy") as wf:
            @task(persist=False)
            def leaf():
                note("leaf")
                return [1]

            @task
            def other():
                note("other")
                if first("fail"):
                    raise ValueError
                return 2

            leaf()
            other()
        return wf

    assert bench.run(build()).state == "FAILED"
    bench.ledger.new()
    run = bench.run(build())
    assert run.result == {"leaf": [1], "other": 2}
    assert bench.ledger.new() == ["leaf", "other"]


def test_the_classic_form_carries_on(bench: Bench, monkeypatch):
    monkeypatch.setenv("FLOWFORGE_OUTPUT", "silent")
    monkeypatch.setenv("FLOWFORGE_HOME", str(bench.folder / "home"))

    def go():
        def load():
            note("load")
            return [1, 2, 3]

        def sum_up(xs):
            note("sum")
            if first("fail"):
                raise ValueError
            return sum(xs)

        dag = Dag("classic")
        a = Task("load", load)
        b = Task("sum", sum_up, args=(a,))
        dag.add_task(a)
        dag.add_task(b)
        return Scheduler(dag, executor_type="thread", max_workers=2).run()

    assert go().state == "FAILED"
    assert bench.ledger.new() == ["load", "sum"]
    assert go().result == {"sum": 6}
    assert bench.ledger.new() == ["sum"]


# -- results that were not kept, or are gone ---------------------------------------------------


def test_a_producer_that_was_not_kept_runs_again_if_its_result_is_needed(bench: Bench):
    @task(persist=False)
    def session():
        note("session")
        return {"token": "secret"}

    @task
    def early(s):
        note("early")
        return s["token"]

    @task
    def late(s, e):
        note("late")
        if first("fail"):
            raise ValueError
        return s["token"] + e

    @workflow
    def flow():
        s = session()
        return late(s, early(s))

    bench.run(flow)
    bench.ledger.new()
    assert bench.run(flow).result == "secretsecret"
    assert bench.ledger.new() == ["late", "session"], "late waited for session"


def test_the_plan_knows_what_has_to_be_computed_again(bench: Bench):
    @task(persist=False)
    def session():
        note("session")
        return {"token": 1}

    @task(persist=False)
    def unneeded(s):
        note("unneeded")
        return 1

    @task
    def early(u):
        note("early")

    @task
    def late(s):
        note("late")
        if first("fail"):
            raise ValueError
        return s["token"]

    @workflow
    def flow():
        s = session()
        early(unneeded(s))
        return late(s)

    bench.run(flow)
    bench.ledger.new()
    will = sorted(e.name for e in bench.plan(flow).entries() if e.action == "run")
    bench.run(flow)
    assert bench.ledger.new() == will == ["late", "session"]


def test_a_producer_that_was_not_kept_stays_if_nobody_needs_it(bench: Bench):
    @task(persist=False)
    def session():
        note("session")
        return 1

    @task
    def early(s):
        note("early")
        return s

    @task
    def late(e):
        note("late")
        if first("fail"):
            raise ValueError
        return e

    @workflow
    def flow():
        return late(early(session()))

    bench.run(flow)
    bench.ledger.new()
    assert bench.run(flow).result == 1
    assert bench.ledger.new() == ["late"]


def half_done_map(*, key=None, grow=0):
    @task(persist=False)
    def rows():
        note("rows")
        extra = list(range(100, 100 + grow)) if not first("grown") else []
        return [*extra, *range(30)]

    @task
    def double(x):
        note(f"double-{x}")
        time.sleep(0.001)
        if x == 20 and first("kill"):
            die()
        return 2 * x

    @task
    def inc(x):
        note(f"inc-{x // 2}")
        return x + 1

    @workflow
    def flow():
        return inc.map(double.map(rows(), key=key))

    return flow


@pytest.mark.parametrize("key", [None, str])
def test_items_of_a_map_over_what_was_not_kept_are_known_again(bench: Bench, key):
    flow = half_done_map(key=key)
    bench.killed(flow, workers=1)
    recorded = done_items(bench)
    assert len(recorded) > 5
    run = bench.run(flow)
    assert run.result == [2 * x + 1 for x in range(30)]
    again = bench.ledger.new()
    assert again.count("rows") == 1, "it is needed to make the items anew"
    everything = {f"{name}-{x}" for name in ("double", "inc") for x in range(30)}
    assert set(again) - {"rows"} == everything - recorded
    assert len(again) == len(set(again))


def test_items_are_matched_by_value_when_the_list_has_grown_at_its_front(bench: Bench):
    flow = half_done_map(grow=2)
    bench.killed(flow, workers=1)
    recorded = done_items(bench)
    assert len(recorded) > 5
    run = bench.run(flow)
    assert run.result == [2 * x + 1 for x in [100, 101, *range(30)]]
    everything = {f"{name}-{x}" for name in ("double", "inc") for x in [100, 101, *range(30)]}
    assert set(bench.ledger.new()) - {"rows"} == everything - recorded


def done_items(bench: Bench) -> set[str]:
    """What is recorded as done, by value: an item's name was its value in the first session."""
    return {name.replace("[", "-").rstrip("]") for name in bench.recorded() if "[" in name}


@pytest.mark.fault(23)
def test_a_blob_that_is_gone_or_changed_is_made_again_and_said(bench: Bench):
    @task
    def big(i):
        note(f"big{i}")
        return bytes([i]) * 1_000_000

    @task
    def use(*blobs):
        note("use")
        if first("fail"):
            raise ValueError
        return [len(b) for b in blobs]

    @workflow
    def flow():
        return use(big(1), big(2), big(3))

    bench.run(flow)
    bench.ledger.new()
    files = sorted(p for p in bench.run_dirs[0].glob("blobs/**/*") if p.is_file())
    assert len(files) == 3
    files[0].unlink()
    damaged = bytearray(files[1].read_bytes())
    damaged[500_000] ^= 1
    files[1].chmod(0o600)
    files[1].write_bytes(damaged)
    run = bench.run(flow)
    assert run.result == [1_000_000] * 3
    again = bench.ledger.new()
    assert len(again) == 3 and "use" in again
    assert sum("a stored result is damaged" in s for s in bench.said) == 2


class Fussy:
    """Is stored as a pickle; with `fussy` there it does not open, as if a module had gone."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):
        return _fussy, (self.folder,)


def _fussy(folder: str) -> Fussy:
    if Path(folder, "fussy").exists():
        raise ModuleNotFoundError("No module named 'pathlib._local'")
    return Fussy(folder)


@pytest.mark.parametrize("size", [1, 1_000_000], ids=["in the journal", "in a file"])
def test_a_result_that_another_python_wrote_and_this_one_cannot_open_is_made_again(
    bench: Bench, size: int
):
    @task
    def make(i):
        note(f"make{i}")
        (bench.folder / "fussy").unlink(missing_ok=True)  # what is written here opens here
        return [Fussy(str(bench.folder)) if i == 1 else i, bytes(size)]

    @task
    def unread():
        return Fussy(str(bench.folder))

    @task
    def use(*made):
        note("use")
        if first("fail"):
            (bench.folder / "fussy").touch()
            raise ValueError
        return [len(data) for _, data in made]

    @workflow
    def flow():
        unread()
        return use(make(1), make(2))

    bench.run(flow)
    bench.ledger.new()
    run = bench.run(flow)
    assert run.result == [size, size]
    assert bench.ledger.new() == ["make1", "use"], "the one that nobody needs is left alone"
    assert [s for s in bench.said if "cannot be opened" in s] == [
        "the result of make cannot be opened and is made again: a pickled value cannot be "
        "opened: ModuleNotFoundError: No module named 'pathlib._local'"]


# -- at most once ----------------------------------------------------------------------------------


def at_most_once():
    @task(on_interrupt="fail", retries=2)
    def pay():
        note("pay")
        if first("kill"):
            die()
        return "paid"

    @task
    def other():
        note("other")
        if first("kill-other"):
            die()
        return 1

    @task
    def receipt(p):
        note("receipt")
        return p

    @workflow
    def flow():
        p = receipt(pay())
        return [p, other()]

    return flow


def test_an_interrupted_task_that_must_not_repeat_is_failed(bench: Bench):
    flow = at_most_once()
    assert "pay" in bench.killed(flow, workers=1)
    bench.killed(flow, workers=1)  # now in `other`
    run = bench.run(flow)
    assert run.state == "FAILED"
    assert run.task_runs["pay"].reason == "interrupted"
    assert run.task_runs["receipt"].state.name == "UPSTREAM_FAILED"
    assert bench.ledger.all().count("pay") == 1, "starting again is not asking for it"


def test_the_plan_says_that_an_interrupted_task_stays(bench: Bench):
    flow = at_most_once()
    bench.killed(flow, workers=1)
    first("kill-other")
    bench.run(flow)
    said = {e.name: (e.action, e.reason) for e in bench.plan(flow).entries()}
    assert said["pay"][0] == "keep" and "cut short" in said["pay"][1]
    asked = {e.name: e.action for e in bench.plan(flow, "retry").entries()}
    assert asked["pay"] == "run"


def test_an_interrupted_task_runs_again_when_asked_for(bench: Bench):
    flow = at_most_once()
    bench.killed(flow, workers=1)
    first("kill-other")
    run = bench.run(flow)
    assert bench.ledger.all().count("pay") == 1
    run = bench.command(flow, "retry", "pay", run=run.run_id)
    assert run.state == "SUCCESS" and run.result[0] == "paid"
    assert bench.ledger.all().count("pay") == 2


def test_retry_without_names_means_the_interrupted_too(bench: Bench):
    flow = at_most_once()
    bench.killed(flow, workers=1)
    first("kill-other")
    run = bench.run(flow)
    run = bench.command(flow, "retry", run=run.run_id)
    assert run.state == "SUCCESS"


# -- retry and rerun by hand -----------------------------------------------------------------------


def three(fail: bool = False):
    @task
    def a():
        note("a")
        return 1

    @task
    def b(x):
        note("b")
        if fail and first("fail"):
            raise ValueError
        return x + 1

    @task
    def c(x):
        note("c")
        return x + 1

    @task
    def d():
        note("d")
        return 0

    @workflow
    def flow():
        return [c(b(a())), d()]

    return flow


def test_rerun_of_a_finished_run(bench: Bench):
    flow = three()
    run = bench.run(flow)
    bench.ledger.new()
    again = bench.command(flow, "rerun", "b", run=run.run_id)
    assert again.run_id == run.run_id and again.result == [3, 0]
    assert bench.ledger.new() == ["b", "c"]
    assert again.task_runs["b"].generation == 2 and again.task_runs["a"].generation == 1


def test_retry_of_a_failed_run(bench: Bench):
    flow = three(fail=True)
    run = bench.run(flow)
    bench.ledger.new()
    again = bench.command(flow, "retry", run=run.run_id)
    assert again.result == [3, 0]
    assert bench.ledger.new() == ["b", "c"]


def test_a_command_that_finds_nothing_to_do_leaves_the_run_as_it_is(bench: Bench):
    from engine.runtime.stored import open_stored

    flow = three()
    run = bench.run(flow)
    with pytest.raises(RunError, match="nothing to retry"):
        bench.command(flow, "retry", "b", run=run.run_id)
    with pytest.raises(RunError):
        bench.command(flow, "rerun", "nonsense", run=run.run_id)
    assert open_stored(bench.folder / "home", run.run_id).state == "SUCCESS"


def test_rerun_of_what_reads_a_result_that_was_not_kept(bench: Bench):
    @task(persist=False)
    def a():
        note("a")
        return [1]

    @task
    def b(x):
        note("b")
        return sum(x)

    @task
    def c(x):
        note("c")
        return sum(x)

    @workflow
    def flow():
        x = a()
        return [b(x), c(x)]

    run = bench.run(flow)
    bench.ledger.new()
    again = bench.command(flow, "rerun", "b", run=run.run_id)
    assert again.result == [1, 1]
    assert bench.ledger.new() == ["a", "b"]


def test_rerun_of_one_item(bench: Bench):
    @task
    def item(x):
        note(f"item{x}")
        return x

    @task
    def total(xs):
        note("total")
        return sum(xs)

    @workflow
    def flow():
        return total(item.map([1, 2, 3]))

    run = bench.run(flow)
    bench.ledger.new()
    again = bench.command(flow, "rerun", "item[1]", run=run.run_id)
    assert again.result == 6
    assert bench.ledger.new() == ["item2", "total"]


# -- budgets and times -----------------------------------------------------------------------------


def test_the_retry_budget_carries_over_a_crash(bench: Bench):
    @task(retries=2, retry_delay=0)
    def shaky():
        note("shaky")
        if len([n for n in bench.ledger.all() if n == "shaky"]) == 2:
            die()
        raise ValueError("always")

    @workflow
    def flow():
        return shaky()

    bench.killed(flow)
    run = bench.run(flow)
    assert run.state == "FAILED"
    # One failure before the crash, the killed one uncharged, and the two that were left.
    assert bench.ledger.all().count("shaky") == 4


def test_a_retry_is_due_when_it_was_due(bench: Bench):
    def state_of(name: str) -> str:
        stored = open_stored(bench.folder / "home", "latest")
        return stored.state_word(stored.find(name)[0])

    @task(retries=1, retry_delay=1.5)
    def shaky():
        note(f"{time.time()}")
        if first("fail"):
            raise ValueError("once")
        return 1

    @task
    def killer():
        wait_for(lambda: state_of("shaky") == "UP_FOR_RETRY", "the failure to be on disk")
        if first("kill"):
            die()

    @workflow
    def flow():
        killer()
        return shaky()

    bench.killed(flow)
    assert bench.run(flow).result == 1
    failed, again = sorted(float(t) for t in bench.ledger.all())
    assert again - failed >= 1.5


# -- results after the fact ------------------------------------------------------------------------


def test_results_can_be_read_though_they_were_let_go(bench: Bench):
    @task
    def make(i):
        return {"i": i}

    @task
    def use(xs):
        return len(xs)

    @workflow
    def flow():
        return use(make.map(range(5)))

    run = bench.run(flow)
    assert run.result == 5
    assert run.task_runs["make[3]"].result == {"i": 3}
    again = bench.command(flow, "resume", run=run.run_id)
    assert again.task_runs["make[3]"].result == {"i": 3}


def test_the_result_of_a_failed_run_raises_its_cause(bench: Bench):
    @task
    def bad():
        raise KeyError("gone")

    @workflow
    def flow():
        return bad()

    run = bench.run(flow)
    with pytest.raises(RunFailed) as caught:
        _ = run.result
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_request_reaches_a_file_that_runs_itself(bench: Bench):
    flow = three(fail=True)
    run = bench.run(flow)
    request = Request(command="retry", run_id=run.run_id)
    with requested(request):
        again = flow.options(**bench.options()).run()
    assert request.run is again and again.run_id == run.run_id


def test_code_change_policy_fail_names_the_change(bench: Bench):
    bench.run(edited(1))
    with pytest.raises(CodeChanged, match="code of work changed"):
        bench.run(edited(2), on_code_change="fail")


def edited(version: int) -> Any:
    if version == 1:
        @task
        def work(x):
            note(f"work{x}")
            return x
    else:
        @task
        def work(x):
            note(f"work{x}")
            return x + 100

    @task
    def end(x):
        note("end")
        if first("fail"):
            raise ValueError
        return x

    @workflow
    def flow():
        return end(work(1))

    return flow
