"""The pull loop's two sides: what a runner offers (`Hub`), what an executor does (`Executor`).

Rule 1: a worker with news hands in its batch and walks off with its next one, in one call.
Rule 2: an attempt handed out is handed back exactly once, whatever happened to it.
Rule 3: executors know nothing of storage; an outcome handed in counts only once `exchange`
        or the runner's own step has recorded it.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from engine.core.events import Attempt
from engine.worker.context import RunScope

Why = Literal["timeout", "cancel"]


class Hub(Protocol):
    """What the runner offers an executor. All methods are thread-safe."""

    run: RunScope

    def exchange(self, lane: str, finished: list[Attempt]) -> list[Attempt] | None:
        """Hand in outcomes and wait for work: a non-empty batch, or None when it is time to end."""

    def post(self, finished: list[Attempt]) -> None:
        """Hand in outcomes without asking for work. Does not wait for the disk."""

    def arguments(self, attempt: Attempt) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The attempt's arguments as live values. Raises what decoding them raises."""

    def stored_arguments(self, attempt: Attempt) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same for another process: results that are kept encoded stay `codec.Encoded`."""

    def note(self, text: str) -> None:
        """A line for the workflow log and the console."""


class Executor(Protocol):
    """Runs attempts on workers of one kind."""

    lane: str
    """Names the queue that it pulls from: sequential, thread, process, async."""

    @property
    def workers(self) -> int:
        """How many workers it has, or is about to have."""

    def start(self, hub: Hub, workers: int, grace: float) -> None:
        """Begin to pull. `grace`: seconds between asking an attempt to end and making it."""

    def resize(self, workers: int) -> None:
        """Have more or fewer workers; those that go end what they have in hand first."""

    def renew(self) -> None:
        """Have workers that know nothing of earlier code; those there end what they have first."""

    def in_hand(self) -> list[Attempt]:
        """The attempts whose function runs now, `start` set."""

    def stop(self, attempt: Attempt, why: Why) -> None:
        """Make an attempt end. It is reported once it has ended or was given up on."""

    def rebalance(self) -> None:
        """Give back, as QUEUED, what lies in a worker's batch behind a slow attempt."""

    def pids(self) -> list[int]:
        """The process ids of its workers, where they are processes."""

    def close(self) -> None:
        """End all workers. Nothing is reported after it returns."""
