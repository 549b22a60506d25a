"""What a user's listener is told: `wf.on(TaskFailed, handler)`.

Rule 1: a notice holds plain values alone, so that a listener may keep it, send it or
        print it long after the run.
Rule 2: notices are made only while somebody listens for them.
Rule 3: a class that adds no field is not decorated once more; making a dataclass takes half
        a millisecond at import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.core.events import ErrorInfo
from engine.core.states import RunState, TaskState


@dataclass(frozen=True, slots=True)
class Notice:
    """Base of all notices; a listener for it hears everything. Times in seconds."""

    run_id: str
    at: float
    """When it happened, seconds since the Unix epoch."""


@dataclass(frozen=True, slots=True)
class TaskNotice(Notice):
    """Base of the notices about one task run."""

    task: str
    """The task run's name: `double`, `double[3]`."""
    state: TaskState
    """The state that it took."""
    attempt: int = 0
    """Which try it was, from 1; 0 where there was none."""
    generation: int = 1
    seconds: float = 0.0
    """How long the attempt took; 0.0 where there was none or it has just begun."""
    error: ErrorInfo | None = None
    """Why it failed, where it did."""
    why: str = ""
    """The reason in words, where there is one: of a skip, a cancellation, a blocked task."""


class TaskStarted(TaskNotice):
    """An attempt began. Short attempts are announced together with their end."""

    __slots__ = ()


class TaskSucceeded(TaskNotice):
    """A task run ended SUCCESS, and that is on disk; or CACHED."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TaskRetrying(TaskNotice):
    """An attempt failed and another one will follow."""

    wait: float = 0.0
    """Seconds until the next attempt."""


class TaskFailed(TaskNotice):
    """A task run ended FAILED, or UPSTREAM_FAILED because of another one."""

    __slots__ = ()


class TaskSkipped(TaskNotice):
    """A task run ended SKIPPED."""

    __slots__ = ()


class TaskCancelled(TaskNotice):
    """A task run ended CANCELLED."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RunNotice(Notice):
    """Base of the notices about the run as a whole."""

    workflow: str
    state: RunState


@dataclass(frozen=True, slots=True)
class RunStarted(RunNotice):
    """The run began, or carries on after a resume."""

    tasks: int = 0
    """How many nodes its graph has."""
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class RunEnded(RunNotice):
    """The run ended; `state` says how."""

    seconds: float = 0.0
    error: ErrorInfo | None = None
    """The first failure that was not handled."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """State → number of task runs that ended in it."""
