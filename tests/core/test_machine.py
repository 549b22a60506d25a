"""The machine, driven by hand."""

from __future__ import annotations

import pytest

from engine.core.dag import Dag
from engine.core.dispatch import OWN
from engine.core.graph import Graph
from engine.core.record import RunRecord
from engine.core.states import FailureReason, RunState, TaskState
from tests.core.driver import Driver
from tests.core.graphs import add, chain_graph


def diamond(**options):
    dag = Dag("diamond")
    a = add(dag, "a")
    b = add(dag, "b", a, **options)
    c = add(dag, "c", a)
    add(dag, "d", b, c)
    return dag.freeze()


def test_a_graph_runs_in_order_to_success():
    d = Driver(diamond()).start()
    order = []
    while not d.m.over:
        for a in d.take(seconds=0.001, share=1):
            order.append(a.node.name)
            d.end(a)
    assert order == ["a", "b", "c", "d"]
    assert d.m.run_state is RunState.SUCCESS


def test_nothing_is_handed_out_before_what_it_needs_succeeded():
    d = Driver(diamond()).start()
    (a,) = d.take()
    assert d.take() == []
    d.end(a)
    assert sorted(x.node.name for x in [*d.take(), *d.take()]) == ["b", "c"]
    assert d.take() == []


def test_failure_blocks_what_is_below_and_leaves_the_rest_alone():
    d = Driver(diamond()).start().run(fails={"b"})
    assert d.states() == {"a": "SUCCESS", "b": "FAILED", "c": "SUCCESS", "d": "UPSTREAM_FAILED"}
    assert d.m.run_state is RunState.FAILED


def test_skip_hands_on_skip():
    d = Driver(diamond()).start().run(skips={"b"})
    assert d.state("d") is TaskState.SKIPPED
    assert d.m.run_state is RunState.SUCCESS


def test_failure_that_a_tolerant_task_expects_is_handled():
    dag = Dag("handled")
    bad = add(dag, "bad")
    add(dag, "mend", bad, trigger_rule="all_done")
    d = Driver(dag.freeze()).start().run(fails={"bad"})
    assert d.state("mend") is TaskState.SUCCESS
    assert d.m.run_state is RunState.SUCCESS


def test_always_runs_at_once_and_handles_nothing():
    dag = Dag("always")
    bad = add(dag, "bad")
    add(dag, "note", bad, trigger_rule="always")
    d = Driver(dag.freeze()).start()
    assert {a.node.name for a in [*d.take(), *d.take()]} == {"bad", "note"}
    for a in list(d.hands):
        d.end(a, "fail" if a.node.name == "bad" else "ok")
    assert d.m.run_state is RunState.FAILED


def test_one_success_starts_before_the_rest_has_ended():
    dag = Dag("eager")
    a, b = add(dag, "a"), add(dag, "b")
    add(dag, "first", a, b, trigger_rule="one_success")
    d = Driver(dag.freeze()).start()
    x, y = [*d.take(), *d.take()]
    d.end(x)
    assert [t.node.name for t in d.take()] == ["first"]
    d.end(y)


def test_retries_come_after_their_delay_and_then_fail():
    dag = Dag("retry")
    add(dag, "t", retries=2, delay=5.0)
    d = Driver(dag.freeze()).start()
    for number in (1, 2):
        (a,) = d.take()
        assert a.number == number
        d.end(a, "fail")
        assert d.state("t") is TaskState.UP_FOR_RETRY
        assert d.take() == []
        assert d.m.next_due == pytest.approx(d.now + 5.0)
        d.now += 5.0
        d.m.tick(d.now)
    (a,) = d.take()
    d.end(a, "fail")
    assert d.state("t") is TaskState.FAILED
    assert a.number == 3


@pytest.mark.fault(13)
def test_first_crash_is_free_and_the_second_in_a_row_fails():
    dag = Dag("poison")
    add(dag, "t", retries=5)
    d = Driver(dag.freeze()).start()
    (a,) = d.take()
    d.end(a, "fail", FailureReason.CRASHED)
    d.m.tick(d.now)
    (a,) = d.take()
    d.end(a, "fail", FailureReason.CRASHED)
    assert d.state("t") is TaskState.FAILED
    assert d.record().failures == {}


def test_given_back_attempts_are_not_tries():
    d = Driver(chain_graph(1)).start()
    (a,) = d.take()
    d.end(a, "back")
    (b,) = d.take()
    assert b is not a and b.number == 1


