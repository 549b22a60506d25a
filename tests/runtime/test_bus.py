"""The event bus."""

from __future__ import annotations

import threading

from engine.core.dag import Dag
from engine.core.events import Attempt, Moved, Succeeded
from engine.core.states import QUEUED
from engine.runtime.bus import Bus
from tests.core.graphs import add


def success(tid: int) -> Succeeded:
    node = add(Dag("bus"), "t")
    attempt = Attempt(tid, node, -1, 1, 1, None)
    attempt.succeed(tid, tid)
    return Succeeded([attempt])


def test_what_was_published_is_delivered_before_close_returns_and_in_order():
    got = []
    bus = Bus(got.append)
    bus.subscribe(got.extend)
    for i in range(3):
        bus.publish([success(i)])
    bus.publish([Moved([9], QUEUED, -1, "")])
    bus.publish([success(3)])
    bus.close()
    kinds = [type(c).__name__ for c in got]
    assert "Succeeded" in kinds and kinds[-1] == "Succeeded"
    assert [a.tid for c in got if isinstance(c, Succeeded) for a in c.attempts] == [0, 1, 2, 3]
    moved = kinds.index("Moved")
    assert [a.tid for c in got[:moved] for a in c.attempts] == [0, 1, 2]


def test_successes_in_a_row_are_one_change_and_the_published_ones_stay_as_they_were():
    got, published = [], [success(i) for i in range(5)]
    entered, go_on = threading.Event(), threading.Event()

    def slow(batch):
        got.append(batch)
        entered.set()
        go_on.wait(20)

    bus = Bus(got.append)
    bus.subscribe(slow)
    bus.publish([Moved([0], QUEUED, -1, "")])
    assert entered.wait(20)
    for change in published:
        bus.publish([change])
    go_on.set()
    bus.close()
    assert [len(c.attempts) for c in got[1]] == [5]
    assert [len(c.attempts) for c in published] == [1] * 5


def test_a_listener_that_raises_is_named_once_and_harms_nobody():
    complaints, got = [], []
    bus = Bus(complaints.append)

    def broken(batch):
        raise RuntimeError("ouch")

    bus.subscribe(broken)
    bus.subscribe(got.extend)
    for i in range(2):
        bus.publish([success(i)])
        bus.publish([Moved([i], QUEUED, -1, "")])
    bus.close()
    assert len(complaints) == 1 and "broken" in complaints[0] and "ouch" in complaints[0]
    assert sum(len(c.attempts) for c in got if isinstance(c, Succeeded)) == 2


def test_nothing_is_kept_without_listeners():
    bus = Bus(lambda text: None)
    stop = bus.subscribe(lambda batch: None)
    stop()
    bus.publish([success(0)])
    assert not bus._waiting
    bus.close()
