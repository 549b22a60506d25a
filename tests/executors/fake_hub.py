"""An in-memory hub: hands out attempts made by hand, and keeps whatever is reported."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from engine.core.dag import Dag
from engine.core.events import Attempt
from engine.core.retry import RetryPolicy
from engine.core.states import QUEUED
from engine.core.tasks import TaskOptions, TaskSpec
from engine.worker.codec import Stored, from_stored
from engine.worker.context import RunScope

PATIENCE = 20.0


class Recorder(RunScope):
    """Keeps what attempts write."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.lines: list[tuple[Attempt, str, str]] = []
        self.news: list[tuple[Attempt, float, float | None]] = []
        self.changed = threading.Condition()

    def write(self, attempt: Attempt, stream: str, level: int, text: str) -> None:
        with self.changed:
            self.lines.append((attempt, stream, text))
            self.changed.notify_all()

    def progress(self, attempt: Attempt, done: float, total: float | None) -> None:
        with self.changed:
            self.news.append((attempt, done, total))
            self.changed.notify_all()

    def text_of(self, attempt: Attempt, stream: str | None = None) -> str:
        return "".join(t for a, s, t in list(self.lines) if a is attempt and stream in (None, s))


class FakeHub:
    """A queue of attempts, all of one lane. After `finish`, `exchange` ends the executor."""

    def __init__(self, run_id: str = "test-run", batch: int = 64) -> None:
        self.run = Recorder(run_id)
        self.batch = batch
        self.queue: deque[Attempt] = deque()
        self.ended: list[Attempt] = []
        self.put_back: list[Attempt] = []
        self.notes: list[str] = []
        self.changed = threading.Condition()
        self.over = False
        self._dag = Dag("fake")

    # -- for tests ------------------------------------------------------------------------

    def attempt(
        self, fn: Callable[..., Any], *args: Any, timeout: float | None = None,
        retry: RetryPolicy | None = None, resources: dict[str, Any] | None = None,
        persist: bool = True, spec: TaskSpec | None = None, **kwargs: Any,
    ) -> Attempt:
        if spec is None:
            options = TaskOptions(retry=retry or RetryPolicy(), timeout=timeout, persist=persist)
            name = getattr(fn, "__name__", "task")
            spec = TaskSpec(name, fn, options, resources=resources or {})
        node = self._dag.add(spec, args, kwargs, [])
        return Attempt(node.index, node, -1, 1, 1, timeout)

    def give(self, *attempts: Attempt) -> None:
        with self.changed:
            self.queue.extend(attempts)
            self.changed.notify_all()

    def wait(self, *attempts: Attempt, patience: float = PATIENCE) -> None:
        """Until these were handed in."""
        self.until(lambda: all(a in self.ended for a in attempts), patience)

    def until(self, true: Callable[[], object], patience: float = PATIENCE) -> None:
        with self.changed:
            assert self.changed.wait_for(true, patience), (
                f"nothing happened in {patience} s; ended: {self.ended}, notes: {self.notes}"
            )

    def finish(self) -> None:
        with self.changed:
            self.over = True
            self.changed.notify_all()

    @staticmethod
    def value(attempt: Attempt) -> Any:
        assert attempt.status is not None
        assert attempt.status.name == "SUCCESS", (attempt, getattr(attempt, "error", None))
        stored: Stored = attempt.value
        return from_stored(stored)

    # -- for the executor --------------------------------------------------------------------

    def exchange(self, lane: str, finished: list[Attempt]) -> list[Attempt] | None:
        self.post(finished)
        with self.changed:
            self.changed.wait_for(lambda: self.queue or self.over)
            if self.over:
                return None
            return [self.queue.popleft() for _ in range(min(self.batch, len(self.queue)))]

    def post(self, finished: list[Attempt]) -> None:
        with self.changed:
            for a in finished:
                assert a.status is not None
                if a.status is QUEUED:
                    a.status = None
                    self.put_back.append(a)
                    self.queue.append(a)
                else:
                    assert a not in self.ended[-200:], f"{a} was handed in twice"
                    self.ended.append(a)
            self.changed.notify_all()

    def arguments(self, attempt: Attempt) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return attempt.node.args, attempt.node.kwargs

    stored_arguments = arguments

    def note(self, text: str) -> None:
        with self.changed:
            self.notes.append(text)
            self.changed.notify_all()
