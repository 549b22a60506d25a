"""Trigger rules: whether a task may start, given how its upstream task runs ended.

Rule 1: a rule is a function of counts alone, so it can be tested exhaustively.
Rule 2: a rule answers as early as the answer is certain (`one_success` does not wait
        for the rest), and otherwise waits.
Rule 3: the words are Airflow's, and so are the meanings, with one addition: an item of
        a mapped task counts as one upstream task run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from engine.core.states import (
    CACHED,
    CANCELLED,
    FAILED,
    SKIPPED,
    SUCCESS,
    UPSTREAM_FAILED,
    TaskState,
)


class Tally(NamedTuple):
    """How many upstream task runs ended how. `open` counts those that have not ended."""

    success: int = 0
    failed: int = 0
    upstream_failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    open: int = 0

    @property
    def total(self) -> int:
        return sum(self)

    @classmethod
    def of(cls, counts: Sequence[int], waiting: int) -> Tally:
        """A tally of counts by `COLUMN`, and how many are still open."""
        success, failed, upstream_failed, skipped, cancelled = counts
        return cls(success, failed, upstream_failed, skipped, cancelled, waiting)


#: Position in a Tally of each terminal state.
COLUMN: dict[TaskState, int] = {
    SUCCESS: 0, CACHED: 0, FAILED: 1, UPSTREAM_FAILED: 2, SKIPPED: 3, CANCELLED: 4,
}

RUN = True
WAIT = None
Verdict = bool | TaskState | None
"""RUN, WAIT, or the state in which the task ends without running."""


def _blocked(t: Tally) -> Verdict:
    """The state that a strict rule hands on, worst first."""
    if t.failed or t.upstream_failed:
        return UPSTREAM_FAILED
    if t.cancelled:
        return CANCELLED
    return SKIPPED if t.skipped else None


def _all_success(t: Tally) -> Verdict:
    blocked = _blocked(t)
    if blocked is not None:
        return blocked
    return RUN if not t.open else WAIT


def _all_done(t: Tally) -> Verdict:
    return RUN if not t.open else WAIT


def _all_failed(t: Tally) -> Verdict:
    if t.success or t.skipped or t.cancelled:
        return SKIPPED
    return RUN if not t.open else WAIT


def _all_skipped(t: Tally) -> Verdict:
    if t.success or t.failed or t.upstream_failed or t.cancelled:
        return SKIPPED
    return RUN if not t.open else WAIT


def _one_success(t: Tally) -> Verdict:
    if t.success:
        return RUN
    if t.open:
        return WAIT
    return _blocked(t) or SKIPPED


def _one_failed(t: Tally) -> Verdict:
    if t.failed or t.upstream_failed:
        return RUN
    return WAIT if t.open else SKIPPED


def _one_done(t: Tally) -> Verdict:
    if t.success or t.failed:
        return RUN
    if t.open:
        return WAIT
    return _blocked(t) or SKIPPED


def _none_failed(t: Tally) -> Verdict:
    if t.failed or t.upstream_failed:
        return UPSTREAM_FAILED
    if t.cancelled:
        return CANCELLED
    return RUN if not t.open else WAIT


def _none_skipped(t: Tally) -> Verdict:
    if t.skipped:
        return SKIPPED
    return RUN if not t.open else WAIT


def _none_failed_min_one_success(t: Tally) -> Verdict:
    verdict = _none_failed(t)
    if verdict is RUN and t.total and not t.success:
        return SKIPPED
    return verdict


def _always(t: Tally) -> Verdict:
    return RUN


RULES: dict[str, Callable[[Tally], Verdict]] = {
    "all_success": _all_success,
    "all_done": _all_done,
    "all_failed": _all_failed,
    "all_skipped": _all_skipped,
    "one_success": _one_success,
    "one_failed": _one_failed,
    "one_done": _one_done,
    "none_failed": _none_failed,
    "none_skipped": _none_skipped,
    "none_failed_min_one_success": _none_failed_min_one_success,
    "always": _always,
}

#: Rules whose task, when it succeeds, has dealt with a failure right above it.
HANDLES_FAILURE = frozenset({"all_done", "one_failed", "all_failed", "one_done"})

#: Rules that may answer before everything upstream has ended.
EAGER = frozenset(RULES) - {"all_done"}
