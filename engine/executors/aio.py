"""Async tasks, all on one event loop in one thread.

Rule 1: a puller thread waits for work and hands each batch to the loop; the loop never
        waits for the disk.
Rule 2: outcomes are collected for a loop turn and posted together: ten thousand sleeps
        that end at once are a handful of commits.
Rule 3: the limit on attempts in flight is this executor's `workers`.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading

from engine.core.events import Attempt
from engine.core.states import CANCELLED
from engine.errors import AttemptStopped
from engine.executors.base import Hub, Why
from engine.worker.call import check_outputs, report_exception, report_timeout, stored_result
from engine.worker.clock import now
from engine.worker.context import HERE
from engine.worker.forks import watch
from engine.worker.resources import WorkerResources, opened

#: Async attempts in flight unless told otherwise (CONTRACT.md §2).
LIMIT = 10_000


class AsyncExecutor:
    """Runs `async def` tasks."""

    lane = "async"

    def __init__(self) -> None:
        self._hub: Hub
        self._grace = 5.0
        self._limit = LIMIT
        self._room = threading.Semaphore(0)
        self._flying: dict[Attempt, asyncio.Task[None]] = {}
        self._why: dict[Attempt, tuple[Why, float]] = {}
        self._done: list[Attempt] = []
        self._posting = False
        self._resources = WorkerResources()
        self._loop = asyncio.new_event_loop()
        self._threads: list[threading.Thread] = []
        self._forked = False
        watch(self)

    @property
    def workers(self) -> int:
        return self._limit

    def start(self, hub: Hub, workers: int, grace: float) -> None:
        self._hub, self._grace, self._limit = hub, grace, workers
        for target, name in ((self._run_loop, "loop"), (self._pull, "pull")):
            thread = threading.Thread(target=target, name=f"flowforge-async-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def resize(self, workers: int) -> None:
        self._limit = workers

    def renew(self) -> None:
        """Functions come with each attempt."""

    # -- pulling -------------------------------------------------------------------------------

    def _pull(self) -> None:
        while True:
            while len(self._flying) >= self._limit:
                self._room.acquire()
            batch = self._hub.exchange(self.lane, [])
            if batch is None:
                return
            for a in batch:
                # In the books before the loop knows of it: the limit counts it at once.
                self._flying[a] = None  # type: ignore[assignment]
            self._loop.call_soon_threadsafe(self._launch, batch)

    def _launch(self, batch: list[Attempt]) -> None:
        scope = self._hub.run
        for a in batch:
            a.run = scope
            a.worker = 0
            if a in self._why:  # a task cancelled before its first step would never report
                a.stop(CANCELLED, "cancelled before it started")
                self._finished(a)
                continue
            context = contextvars.copy_context()
            context.run(HERE.set, a)
            task = self._loop.create_task(self._attempt(a), context=context)
            self._flying[a] = task
            if a in self._why:  # told to stop meanwhile, when there was no task to cancel yet
                self._loop.call_soon(task.cancel)

    async def _attempt(self, a: Attempt) -> None:
        spec = a.node.spec
        a.start = now()
        try:
            args, kwargs = self._hub.arguments(a)
            if a.cancelled:  # looked at last: what it reads may be gone
                raise AttemptStopped("cancelled before it started")
            async with asyncio.timeout(a.timeout):
                value = await self._call(a, args, kwargs)
            if spec.options.outputs is not None:
                check_outputs(spec, value)
            payload = stored_result(spec, value)
            a.end = now()
            a.succeed(value, payload)
        except asyncio.CancelledError:
            a.end = now()
            a.stop(CANCELLED, "cancelled while running")
        except TimeoutError as error:
            a.end = now()
            if a.timeout is not None and a.end - a.start >= a.timeout:
                report_timeout(a)
            else:
                report_exception(a, error)
        except BaseException as error:
            a.end = now()
            report_exception(a, error)
        self._finished(a)

    async def _call(
        self, a: Attempt, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        spec = a.node.spec
        wanted = {n: r for n, r in spec.resources.items() if n not in kwargs}
        if not wanted:
            return await spec.fn(*args, **kwargs)
        with opened(wanted, self._resources) as resources:
            return await spec.fn(*args, **{**resources, **kwargs})

    def forked(self) -> None:
        """In a child that a task forked off."""
        self._forked = True

    def _finished(self, a: Attempt) -> None:
        if self._forked:
            os._exit(0)
        if self._flying.pop(a, a) is a:
            return  # given up on earlier
        why = self._why.pop(a, None)
        if why is not None and why[0] == "timeout":
            report_timeout(a)
        self._done.append(a)
        if not self._posting:
            self._posting = True
            self._loop.call_soon(self._post)

    def _post(self) -> None:
        done, self._done, self._posting = self._done, [], False
        self._hub.post(done)
        self._room.release()

    # -- steering ----------------------------------------------------------------------------------

    def in_hand(self) -> list[Attempt]:
        # Timeouts are the loop's own business; what is shown is what has begun.
        return [a for a in list(self._flying) if a.start]

    def stop(self, attempt: Attempt, why: Why) -> None:
        attempt.cancelled = True
        if attempt not in self._flying or attempt in self._why:
            return
        self._why[attempt] = (why, now() + self._grace)
        task = self._flying[attempt]
        if task is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def rebalance(self) -> None:
        """Give up on attempts that swallow their cancellation. Nothing waits behind another."""
        if not self._why:
            return
        at = now()
        for a, (why, deadline) in list(self._why.items()):
            if at < deadline or self._flying.get(a) is None:
                continue
            self._flying.pop(a, None)
            self._why.pop(a, None)
            a.end = at
            if why == "timeout":
                report_timeout(a)
            else:
                a.stop(CANCELLED, "did not stop when asked; it was given up")
            self._hub.post([a])
            self._room.release()

    def pids(self) -> list[int]:
        return []

    def close(self) -> None:
        def finish() -> None:
            self._resources.close()
            self._loop.stop()

        if not self._threads:  # the run was over before anything started
            self._loop.close()
            return
        self._loop.call_soon_threadsafe(finish)
        self._threads[0].join(timeout=2.0)
