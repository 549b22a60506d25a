"""The moments at which a thread worker and the ticker meet; each step is made by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from engine.core.events import Attempt
from engine.executors.local import SequentialExecutor, ThreadExecutor
from engine.worker.clock import now
from tests.executors.fake_hub import FakeHub


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    yield hub
    hub.finish()


@pytest.fixture
def executor(hub: FakeHub) -> Iterator[ThreadExecutor]:
    made = ThreadExecutor()
    made.start(hub, 1, 0.0)
    yield made
    hub.finish()
    made.close()


def held(
    hub: FakeHub, executor: ThreadExecutor, **options: float
) -> tuple[Attempt, threading.Event]:
    """An attempt in the worker's hands, and what lets it go on."""
    entered, released = threading.Event(), threading.Event()

    def wait() -> str:
        entered.set()
        assert released.wait(20)
        return "done"

    a = hub.attempt(wait, **options)
    hub.give(a)
    assert entered.wait(20)
    return a, released


def test_a_stop_meant_for_one_attempt_does_not_end_the_next(hub, executor):
    first, release = held(hub, executor)
    worker = executor._workers[0]
    release.set()
    hub.wait(first)
    second, release = held(hub, executor)
    # What the ticker does if the first attempt ended between its look and its store.
    worker.stop = (first, "timeout", now())
    release.set()
    hub.wait(second)
    assert FakeHub.value(second) == "done"


def test_a_worker_given_up_for_an_attempt_that_just_ended_is_replaced(hub, executor):
    first, release = held(hub, executor)
    worker = executor._workers[0]
    release.set()
    hub.wait(first)
    executor._give_up(worker, first, "timeout")
    others = [hub.attempt(lambda: 1) for _ in range(3)]
    hub.give(*others)
    hub.wait(*others)
    assert first.status.name == "SUCCESS"
    assert [a.status.name for a in others] == ["SUCCESS"] * 3


def test_what_a_given_up_worker_had_before_it_goes_back(hub, executor):
    slow, release = held(hub, executor, timeout=0.001)
    worker = executor._workers[0]
    behind = hub.attempt(lambda: "next")
    worker.batch.append(behind)
    executor.stop(slow, "timeout")
    executor._give_up(worker, slow, "timeout")
    release.set()
    hub.wait(slow, behind)
    assert slow.reason == "timeout"
    assert FakeHub.value(behind) == "next"


def test_a_given_up_attempt_is_reported_once(hub, executor):
    slow, release = held(hub, executor)
    executor.stop(slow, "cancel")
    executor.rebalance()
    hub.wait(slow)
    release.set()
    last = hub.attempt(lambda: 1)
    hub.give(last)
    hub.wait(last)  # the hub complains of an attempt that is handed in twice
    assert slow.status.name == "CANCELLED"


def test_a_signal_that_comes_while_an_error_is_told_ends_the_attempt_alone(monkeypatch):
    """The handler raises in the main thread wherever it is, the engine's own code included."""
    from engine.executors import local

    hub, executor = FakeHub(batch=1), SequentialExecutor()
    executor.start(hub, 1, 0.0)

    def fails() -> None:
        raise ValueError("told, then interrupted")

    interrupted, after = hub.attempt(fails), hub.attempt(lambda: hub.finish())

    def report(a, error):
        monkeypatch.undo()
        executor.interrupt_user_code()

    monkeypatch.setattr(local, "report_exception", report)
    hub.give(interrupted, after)
    executor.drive()
    assert interrupted.status.name == "CANCELLED"
    assert after.status.name == "SUCCESS"
