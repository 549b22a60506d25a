"""Workers that run a task's function themselves: threads, or the caller's own thread.

Rule 1: a worker takes from the left of its batch; the runner's ticker may take back from
        the right (`rebalance`). Both ends of a deque are safe without a lock.
Rule 2: outcomes lie in the worker's `done` until it hands them in, or the ticker fetches
        them because the worker is held up by a slow task.
Rule 3: a thread cannot be killed. One that outstays its stop is given up: a new worker
        takes its place, and what it returns later is never handed in.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from engine.core.events import Attempt
from engine.core.states import CANCELLED, QUEUED, SUCCESS
from engine.core.tasks import TaskSpec
from engine.errors import AttemptStopped
from engine.executors.base import Hub, Why
from engine.worker.call import call, check_outputs, report_exception, report_timeout, stored_result
from engine.worker.clock import OFFSET, now
from engine.worker.codec import SCALARS
from engine.worker.context import HERE
from engine.worker.forks import watch
from engine.worker.resources import WorkerResources

#: A task that runs longer than this no longer shares its batch: the rest is given back.
SLOW = 0.005


class LocalWorker:
    """One worker's working set. Touched by its own thread, and by the ticker where said."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.batch: deque[Attempt] = deque()
        self.done: deque[Attempt] = deque()
        self.current: Attempt | None = None
        self.given_up: Attempt | None = None
        """The attempt over which this worker was given up; its outcome counts no more."""
        self.leaving = False
        self.resources = WorkerResources()
        self.stop: tuple[Attempt, Why, float] | None = None
        """What was told to end, why, and when the patience with it ends."""

    def hand_in(self) -> list[Attempt]:
        """Take all outcomes out; safe against the ticker doing the same."""
        out: list[Attempt] = []
        done = self.done
        try:
            while done:
                out.append(done.popleft())
        except IndexError:
            pass  # the ticker had the last one
        return out

    def run_batch(self, hub: Hub) -> None:
        """Run what lies in the batch, one after the other.

        The ticker may give up on the worker at any moment, but means one attempt by it: an
        outcome of another, reached just then, counts.
        """
        batch, done, scope, arguments = self.batch, self.done.append, hub.run, hub.arguments
        index, set_here = self.index, HERE.set
        clock, offset = time.monotonic, OFFSET  # `now`, without the call
        task: TaskSpec | None = None
        while True:
            try:
                a = batch.popleft()
            except IndexError:
                break
            spec = a.node.spec
            if spec is not task:
                task, fn, options = spec, spec.fn, spec.options
                common = not spec.resources and options.outputs is None and options.persist
            a.run = scope
            a.worker = index
            set_here(a)
            a.start = clock() + offset
            self.current = a
            try:
                try:
                    args, kwargs = arguments(a)
                    if a.cancelled:  # looked at last: what it reads may be gone
                        raise AttemptStopped("cancelled before it started")
                    if common:
                        value = fn(*args, **kwargs)
                        payload = value if type(value) in SCALARS else stored_result(spec, value)
                    else:
                        value, payload = self._called(spec, args, kwargs)
                    a.end = clock() + offset
                    if self.given_up is a:
                        break
                    a.value, a.payload = value, payload  # `succeed`, spelled out
                    a.status = SUCCESS
                except BaseException as error:
                    a.end = clock() + offset
                    if self.given_up is a:
                        break
                    report_exception(a, error)
                self.current = None
            except AttemptStopped as stopped:  # a signal came while the outcome was being told
                self.current = None
                a.stop(CANCELLED, str(stopped))
            if self.stop is not None:
                self._stopped(a)
            done(a)
        set_here(None)

    def _called(
        self, spec: TaskSpec, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        """The result, live and as it is stored, of a task that asks for more than a call."""
        if spec.resources:
            value = call(spec, args, kwargs, self.resources)
        else:
            value = spec.fn(*args, **kwargs)
        if spec.options.outputs is not None:
            check_outputs(spec, value)
        if type(value) in SCALARS and spec.options.persist:
            return value, value
        return value, stored_result(spec, value)

    def _stopped(self, a: Attempt) -> None:
        """A stop was asked for while it ran: a late result is not taken for a success."""
        stop, self.stop = self.stop, None
        if stop is None or stop[0] is not a:
            return  # it was meant for the one before, which ended just then
        if stop[1] == "timeout":
            report_timeout(a)
        elif a.status is not None and a.status.name == "FAILED":
            a.stop(CANCELLED, "cancelled while running")


class ThreadExecutor:
    """A fixed number of worker threads."""

    lane = "thread"

    def __init__(self) -> None:
        self._workers: list[LocalWorker] = []
        self._hub: Hub
        self._grace = 5.0
        self._wanted = 0
        self._made = 0
        self._lock = threading.Lock()
        self._closed = False
        self._forked = False
        watch(self)

    def forked(self) -> None:
        """In a child that a task forked off: nothing more of the batch runs there."""
        self._forked = True
        for w in self._workers:
            w.batch.clear()

    @property
    def workers(self) -> int:
        return self._wanted

    def start(self, hub: Hub, workers: int, grace: float) -> None:
        self._hub, self._grace = hub, grace
        self.resize(workers)

    def resize(self, workers: int) -> None:
        with self._lock:
            self._wanted = workers
            alive = [w for w in self._workers if w.given_up is None and not w.leaving]
            for w in alive[workers:]:
                w.leaving = True
            for more in range(workers - len(alive)):
                try:
                    self._add()
                except RuntimeError as error:
                    self._do_with(len(alive) + more, error)
                    return

    def _do_with(self, workers: int, error: RuntimeError) -> None:
        """No more threads can be had; with one at least the run goes on."""
        self._wanted = workers
        if not workers:
            raise error
        self._hub.note(f"only {workers:,} threads could be started ({error}); the run goes on "
                       "with these")

    def renew(self) -> None:
        """Functions come with each attempt."""

    def _add(self) -> None:
        worker = LocalWorker(self._made)
        self._made += 1
        self._workers.append(worker)
        try:
            threading.Thread(
                target=self._loop, args=(worker,), name=f"flowforge-{self.lane}-{worker.index}",
                daemon=True,
            ).start()
        except RuntimeError:
            self._workers.remove(worker)
            raise

    def _loop(self, worker: LocalWorker) -> None:
        hub = self._hub
        while worker.given_up is None:
            batch = hub.exchange(self.lane, worker.hand_in())
            if batch is None:
                break
            if worker.leaving:
                for a in batch:
                    a.stop(QUEUED)
                hub.post(batch)
                break
            worker.batch.extend(batch)
            worker.run_batch(hub)
            if self._forked:
                os._exit(0)
        if worker.given_up is not None:
            left = worker.hand_in()
            for a in worker.batch:
                a.stop(QUEUED)
            hub.post([*left, *worker.batch])
        worker.resources.close()
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
                if worker.given_up is not None and not self._closed:
                    self._add()  # its attempt ended by itself at the last moment

    def in_hand(self) -> list[Attempt]:
        return [
            a for w in list(self._workers)
            if (a := w.current) is not None and a is not w.given_up
        ]

    def stop(self, attempt: Attempt, why: Why) -> None:
        """Ask by flag. A plain function that overstays its timeout is given up at once."""
        attempt.cancelled = True
        for w in list(self._workers):
            if w.current is attempt:
                if w.stop is None or w.stop[0] is not attempt:
                    patient = why == "cancel" or attempt.node.spec.kind == "shell"
                    w.stop = (attempt, why, now() + (self._grace if patient else 0.0))
                return
            if attempt in w.batch:
                with suppress(ValueError):
                    w.batch.remove(attempt)
                    attempt.stop(CANCELLED, "cancelled before it started")
                    self._hub.post([attempt])
                return

    def rebalance(self) -> None:
        """Fetch outcomes and unstarted attempts from behind slow tasks; give up on overdue ones."""
        at = now()
        for w in list(self._workers):
            a = w.current
            if a is None or a is w.given_up:
                continue
            if at - a.start > SLOW and (w.batch or w.done):
                fetched = w.hand_in()
                with suppress(IndexError):
                    while True:
                        waiting = w.batch.pop()
                        waiting.stop(QUEUED)
                        fetched.append(waiting)
                self._hub.post(fetched)
            stop = w.stop
            if stop is not None and stop[0] is a and at >= stop[2]:
                self._give_up(w, a, stop[1])

    def _give_up(self, w: LocalWorker, a: Attempt, why: Why) -> None:
        w.given_up = a
        if w.current is not a or a.status is not None:
            return  # it ended just then; its worker hands it in, and goes
        a.end = now()
        if why == "timeout":
            report_timeout(a)
        else:
            a.stop(CANCELLED, "did not stop when asked; its thread was given up")
            self._hub.note(f"{self._hub.run.name_of(a)} does not stop; its thread is left behind")
        with self._lock:
            if w in self._workers:
                self._workers.remove(w)
            if not self._closed:
                self._add()
        self._hub.post([*w.hand_in(), a])

    def pids(self) -> list[int]:
        return []

    def close(self) -> None:
        self._closed = True
        end = time.monotonic() + 1.0
        for w in list(self._workers):
            # Workers have been told to end by `exchange`; one busy in user code is left behind.
            while w in self._workers and w.current is None and time.monotonic() < end:
                time.sleep(0.0005)


class SequentialExecutor(ThreadExecutor):
    """One worker: the thread that called run(), so that debuggers and plots work in tasks."""

    lane = "sequential"

    def resize(self, workers: int) -> None:
        self._wanted = 1
        if not self._workers:
            self._workers.append(LocalWorker(0))

    def _add(self) -> None:
        """A caller's thread cannot be replaced."""

    def _give_up(self, w: LocalWorker, a: Attempt, why: Why) -> None:
        """Nor left behind: what overstays is refused when it returns."""

    def drive(self) -> None:
        """Work in the calling thread until the run is over."""
        for worker in list(self._workers):  # none, if it was over before anything started
            self._loop(worker)

    def interrupt_user_code(self) -> None:
        """From a signal handler on the driving thread: raise in the task that it interrupts."""
        if self._workers and self._workers[0].current is not None:
            self._workers[0].stop = (self._workers[0].current, "cancel", now())
            raise AttemptStopped("stopped by a signal")
