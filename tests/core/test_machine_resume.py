"""What a machine makes of a record that another one left behind."""

from __future__ import annotations

import pytest

from engine.core.dag import Dag
from engine.core.record import RunRecord
from engine.core.states import FailureReason
from tests.core.driver import Driver
from tests.core.graphs import add


def one(name="a", **options):
    dag = Dag("one")
    add(dag, name, **options)
    return dag.freeze()


def test_a_retry_that_was_due_later_is_still_due_then():
    d = Driver(one(retries=1, delay=60.0)).start()
    d.end(d.take()[0], "fail")
    due = d.m.next_due
    d.now += 10.0
    d.reopen()
    assert d.m.next_due == due and d.take() == []
    d.now = due
    d.m.tick(d.now)
    (again,) = d.settle().take()
    assert again.number == 2


@pytest.mark.fault(34)
def test_a_clock_that_was_set_back_makes_no_retry_wait_longer_than_its_delay():
    d = Driver(one(retries=1, delay=60.0)).start()
    d.end(d.take()[0], "fail")
    d.now -= 3600.0
    d.reopen()
    assert d.m.next_due == d.now + 60.0


def test_items_of_a_map_keep_their_due_times():
    dag = Dag("map")
    add(dag, "m", over=range(1), retries=1, delay=60.0)
    d = Driver(dag.freeze(), {"m": 3}).start()
    d.end(d.take()[0], "fail")
    d.reopen()
    assert [d.name(a.tid) for _ in range(4) for a in d.take()] == ["m[1]", "m[2]"]
    d.now = d.m.next_due
    d.m.tick(d.now)
    assert [d.name(a.tid) for a in d.settle().take()] == ["m[0]"]


def test_a_retry_by_hand_does_not_wait_for_the_due_time():
    d = Driver(one(retries=1, delay=60.0)).start()
    d.end(d.take()[0], "fail")
    record = d.record()
    d.m = d._machine()
    d.m.restore(record)
    d.m.recompute([0], "its result is gone")
    d.start()
    assert len(d.take()) == 1


def test_the_retry_budget_carries_over_a_crash():
    d = Driver(one(retries=1)).start()
    d.end(d.take()[0], "fail")
    d.m.tick(d.now + 1)
    d.settle().take()
    d.reopen()
    (again,) = d.take()
    d.end(again, "fail")
    assert d.state("a").name == "FAILED", "the retry was spent before the crash"


def test_what_was_blocked_is_judged_anew():
    dag = Dag("blocked")
    a = add(dag, "a")
    add(dag, "b", a)
    d = Driver(dag.freeze()).start()
    d.end(d.take()[0], "fail")
    record = d.record()
    record.state[0] = 4  # as if its failing producer had been replaced by one that succeeded
    d.m = d._machine()
    d.m.restore(record)
    d.start()
    assert [d.name(t.tid) for t in d.take()] == ["b"]


def test_what_a_failure_still_blocks_stays_blocked():
    dag = Dag("blocked")
    a = add(dag, "a")
    add(dag, "b", a)
    d = Driver(dag.freeze()).start()
    d.end(d.take()[0], "fail")
    record = d.record()
    d.m = d._machine()
    d.m.restore(record)
    d.start()
    assert d.m.over and d.state("b").name == "UPSTREAM_FAILED"


def test_a_consumer_waits_for_a_producer_that_is_computed_again():
    dag = Dag("lost")
    a = add(dag, "a")
    add(dag, "b", a)
    d = Driver(dag.freeze()).start()
    d.end(d.take()[0])
    d.end(d.take()[0], "fail")
    record = d.record()
    d.m = d._machine()
    d.m.restore(record)
    d.m.retry(record.to_retry(), d.now)
    d.m.recompute([0], "its result is gone")
    d.start()
    batch = d.take()
    assert [d.name(t.tid) for t in batch] == ["a"], "b has nothing to work on yet"
    d.end(batch[0])
    assert [d.name(t.tid) for t in d.take()] == ["b"]


def test_a_dead_worker_ends_an_at_most_once_task():
    d = Driver(one(on_interrupt="fail", retries=3)).start()
    d.end(d.take()[0], "fail", FailureReason.CRASHED)
    assert d.state("a").name == "FAILED" and d.m.over
    assert d.record().to_retry(unasked=True) == [] and d.record().to_retry() == [0]


def shared():
    """A map whose items all read a result that is not kept."""
    dag = Dag("shared")
    given = add(dag, "given", persist=False)
    add(dag, "m", given, over=range(1))
    return dag.freeze()


def half_done(graph):
    """One item is done, and the result that they all read has to be computed again."""
    d = Driver(graph, {"m": 3}).start()
    d.end(d.take()[0])
    d.end(d.take()[0])
    record = d.record()
    d.m = d._machine()
    d.hands.clear()
    d.m.restore(record)
    d.m.recompute([d.id("given")], "its result is gone")
    return d.start()


def test_open_items_wait_for_what_they_all_read():
    d = half_done(shared())
    (given,) = d.take(seconds=1e9)
    assert d.name(given.tid) == "given"
    d.end(given)
    assert [d.name(a.tid) for a in d.take(seconds=float("inf"))] == ["m[1]", "m[2]"]


def test_open_items_are_blocked_if_what_they_all_read_fails_this_time():
    d = half_done(shared())
    d.end(d.take()[0], "fail")
    assert d.m.over
    assert d.states() == {
        "given": "FAILED", "m": "UPSTREAM_FAILED", "m[0]": "SUCCESS",
        "m[1]": "UPSTREAM_FAILED", "m[2]": "UPSTREAM_FAILED",
    }


def test_items_that_were_matched_once_are_not_matched_again():
    """Else a success that was discarded since would be taken over from the time before."""
    record = RunRecord(2)
    record.expanded(1, 2, 1, None, [5], [])
    record.reset([1], [])
    assert 1 in record.previous
    record.expanded(1, 3, 1, None, [5], [(3, 2)])
    assert not record.previous
