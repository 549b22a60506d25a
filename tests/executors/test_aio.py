"""The event loop's executor at its edges."""

from __future__ import annotations

import asyncio
import threading

from engine.executors.aio import AsyncExecutor
from tests.executors.fake_hub import FakeHub


def test_an_attempt_stopped_before_its_first_step_is_reported():
    hub, executor = FakeHub(), AsyncExecutor()
    executor.start(hub, 10, 5.0)
    blocked, release = threading.Event(), threading.Event()

    async def block():
        blocked.set()
        release.wait(20)  # as a task that forgot to await: nothing else can start
        return 1

    async def never():
        raise AssertionError("it was cancelled before it began")

    first, second = hub.attempt(block), hub.attempt(never)
    hub.give(first)
    assert blocked.wait(20)
    hub.give(second)
    hub.until(lambda: second in executor._flying)
    executor.stop(second, "cancel")
    release.set()
    hub.wait(first, second, patience=4.0)  # less than the grace: nobody has to give up on it
    assert second.status.name == "CANCELLED"
    hub.finish()
    executor.close()


def test_a_task_that_swallows_its_cancellation_is_given_up():
    hub, executor = FakeHub(), AsyncExecutor()
    executor.start(hub, 10, 0.0)
    started = threading.Event()

    async def stubborn():
        started.set()
        for _ in range(3):
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                continue

    a = hub.attempt(stubborn)
    hub.give(a)
    assert started.wait(20)
    executor.stop(a, "cancel")
    executor.rebalance()
    hub.wait(a)
    assert a.status.name == "CANCELLED"
    hub.finish()
    executor.close()


def test_closing_what_never_started():
    AsyncExecutor().close()
