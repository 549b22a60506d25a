"""What goes into the machine, and what comes out of it.

In:  `Attempt` (handed out by the machine, filled in by a worker, handed back), and the
     commands of people. Out: changes, which the runner writes to the journal and then
     fans out; everything that shows a run is a fold over them.

Rule 1: one object an attempt and one change a batch; at a hundred thousand tasks an
        object a transition would cost more than the tasks.
Rule 2: times are floats, seconds since the Unix epoch, taken from a clock that never
        goes backwards within a session (see `runtime.clock`).
Rule 3: an outcome counts only if it names the attempt and generation in hand; anything
        late is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.core.states import SUCCESS, FailureReason, RunState, TaskState

if TYPE_CHECKING:
    from engine.core.nodes import Node


class ErrorInfo(NamedTuple):
    """A failure as it is stored and shown; plain strings, whatever was raised."""

    type: str
    """Name of the exception's class."""
    message: str
    traceback: str = ""
    """The formatted traceback, without the engine's own frames."""
    file: str = ""
    """The user's own file in which it arose; empty if unknown."""
    line: int = 0
    """The line in `file`, from 1; 0 if unknown."""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class Attempt:
    """One try of one task run: an order for a worker, then its report.

    The machine fills in the first block. The worker fills in the second and hands it back.
    """

    __slots__ = (
        "cancelled", "delay", "end", "error", "exception", "generation", "index", "node",
        "number", "payload", "reason", "retryable", "run", "start", "status", "tid", "timeout",
        "value", "worker",
    )

    def __init__(
        self, tid: int, node: Node, index: int, number: int, generation: int, timeout: float | None
    ) -> None:
        self.tid = tid
        """The task run's id."""
        self.node = node
        self.index = index
        """Which item of a mapped node; -1 for a plain one."""
        self.number = number
        """From 1, within the generation."""
        self.generation = generation
        self.timeout = timeout
        """Seconds it may take; None: as long as it likes."""
        self.cancelled = False
        """Set by the engine while it runs: a person wants it to stop."""
        self.start = 0.0
        """When the function was called; 0.0 until then."""
        self.end = 0.0
        self.run: Any
        """The worker's `worker.context.RunScope`. Like all that follows but `status`, unset
        until a worker sets it: unset slots cost nothing."""
        self.worker: int
        """Which of its executor's workers ran it, from 0."""
        self.value: Any
        """The live result, or the stored form of it if it came from another process."""
        self.payload: Any
        """What is stored of the result."""
        self.error: ErrorInfo
        self.reason: FailureReason | str
        """A `FailureReason`; or in words why it was skipped or cancelled."""
        self.exception: BaseException | None
        self.retryable: bool
        self.delay: float | None
        self.status: TaskState | None = None
        """SUCCESS, FAILED, SKIPPED or CANCELLED; QUEUED: never started, put it back;
        None while in hand."""

    def succeed(self, value: Any, payload: Any) -> None:
        """Report a result: the live value, and what is stored of it."""
        self.value = value
        self.payload = payload
        self.status = SUCCESS  # last: another thread may look at an attempt that was given up

    def fail(
        self,
        error: ErrorInfo,
        reason: FailureReason = FailureReason.ERROR,
        *,
        exception: BaseException | None = None,
        retryable: bool = True,
        delay: float | None = None,
    ) -> None:
        """Report a failure. `retryable` and `delay` answer the policy's callables."""
        self.error = error
        self.reason = reason
        self.exception = exception
        self.retryable = retryable
        self.delay = delay
        self.status = TaskState.FAILED

    def stop(self, status: TaskState, why: str = "") -> None:
        """Report an end without result or failure: SKIPPED, CANCELLED, or QUEUED (not started)."""
        self.reason = why
        self.status = status

    def __repr__(self) -> str:
        status = self.status.name if self.status is not None else "in hand"
        return f"<Attempt {self.node.name}#{self.tid} try {self.number}: {status}>"


# -- changes ------------------------------------------------------------------------------


class Succeeded(NamedTuple):
    """A batch of attempts ended SUCCESS."""

    attempts: Sequence[Attempt]


class Failed(NamedTuple):
    """An attempt failed. `state` is FAILED, or UP_FOR_RETRY until `due`."""

    attempt: Attempt
    state: TaskState
    due: float


class Started(NamedTuple):
    """Attempts that are running. Short ones are never announced: their end says it all."""

    attempts: Sequence[Attempt]


class Ran(NamedTuple):
    """When an attempt ran that left neither a result nor a failure."""

    number: int
    generation: int
    start: float
    end: float


class Moved(NamedTuple):
    """Task runs took a state without an attempt's end deciding it (blocked, cancelled, queued)."""

    tids: Sequence[int]
    state: TaskState
    cause: int
    """The task run on whose account; -1 if none."""
    why: str
    ran: Ran | None = None
    """What the attempt of each was, where they were cancelled while they ran; else None."""


class Reset(NamedTuple):
    """Task runs start over: their result or failure no longer counts."""

    tids: Sequence[int]
    bump: Sequence[int]
    """Those of them whose success is discarded: their generation counts up."""
    why: str


class Restored(NamedTuple):
    """A reset was taken back before anything of it had started."""

    bump: Sequence[int]
    """Those whose generation counts down again."""
    changes: Sequence[Any]
    """Changes that lead from the reset back to how things stood; they happened earlier."""


class Expanded(NamedTuple):
    """A mapped node got its items, with ids from `base` on."""

    node: int
    base: int
    size: int
    """How many items."""
    keys: Sequence[str] | None
    """The items' names, where the map has a key."""
    marks: Sequence[Any] | None
    """What tells the items apart by value: scalars themselves, or digests of what they are."""
    carried: Sequence[tuple[int, int]]
    """(new id, old id) of items whose results are carried over from the expansion before."""


class RunMoved(NamedTuple):
    """The run as a whole took a state."""

    state: RunState
    why: str
    at: float


class OutlineChanged(NamedTuple):
    """What is said of the nodes changed: their code, an option. Ids, names and states stand."""

    outline: Any
    """A `runtime.outline.Outline`."""


Change = (Succeeded | Failed | Started | Moved | Reset | Restored | Expanded | RunMoved
          | OutlineChanged)


# -- what the machine asks of the runner -----------------------------------------------------


class Expand(NamedTuple):
    """Work out the items of a mapped node and answer with `Machine.expand`."""

    node: int
    number: int
    """Tells it from an earlier one for the same node."""


class Stop(NamedTuple):
    """Make a running attempt end."""

    attempt: Attempt
    why: str