@pytest.mark.fault(11)
def test_late_outcome_of_an_attempt_given_up_is_dropped():
    dag = Dag("late")
    add(dag, "t", retries=1)
    d = Driver(dag.freeze()).start()
    (first,) = d.take()
    d.end(first, "fail", FailureReason.TIMEOUT)
    d.m.tick(d.now)
    (second,) = d.take()
    first.succeed("late", "late")
    d.m.finish([first], d.now)
    assert d.state("t") is TaskState.RUNNING
    d.end(second)
    assert d.state("t") is TaskState.SUCCESS


def test_limits_hold_back_and_let_go():
    dag = Dag("limits")
    for i in range(4):
        add(dag, f"g{i}", limits={"gpu": 1})
    d = Driver(dag.freeze(), limits={"gpu": 2}).start()
    got = [*d.take(), *d.take(), *d.take()]
    assert len(got) == 2
    waiting = next(n for n in ("g0", "g1", "g2", "g3") if d.state(n) is TaskState.QUEUED)
    assert d.m.waits_for(d.id(waiting)) == "limit gpu"
    d.end(got[0])
    assert len(d.take()) == 1
    d.run()
    assert d.m.free == {"gpu": 2}


def test_calls_in_a_row_wait_for_a_limit_together_and_in_their_order():
    dag = Dag("row")
    for i in range(10):
        add(dag, f"n{i}", limits={"gpu": 1})
    d = Driver(dag.freeze(), limits={"gpu": 1}).start()
    order = []
    while not d.m.over:
        (a,) = d.take(share=4)
        order.append(a.tid)
        assert d.take(share=4) == []
        waiting = [*range(order[-1] + 1, 10)]
        parked = d.m.parked.get("gpu", [])
        assert [tid for start, stop in parked for tid in range(start, stop)] == waiting
        assert len(parked) <= 3  # as they were taken from the queue: up to four at a time
        d.end(a)
    assert order == [*range(10)]


def test_a_paused_call_divides_its_row_and_the_rest_stays_together():
    dag = Dag("row")
    for i in range(100):
        add(dag, f"n{i}", limits={"gpu": 1})
    d = Driver(dag.freeze(), limits={"gpu": 1}).start()
    d.m.pause_nodes([50, *range(90, 95)])
    (a,) = d.take()
    assert d.take() == []
    assert d.m.parked["gpu"] == [(1, 50), (51, 90), (95, 100)]
    assert [d.m.parked[f"pause:{k}"] for k in (50, 90, 94)] == [[(50, 51)], [(90, 91)], [(94, 95)]]
    d.end(a)
    d.m.unpause_nodes([*range(100)])
    d.run()
    assert set(d.states().values()) == {"SUCCESS"}


def test_a_range_under_a_limit_goes_one_by_one():
    dag = Dag("maplimit")
    add(dag, "m", over=range(5), limits={"db": 1})
    d = Driver(dag.freeze(), {"m": 5}, limits={"db": 2}).start()
    assert len([*d.take(), *d.take(), *d.take(), *d.take()]) == 2
    d.run()
    assert d.m.run_state is RunState.SUCCESS


def test_longest_path_goes_first_and_a_given_priority_before_it():
    dag = Dag("prio")
    add(dag, "lone")
    add(dag, "urgent", priority=5)
    head = add(dag, "head")
    add(dag, "mid", head)
    d = Driver(dag.freeze()).start()
    order = [d.take(share=1)[0].node.name for _ in range(3)]
    assert order == ["urgent", "head", "lone"]


def test_map_runs_item_by_item_below_a_map():
    dag = Dag("items")
    f = add(dag, "f", over=range(3))
    g = add(dag, "g", over=f)
    add(dag, "all", g)
    d = Driver(dag.freeze()).start()
    first = d.take(share=1)[0]
    rest = [d.take(share=1)[0] for _ in range(2)]
    assert d.take() == []
    d.end(first)
    assert [d.name(a.tid) for a in d.take()] == ["g[0]"]
    for a in rest:
        d.end(a, "fail" if d.name(a.tid) == "f[1]" else "ok")
    d.run()
    assert d.state("g[1]") is TaskState.UPSTREAM_FAILED
    assert d.state("g[2]") is TaskState.SUCCESS
    assert d.state("all") is TaskState.UPSTREAM_FAILED


