"""A run's past: what its changes were, and the run's view at any moment of it.

Rule 1: a live run, an attached one and one long ended are kept the same way: what the feed
        folds into the view is noted here. What came before (the earlier sessions of a resumed
        live run) is where the past begins.
Rule 2: successes, the bulk, are kept nowhere twice: the view's own attempts are in the order in
        which they were recorded, so a step needs only how many there were after it.
Rule 3: who looks at the past costs the live run nothing: copies of the view on the way are made
        when somebody travels, and go when he is back.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from engine import TaskState
from engine.front import (
    Expanded,
    Failed,
    Moved,
    Reset,
    Restored,
    RunMoved,
    Started,
    Succeeded,
)
from flowforge_tui.attempts import NO_WORKER, Ended, worker_of
from flowforge_tui.model import Reshaped, RunView

if TYPE_CHECKING:
    from engine.front import Change, ErrorInfo

    Told = Change | Ended | Reshaped

#: Task runs that changes may be about until a copy of the view is kept: 10 ms to fold.
_NEAR = 10_000
#: Copies of the view kept at most, and their bytes in all; one takes 24 bytes a task run.
_COPIES, _ROOM, _EACH = 12, 64 << 20, 24
#: What `<` and `>` leap over, of the whole.
LEAP = 0.05


class _Start(NamedTuple):
    """An attempt that began."""

    tid: int
    number: int
    start: float
    worker: int


class _Failure(NamedTuple):
    """An attempt that failed (restored: or did not), without what the engine keeps beside it."""

    tid: int
    number: int
    start: float
    end: float
    reason: str
    error: ErrorInfo | None
    worker: int


class _Starts(NamedTuple):
    """Attempts that began, in columns."""

    tids: array[int]
    numbers: array[int]
    starts: array[float]
    workers: array[int]

    def change(self) -> Started:
        """As the engine told it."""
        rows: Any = [_Start(*row) for row in zip(*self, strict=True)]
        return Started(rows)


class Past:
    """The steps of one view's run so far. A step is what the feed brought in one piece."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        view.past = self
        self.base = view.copied(len(view.attempts))
        """The view before the first step."""
        self.moments = array("d")
        """Step → the latest moment that is known after it, in seconds since the epoch."""
        self.attempts = array("I")
        """Step → number of attempts after it."""
        self.weights = array("Q")
        """Step → how many task runs all changes up to it were about."""
        self.failed = array("d")
        """When task runs FAILED, in the order of their recording."""
        self._known = len(view.attempts)
        self._others: list[tuple[int, Any]] = []
        """(attempts before it, change), of all that are not successes."""
        self._others_after = array("I")
        """Step → number of those after it."""

    def __len__(self) -> int:
        return len(self.moments)

    @property
    def first(self) -> float:
        """Where the past begins: with the run, or with this session of it."""
        if self.view.began and not self.base.began:
            return self.view.began
        return self.moments[0] if self.moments else self.base.latest

    @property
    def last(self) -> float:
        """The latest moment."""
        return self.moments[-1] if self.moments else self.first

    def note(self, changes: Sequence[Told]) -> None:
        """Keep what was just folded into the view."""
        if not changes:
            return
        at, weight = self._known, self.weights[-1] if self.weights else 0
        for change in changes:
            if isinstance(change, Succeeded):
                at += len(change.attempts)
                weight += len(change.attempts)
            elif isinstance(change, Ended):
                at += len(change.tids)
                weight += len(change.tids)
            else:
                self._others.append((at, _light(change)))
                at += _logged(change)
                weight += _weight(change)
                if isinstance(change, Failed) and change.state is TaskState.FAILED:
                    self.failed.append(self.view.attempts.end[at - 1])
        self._known = at
        self.moments.append(self.view.latest)
        self.attempts.append(at)
        self.weights.append(weight)
        self._others_after.append(len(self._others))

    def between(self, before: int, after: int) -> list[Any]:
        """The changes that lead from the view after step `before` to that after step `after`.

        Step -1 is the base.
        """
        log, told = self.view.attempts, list[Any]()
        at = self.attempts[before] if before >= 0 else len(self.base.attempts)
        first = self._others_after[before] if before >= 0 else 0
        last = self._others_after[after] if after >= 0 else 0
        for place, change in self._others[first:last]:
            if place > at:
                told.append(log.part(at, place))
            told.append(change.change() if isinstance(change, _Starts) else change)
            at = place + _logged(change)
        end = self.attempts[after] if after >= 0 else at
        if end > at:
            told.append(log.part(at, end))
        return told

    def step_at(self, moment: float) -> int:
        """The last step of which all was known by a moment; -1: none."""
        return bisect_right(self.moments, moment) - 1

    def failures(self, first: float, last: float) -> int:
        """How many task runs failed between two moments."""
        return bisect_left(self.failed, last) - bisect_left(self.failed, first)


def _logged(change: Any) -> int:
    """How many attempts a view logs for a change that is not of successes."""
    if isinstance(change, Moved):
        return len(change.tids) if change.ran is not None else 0
    return int(isinstance(change, Failed))


