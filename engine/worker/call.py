"""Running a task's function for an attempt, and turning what came of it into a report.

The one place that decides what an exception means, shared by every executor.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

from engine.core.events import Attempt, ErrorInfo
from engine.core.states import CANCELLED, SKIPPED, FailureReason
from engine.core.tasks import TaskSpec
from engine.errors import AttemptStopped, Skip, UnserialisableError
from engine.worker.codec import ABSENT, to_stored
from engine.worker.failures import describe
from engine.worker.resources import WorkerResources, opened
from engine.worker.secrets import hiding, mask, refuse


def call(
    spec: TaskSpec, args: tuple[Any, ...], kwargs: dict[str, Any], cache: WorkerResources
) -> Any:
    """Call the function with its resources open; they are closed whatever happens."""
    if not spec.resources:
        return spec.fn(*args, **kwargs)
    wanted = {n: r for n, r in spec.resources.items() if n not in kwargs}
    with opened(wanted, cache) as resources:
        return spec.fn(*args, **{**resources, **kwargs})


def check_outputs(spec: TaskSpec, value: Any) -> None:
    """Raise ValueError unless a task with `outputs=N` returned N values."""
    wanted = spec.options.outputs
    if not isinstance(value, (tuple, list)):
        raise ValueError(
            f"{spec.name} was declared with outputs={wanted} and returned "
            f"{type(value).__name__}; return a tuple of {wanted}"
        )
    if len(value) != wanted:
        raise ValueError(
            f"{spec.name} was declared with outputs={wanted} and returned {len(value)} values"
        )


def stored_result(spec: TaskSpec, value: Any) -> Any:
    """What is kept of a result. Raises UnserialisableError."""
    if not spec.options.persist:
        return ABSENT
    stored = to_stored(value)
    if hiding():
        refuse(stored)
    return stored


def report_exception(a: Attempt, error: BaseException) -> None:
    """Fill an attempt in with what its exception means.

    `Skip` skips; `AttemptStopped` is a stop that was asked for; everything else, SystemExit
    and KeyboardInterrupt raised by the task included, is the task's failure.
    """
    if isinstance(error, Skip):
        a.stop(SKIPPED, mask(str(error.why)))
    elif isinstance(error, AttemptStopped):
        a.stop(CANCELLED, str(error))
    elif isinstance(error, UnserialisableError):
        a.fail(describe(error), FailureReason.UNSERIALISABLE, exception=error, retryable=False)
    else:
        retryable, delay = ask_policy(a, error)
        a.fail(describe(error), exception=error, retryable=retryable, delay=delay)


def ask_policy(a: Attempt, error: BaseException) -> tuple[bool, float | None]:
    """Whether this failure may be retried, and a callable delay's answer in seconds.

    A predicate or delay that raises ends the retries: better a visible failure than an
    endless loop.
    """
    policy = a.node.spec.options.retry
    if not policy.retries:
        return False, None
    try:
        if policy.on is None:
            retryable = True
        elif isinstance(policy.on, tuple):
            retryable = isinstance(error, policy.on)
        else:
            retryable = bool(policy.on(error))
        delay = float(policy.delay(a.number)) if callable(policy.delay) else None
        if delay is not None and not isfinite(delay):
            return False, None
    except AttemptStopped:
        raise
    except BaseException:  # SystemExit here would end the worker, and its task would never end
        return False, None
    return retryable, delay


def report_timeout(a: Attempt) -> None:
    """Fill an attempt in as one that took longer than it may."""
    limit = a.timeout or 0.0
    a.fail(
        ErrorInfo("TimeoutError", f"took longer than its timeout of {limit:g} s"),
        FailureReason.TIMEOUT,
    )