def test_barrier_waits_for_all_items():
    dag = Dag("barrier")
    f = add(dag, "f", over=range(2))
    add(dag, "g", over=f, barrier=True)
    d = Driver(dag.freeze(), {"f": 2, "g": 2}).start()
    a, b = d.take(share=1) + d.take(share=1)
    d.end(a)
    assert d.take() == []
    d.end(b)
    assert {d.name(x.tid)[0] for x in d.take()} == {"g"}


@pytest.mark.fault(33)
@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_maps_of_any_size_end(size):
    dag = Dag("sizes")
    f = add(dag, "f", over=range(size))
    add(dag, "sum", f)
    d = Driver(dag.freeze(), {"f": size}).start()
    while not d.m.over:
        batch = d.m.take("thread", d.now, 1e9, 10_000) or pytest.fail("stuck")
        for a in batch:
            a.start = a.end = d.now
            a.succeed(1, 1)
        d.m.finish(batch, d.now)
        d.settle()
    assert d.m.run_state is RunState.SUCCESS
    assert d.m.count[0] == size


def test_cancel_of_a_task_blocks_with_cancelled():
    d = Driver(diamond()).start()
    d.m.cancel([d.id("b")], d.now)
    d.settle().run()
    assert d.states() == {"a": "SUCCESS", "b": "CANCELLED", "c": "SUCCESS", "d": "CANCELLED"}
    assert d.m.run_state is RunState.CANCELLED


def test_cancel_of_a_running_task_asks_and_waits():
    d = Driver(diamond()).start()
    (a,) = d.take()
    d.m.cancel([d.id("a")], d.now)
    d.settle()
    assert d.stops == [a]
    assert d.state("a") is TaskState.CANCELLING
    d.end(a, "cancelled")
    assert d.state("d") is TaskState.CANCELLED


@pytest.mark.parametrize("how", ["cancelled", "fail"])
def test_of_an_attempt_that_was_cancelled_it_is_recorded_when_it_ran(how):
    d = Driver(diamond(retries=1)).start()
    d.end(d.take()[0])
    b = next(x for x in [*d.take(), *d.take()] if x.node.name == "b")
    d.end(b, "fail")
    d.m.tick(d.m.next_due)
    d.settle()
    (again,) = (x for x in d.take() if x.node.name == "b")
    d.m.cancel([d.id("b")], d.now)
    d.settle()
    d.end(again, how)
    record, tid = d.record(), d.id("b")
    assert record.state_of(tid) is TaskState.CANCELLED
    assert (record.number[tid], record.start[tid], record.end[tid]) == (2, again.start, again.end)


def test_of_a_task_cancelled_before_it_ran_no_times_are_recorded():
    d = Driver(diamond()).start()
    d.m.cancel([d.id("b")], d.now)
    record = d.settle().run().record()
    assert (record.number[d.id("b")], record.start[d.id("b")], record.end[d.id("b")]) == (0, 0, 0)


@pytest.mark.parametrize("whole", [False, True])
def test_cancel_of_an_attempt_that_a_retry_has_stopped_already_ends_the_task_run(whole):
    dag = Dag("tidy")
    bad = add(dag, "bad")
    add(dag, "tidy", bad, trigger_rule="all_done")
    d = Driver(dag.freeze()).start()
    d.end(d.take()[0], "fail")
    (stopped,) = d.take()
    d.m.retry([d.id("bad")], d.now)  # what consumed the failure runs again: its attempt must stop
    d.settle()
    if whole:
        d.m.cancel_run(d.now)
    else:
        d.m.cancel([d.id("tidy")], d.now)
    d.settle()
    d.end(stopped, "ok")
    if not whole:
        d.run()
    assert d.m.over
    assert d.state("tidy") is TaskState.CANCELLED
    assert d.record().state_of(d.id("tidy")) is TaskState.CANCELLED


def test_cancel_of_the_run_ends_it_cancelled():
    d = Driver(diamond()).start()
    (a,) = d.take()
    d.m.cancel_run(d.now)
    d.settle()
    assert not d.m.over
    d.end(a, "cancelled")
    assert d.m.run_state is RunState.CANCELLED


