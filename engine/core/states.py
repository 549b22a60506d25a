"""The states of task runs and runs, and the moves between them.

Rule 1: `TRANSITIONS` and `RESETS` are the whole truth. The machine is too hot to look moves up;
        the tests check every move that it records against them, and the diagram in DESIGN.md
        is drawn from them.
Rule 2: a terminal state is left only by a person's command (retry, rerun) or because
        its record was lost; nothing automatic leaves it.
        An undo (`events.Restored`) puts back what a reset moved, before anything came of it.
Rule 3: states are small ints, so that a hundred thousand of them are a bytearray.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class TaskState(IntEnum):
    """The state of one task run."""

    PENDING = 0
    """Waits for upstream task runs."""
    QUEUED = 1
    """Ready; waits for a worker, a limit or a pause."""
    RUNNING = 2
    """An attempt is in a worker's hands."""
    UP_FOR_RETRY = 3
    """The last attempt failed; the next one is due at a known time."""
    SUCCESS = 4
    """Done and recorded."""
    CACHED = 5
    """A success whose result was reused from another run."""
    FAILED = 6
    """Out of retries. The reason is a `FailureReason`."""
    UPSTREAM_FAILED = 7
    """Not run: something it needs failed."""
    SKIPPED = 8
    """Not run, on purpose: `when=` was false, or `Skip` was raised, or upstream was skipped."""
    CANCELLING = 9
    """A running attempt was told to stop and has not ended yet."""
    CANCELLED = 10
    """Stopped, or never started, at a person's wish."""

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(self.name, spec)


class FailureReason(StrEnum):
    """Why a task run is FAILED."""

    ERROR = "error"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    UNSERIALISABLE = "unserialisable"
    INTERRUPTED = "interrupted"
    """The engine died while an `on_interrupt="fail"` attempt was running."""


class RunState(StrEnum):
    """The state of a run."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"
    """Its owner died or was stopped by a signal; it can be resumed."""


PENDING = TaskState.PENDING
QUEUED = TaskState.QUEUED
RUNNING = TaskState.RUNNING
UP_FOR_RETRY = TaskState.UP_FOR_RETRY
SUCCESS = TaskState.SUCCESS
CACHED = TaskState.CACHED
FAILED = TaskState.FAILED
UPSTREAM_FAILED = TaskState.UPSTREAM_FAILED
SKIPPED = TaskState.SKIPPED
CANCELLING = TaskState.CANCELLING
CANCELLED = TaskState.CANCELLED

#: Moves that the scheduler makes by itself.
TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    PENDING: frozenset({QUEUED, CACHED, UPSTREAM_FAILED, SKIPPED, CANCELLED, SUCCESS, FAILED}),
    QUEUED: frozenset({RUNNING, PENDING, CANCELLED, SKIPPED, FAILED, UPSTREAM_FAILED}),
    RUNNING: frozenset({SUCCESS, FAILED, UP_FOR_RETRY, SKIPPED, CANCELLING, CANCELLED, QUEUED,
                        UPSTREAM_FAILED}),
    UP_FOR_RETRY: frozenset({QUEUED, CANCELLED, FAILED}),
    CANCELLING: frozenset({CANCELLED, SUCCESS, FAILED, PENDING, QUEUED}),
    SUCCESS: frozenset(),
    CACHED: frozenset(),
    FAILED: frozenset(),
    UPSTREAM_FAILED: frozenset(),
    SKIPPED: frozenset(),
    CANCELLED: frozenset(),
}

#: Moves that only a person's command, a changed workflow or a lost record makes.
RESETS: dict[TaskState, frozenset[TaskState]] = {
    state: frozenset({PENDING})
    for state in (SUCCESS, CACHED, FAILED, UPSTREAM_FAILED, SKIPPED, CANCELLED)
}

TERMINAL = frozenset({SUCCESS, CACHED, FAILED, UPSTREAM_FAILED, SKIPPED, CANCELLED})
GOOD = frozenset({SUCCESS, CACHED})
LIVE_RUN = frozenset({RunState.PENDING, RunState.RUNNING, RunState.PAUSED, RunState.CANCELLING})

#: Index by state: 1 where the state is terminal. Faster than a set on the batch path.
IS_TERMINAL = bytes(1 if TaskState(i) in TERMINAL else 0 for i in range(len(TaskState)))
IS_GOOD = bytes(1 if TaskState(i) in GOOD else 0 for i in range(len(TaskState)))