def _light(change: Any) -> Any:
    """A change without the engine's objects, which hold values and exceptions."""
    if isinstance(change, Failed):
        a: Any = change.attempt
        return Failed(_Failure(a.tid, a.number, a.start, a.end, a.reason, a.error,  # type: ignore[arg-type]
                               worker_of(a)), change.state, change.due)
    if isinstance(change, Restored):
        return change._replace(changes=[_standing(inner) for inner in change.changes])
    if isinstance(change, Started):
        some = change.attempts
        return _Starts(
            array("i", [a.tid for a in some]), array("I", [a.number for a in some]),
            array("d", [a.start for a in some]),
            array("i", [getattr(a, "worker", NO_WORKER) for a in some]))
    if isinstance(change, Moved):
        return change._replace(tids=_ids(change.tids))
    if isinstance(change, Reset):
        return change._replace(tids=_ids(change.tids), bump=_ids(change.bump))
    if isinstance(change, Expanded):
        return change._replace(marks=None)
    return change


def _standing(change: Any) -> Any:
    if not isinstance(change, Succeeded):
        return _light(change)
    some: Any = [_Failure(a.tid, a.number, a.start, a.end, "", None, NO_WORKER)
                 for a in change.attempts]
    return Succeeded(some)


def _ids(tids: Sequence[int]) -> Sequence[int]:
    """Ids in four bytes each, or fewer."""
    if isinstance(tids, range) or len(tids) < 2:
        return tids
    if tids[-1] - tids[0] == len(tids) - 1 and all(b - a == 1 for a, b in pairwise(tids)):
        return range(tids[0], tids[-1] + 1)
    return array("i", tids)


def _weight(change: Any) -> int:
    if isinstance(change, Moved | Reset):
        return len(change.tids)
    if isinstance(change, Started):
        return len(change.attempts)
    if isinstance(change, Expanded):
        return len(change.carried)
    return 1 if isinstance(change, RunMoved | Failed) else _NEAR


class Travel:
    """Somebody who looks at a run's past. The run may go on meanwhile."""

    def __init__(self, past: Past) -> None:
        self.past = past
        self.step = len(past) - 1
        """The step after which the view is; -1: before the first."""
        self.moment = past.last
        """What is now, there: seconds since the epoch."""
        self._copies: list[tuple[int, RunView]] = [(-1, past.base)]
        self._at = -1
        self._view = past.base.copied(len(past.base.attempts))

    @property
    def fraction(self) -> float:
        """How far along the run's time so far."""
        first, last = self.past.first, self.past.last
        return (self.moment - first) / (last - first) if last > first else 1.0

    def view(self) -> RunView:
        """The view as it was; the same object as before where time went on from there."""
        near = max((i for i, (step, _) in enumerate(self._copies) if step <= self.step), default=0)
        if self._at > self.step or self._at < self._copies[near][0]:
            self._at, kept = self._copies[near]
            self._view = self._copy(self._at, kept)
        while self._at < self.step:
            self._go_on(self._reach(self._at))
        return self._view

    def _copy(self, step: int, kept: RunView) -> RunView:
        view = kept.copied(0)
        upto = self.past.attempts[step] if step >= 0 else len(self.past.base.attempts)
        log = self.past.view.attempts if step >= 0 else self.past.base.attempts
        view.attempts = log.copied(upto)
        return view

    @property
    def _near(self) -> int:
        """Task runs that changes may be about between two copies."""
        copies = min(_COPIES, _ROOM // (_EACH * max(1, len(self.past.view.state))))
        return max(_NEAR, self.past.weights[-1] // max(2, copies))

    def _reach(self, step: int) -> int:
        """The step up to which to fold in one go: the one asked for, or the next to keep."""
        weights = self.past.weights
        before = weights[step] if step >= 0 else 0
        return max(step + 1, min(self.step, bisect_right(weights, before + self._near) - 1))

    def _go_on(self, upto: int) -> None:
        self._view.apply(self.past.between(self._at, upto))
        self._at = upto
        last, _ = self._copies[-1]
        since = self.past.weights[upto] - (self.past.weights[last] if last >= 0 else 0)
        if upto > last and since >= self._near // 2:
            self._view.pace.read()
            self._copies.append((upto, self._view.copied(0)))

    # -- moving ---------------------------------------------------------------------------------

    def by_steps(self, number: int) -> None:
        """Some changes on, or back."""
        self.step = max(-1, min(len(self.past) - 1, self.step + number))
        self.moment = self.past.moments[self.step] if self.step >= 0 else self.past.first

    def to(self, moment: float) -> None:
        """To a moment, seconds since the epoch."""
        self.moment = max(self.past.first, min(moment, self.past.last))
        self.step = self.past.step_at(self.moment)

    def to_fraction(self, fraction: float) -> None:
        """To a part of the run's time so far, from 0 to 1."""
        first, last = self.past.first, self.past.last
        self.to(first + max(0.0, min(1.0, fraction)) * (last - first))

    def leap(self, number: int) -> None:
        """Some twentieths of the run's time on, or back."""
        self.to_fraction(self.fraction + number * LEAP)