def test_drain_leaves_the_run_to_be_resumed():
    d = Driver(diamond()).start()
    (a,) = d.take()
    d.m.drain("signal", d.now, stop_running=True)
    d.settle()
    d.end(a, "cancelled")
    assert d.m.run_state is RunState.INTERRUPTED
    d = d.reopen().run()
    assert d.m.run_state is RunState.SUCCESS


def test_pause_stops_dispatch_and_unpause_goes_on():
    d = Driver(diamond()).start()
    assert d.m.pause(d.now)
    assert d.take() == []
    assert not d.m.pause(d.now)
    assert d.m.unpause(d.now)
    d.run()
    assert d.m.run_state is RunState.SUCCESS


def test_pause_of_one_task_lets_the_others_run():
    d = Driver(diamond()).start()
    d.m.pause_nodes([d.id("b")])
    d.end(d.take()[0])
    assert [a.node.name for a in d.take() + d.take()] == ["c"]
    d.m.unpause_nodes([d.id("b")])
    d.run()
    assert d.m.run_state is RunState.SUCCESS


def test_calls_in_a_row_of_one_task_are_one_entry_in_the_queue_and_each_its_own_task():
    dag = Dag("row")
    for i in range(100):
        add(dag, f"n{i}")
    d = Driver(dag.freeze()).start()
    assert d.m.queues["thread"].pop(1000) == (0, 100, 1.0)
    d = Driver(d.graph).start()
    d.m.pause_nodes([d.id("n1")])
    d.m.cancel([d.id("n2")], d.now)
    d.end(d.take()[0])  # now its cost is known
    assert [a.node.name for a in d.take(1e9)] == [f"n{i}" for i in range(3, 100)]
    d.m.unpause_nodes([d.id("n1")])
    d.run()
    ended = d.states()
    assert ended.pop("n2") == "CANCELLED"
    assert set(ended.values()) == {"SUCCESS"}


def test_neighbours_whose_code_became_different_keep_each_its_own_options():
    def three(**options) -> Graph:
        dag = Dag("edited")
        add(dag, "a")
        add(dag, "b", **options)
        add(dag, "c")
        return dag.freeze()

    d = Driver(three()).start()
    d.m.graph = three(timeout=7.0)  # as a reload does
    d.end(d.take(share=1)[0])
    assert [(a.node.name, a.timeout) for a in d.take(1e9)] == [("b", 7.0), ("c", None)]


def test_on_failure_stop_starts_nothing_more():
    dag = Dag("stop")
    add(dag, "bad", priority=9)
    add(dag, "other")
    d = Driver(dag.freeze(), on_failure="stop").start()
    d.end(d.take(share=1)[0], "fail")
    assert d.m.run_state is RunState.FAILED
    assert d.state("other") is TaskState.QUEUED


def test_retry_by_hand_runs_the_failure_and_what_it_blocked():
    d = Driver(diamond()).start().run(fails={"b"})
    assert d.m.retry([d.id("b")], d.now) == [d.id("b")]
    d.settle().run()
    assert set(d.states().values()) == {"SUCCESS"}
    assert d.m.generation == {}
    assert d.m.run_state is RunState.SUCCESS


def test_retry_by_hand_runs_again_what_consumed_the_failure():
    dag = Dag("consumed")
    bad = add(dag, "bad")
    mend = add(dag, "mend", bad, trigger_rule="all_done")
    add(dag, "end", mend)
    d = Driver(dag.freeze()).start().run(fails={"bad"})
    d.m.retry([d.id("bad")], d.now)
    d.settle()
    assert d.states() == {"bad": "QUEUED", "mend": "PENDING", "end": "PENDING"}
    d.run()
    assert d.m.generation == {1: 2, 2: 2}


def test_rerun_discards_a_success_and_everything_below():
    d = Driver(diamond()).start().run()
    d.m.rerun([d.id("b")], d.now)
    d.settle()
    assert d.states() == {"a": "SUCCESS", "b": "QUEUED", "c": "SUCCESS", "d": "PENDING"}
    (a,) = d.take()
    assert (a.generation, a.number) == (2, 1)
    d.end(a).run()
    assert d.m.run_state is RunState.SUCCESS


@pytest.mark.fault(39)
def test_rerun_twice_is_one_generation_while_it_has_not_run():
    d = Driver(diamond()).start().run()
    d.m.rerun([d.id("b")], d.now)
    d.m.rerun([d.id("b")], d.now)
    d.settle()
    assert d.m.generation[d.id("b")] == 2


