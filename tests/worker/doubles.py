"""What the tests of the worker put in the place of a run: attempts, and a scope that remembers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.core.dag import Dag
from engine.core.events import Attempt
from engine.core.tasks import TaskSpec
from engine.worker.context import HERE, RunScope


class Recorder(RunScope):
    """A run that keeps in memory what its attempts wrote."""

    def __init__(self, run_id: str = "20261122-120000-abcd") -> None:
        super().__init__(run_id)
        self.written: list[tuple[int, str, int, str]] = []
        self.steps: list[tuple[int, float, float | None]] = []

    def write(self, attempt: Attempt, stream: str, level: int, text: str) -> None:
        self.written.append((attempt.tid, stream, level, text))

    def progress(self, attempt: Attempt, done: float, total: float | None) -> None:
        self.steps.append((attempt.tid, done, total))

    def text(self, tid: int, stream: str | None = None) -> str:
        return "".join(t for i, s, _, t in self.written if i == tid and stream in (None, s))


def make_attempt(
    scope: RunScope | None = None,
    tid: int = 0,
    *,
    name: str = "double",
    index: int = -1,
    number: int = 1,
    generation: int = 0,
) -> Attempt:
    node = Dag("test").add(TaskSpec(name, print))
    attempt = Attempt(tid, node, index, number, generation, None)
    attempt.run = scope if scope is not None else Recorder()
    return attempt


@contextmanager
def inside(attempt: Attempt) -> Iterator[Attempt]:
    """As a worker does it around a user's function."""
    token = HERE.set(attempt)
    try:
        yield attempt
    finally:
        HERE.reset(token)