@pytest.mark.fault(39)
def test_rerun_above_a_running_task_stops_it_and_drops_its_outcome():
    d = Driver(diamond()).start()
    d.end(d.take()[0])
    b, c = d.take(share=1) + d.take(share=1)
    d.m.rerun([d.id("a")], d.now)
    d.settle()
    assert set(d.stops) == {b, c}
    (a,) = d.take()
    d.end(b)
    assert d.state("b") is TaskState.PENDING
    d.end(c, "cancelled")
    d.end(a).run()
    assert d.m.run_state is RunState.SUCCESS
    assert d.record().counts()[TaskState.SUCCESS] == 4


def test_rerun_of_a_producer_makes_the_items_anew():
    dag = Dag("anew")
    p = add(dag, "p")
    f = add(dag, "f", over=p)
    add(dag, "sum", f)
    d = Driver(dag.freeze(), {"f": 2}).start().run()
    d.sizes["f"] = 4
    d.m.rerun([d.id("p")], d.now)
    d.settle().run()
    assert d.m.count[d.id("f")] == 4
    assert d.record().counts()[TaskState.SUCCESS] == 6


def test_retry_of_one_item_leaves_the_others():
    dag = Dag("one")
    f = add(dag, "f", over=range(3))
    add(dag, "sum", f)
    d = Driver(dag.freeze()).start().run(fails={"f[1]"})
    assert d.state("f") is TaskState.FAILED
    d.m.retry([d.id("f")], d.now)
    d.settle()
    assert [d.name(a.tid) for a in d.take()] == ["f[1]"]
    d.end(d.hands[0]).run()
    assert d.m.run_state is RunState.SUCCESS
    assert d.state("f") is TaskState.SUCCESS


def test_reopen_runs_only_what_is_missing():
    dag = Dag("resume")
    p = add(dag, "p")
    f = add(dag, "f", over=p)
    add(dag, "sum", f)
    d = Driver(dag.freeze(), {"f": 5}).start()
    d.end(d.take()[0])
    batch = d.take(share=2)
    done = {d.name(a.tid) for a in batch}
    assert done
    for a in batch:
        d.end(a)
    d.reopen()
    ran = []
    while not d.m.over:
        for a in d.take():
            ran.append(d.name(a.tid))
            d.end(a)
    assert sorted(ran) == sorted({*(f"f[{i}]" for i in range(5)), "sum"} - done)


@pytest.mark.fault(27)
def test_long_chain_that_fails_at_its_head_blocks_without_recursion():
    d = Driver(chain_graph(100_000)).start()
    d.end(d.take()[0], "fail")
    assert d.m.run_state is RunState.FAILED
    assert d.m.state.count(TaskState.UPSTREAM_FAILED) == 99_999


@pytest.mark.fault(26)
def test_cycle_is_refused_with_its_path():
    from engine.errors import CycleError

    dag = Dag("ring")
    a = add(dag, "a")
    b = add(dag, "b", a)
    c = add(dag, "c", b)
    a.wait_for(c)
    with pytest.raises(CycleError) as caught:
        dag.freeze()
    assert caught.value.path in (["a", "b", "c", "a"], ["b", "c", "a", "b"], ["c", "a", "b", "c"])


def test_deadline_over_all_attempts_ends_the_retries():
    dag = Dag("deadline")
    add(dag, "t", retries=9, delay=4.0, deadline=6.0)
    d = Driver(dag.freeze()).start()
    d.end(d.take()[0], "fail")
    d.now += 4.0
    d.m.tick(d.now)
    (a,) = d.take()
    assert a.timeout == pytest.approx(1.0)
    d.end(a, "fail")
    assert d.state("t") is TaskState.FAILED


def test_what_was_only_queued_waits_again_when_its_producer_is_rerun():
    dag = Dag("chain")
    a = add(dag, "a")
    add(dag, "b", a)
    d = Driver(dag.freeze()).start()
    d.end(d.take()[0])
    assert d.state("b") is TaskState.QUEUED
    d.m.rerun([d.id("a")], d.now)
    assert [d.name(t.tid) for t in d.settle().take()] == ["a"]


def mapped(rule="all_success"):
    """A list, a map over it, and a map that follows that one item by item."""
    dag = Dag("mapped")
    rows = add(dag, "rows")
    first = add(dag, "first", over=rows)
    add(dag, "second", over=first, trigger_rule=rule)
    return dag.freeze()


@pytest.mark.fault(33, 39)
def test_an_item_in_hand_whose_map_is_made_anew_is_not_run_again_beside_it():
    d = Driver(mapped(), {"first": 2}).start()
    d.end(d.take()[0])
    old = d.take(1e9, 1)[0]
    assert d.name(old.tid) == "first[0]"
    d.m.rerun([d.id("rows")], d.now)
    d.settle()
    d.end(d.take()[0])  # rows, and with it `first` has new items
    assert old.cancelled, "it must not begin: what it reads is let go"
    d.end(old, "fail")
    handed = d.take(1e9, 10)
    assert old.tid not in [a.tid for a in handed]
    assert all(0 <= a.index < 2 for a in handed)


def test_a_run_is_cancelled_after_a_map_was_made_anew():
    d = Driver(mapped(), {"first": 2}).start()
    d.end(d.take()[0])
    d.take(1e9, 1)
    d.m.rerun([d.id("rows")], d.now)
    d.settle()
    d.reopen()
    d.end(d.take()[0])
    before = list(d.m.open_items)
    d.m.cancel_run(d.now)
    d.settle()
    assert d.m.over and all(0 <= n <= was for n, was in
                            zip(d.m.open_items, before, strict=True))


@pytest.mark.parametrize("rule", ["always", "one_done", "one_success"])
def test_a_map_that_follows_items_waits_for_there_to_be_any(rule: str):
    d = Driver(mapped(rule), {"first": 2}).start()
    for _ in range(10):
        for a in d.take(1e9, 10):
            d.end(a)
    assert d.m.over and d.m.count[d.id("second")] == 2


@pytest.mark.fault(39)
def test_items_that_are_made_anew_by_a_rerun_are_of_the_next_generation():
    """Else their idempotency keys would be those of the successes that were discarded."""
    d = Driver(mapped(), {"first": 2}).start().run()
    d.m.rerun([d.id("rows")], d.now)
    d.settle()
    d.end(d.take()[0])
    again = d.take(1e9, 10)
    assert {(d.name(a.tid), a.generation) for a in again} == {("first[0]", 2), ("first[1]", 2)}
    assert d.record().generation == d.m.generation
    d.reopen()
    assert {a.generation for a in d.take(1e9, 10)} == {2}


def test_items_of_a_map_that_was_changed_are_of_the_next_generation():
    record = RunRecord(2)
    record.expanded(1, 2, 2, None, None, [])
    record.succeeded(range(2, 4), None, [1.0] * 2, [2.0] * 2, [5, 6])
    for _ in range(2):  # and once more before it is made anew
        record.regraph(2, [0, 1], {1}, set())
    base = len(record.state)
    record.expanded(1, base, 3, None, None, [])
    assert [record.generation.get(base + i, 1) for i in range(3)] == [2, 2, 1]


def test_a_batch_of_tasks_that_take_no_time_is_bounded_by_what_the_engine_takes_for_them():
    dag = Dag("flow")
    add(dag, "step", over=range(10_000))
    d = Driver(dag.freeze(), {"step": 10_000}).start()
    (first,) = d.take()
    first.start = first.end = d.now
    first.succeed(0, 0)
    d.m.finish([first], d.now)
    assert len(d.take(seconds=2000 * OWN, share=10_000)) in (2000, 2001)


def test_a_deadline_counts_from_the_first_start_not_from_a_batch_in_which_nothing_began():
    dag = Dag("flow")
    add(dag, "step", deadline=5.0)
    d = Driver(dag.freeze()).start()
    (first,) = d.take()
    first.stop(TaskState.QUEUED)  # behind a slow one
    d.m.finish([first], d.now)
    d.now += 60.0
    (again,) = d.take()
    assert again.timeout == 5.0


@pytest.mark.fault(39)
def test_items_that_come_back_after_the_map_had_fewer_are_of_the_next_generation():
    d = Driver(mapped(), {"first": 3}).start().run()
    for size in (0, 3):
        d.sizes["first"] = size
        d.m.rerun([d.id("rows")], d.now)
        d.settle()
        d.end(d.take()[0])
    again = d.take(1e9, 10)
    assert {(d.name(a.tid), a.generation) for a in again} == {(f"first[{i}]", 2) for i in range(3)}
    assert d.record().generation == d.m.generation
