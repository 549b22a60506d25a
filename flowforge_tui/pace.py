"""When the sections of a run went on, and how fast: spans and throughput of each.

Rule 1: figures are derived from the attempts as recorded, never from when the screen saw them,
        so that an attached run and one long ended show the same.
Rule 2: an attempt is looked at once, in batches; what is kept does not grow with the run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine import TaskState
from engine.front import IS_TERMINAL, Series

if TYPE_CHECKING:
    from flowforge_tui.model import RunView

#: Slots of a section's throughput, over all of its life: twice what a row has room for.
_SLOTS = 16

_OPEN = [state for state in TaskState if not IS_TERMINAL[state]]


class Span:
    """One section's ended attempts. Times are seconds since the epoch; 0.0: none yet."""

    __slots__ = ("first", "last", "series")

    def __init__(self) -> None:
        self.first = 0.0
        self.last = 0.0
        self.series = Series(most=_SLOTS)
        """Ends per slot of time."""

    def copied(self) -> Span:
        """The same, to go on by itself."""
        copy = Span()
        copy.first, copy.last, copy.series = self.first, self.last, self.series.copied()
        return copy

    def add(self, starts: Sequence[float], ends: Sequence[float]) -> None:
        """Take in some attempts."""
        first, ordered = min(starts), sorted(ends)
        self.first = min(self.first, first) if self.first else first
        self.last = max(self.last, ordered[-1])
        if self.series.start is None:
            self.series.start = float(int(ordered[0]))
        count_in(self.series, ordered)


def count_in(series: Series, moments: Sequence[float]) -> None:
    """Count moments, sorted ones, by slot of time: a search a slot, and nothing a moment."""
    start, first = series.start or 0.0, 0
    while first < len(moments):
        slot = (moments[first] - start) // series.width
        last = bisect_left(moments, start + (slot + 1) * series.width, first + 1)
        series.add(moments[first], last - first)
        first = last


class Pace:
    """Reads a view's attempts as they come. Call `read` before anything else in a frame."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._seen = 0
        self.spans = [Span() for _ in view.shape.sections]

    def copied(self, view: RunView) -> Pace:
        """The same for a copy of the view."""
        copy = Pace(view)
        copy._seen = self._seen
        copy.spans = [span.copied() for span in self.spans]
        return copy

    def read(self) -> None:
        """Take in what was recorded since the last call."""
        log, at = self._view.attempts, self._seen
        self._seen = upto = len(log)
        if at == upto:
            return
        tids, starts, ends = log.tid[at:upto], log.start[at:upto], log.end[at:upto]
        section = self._view.section
        places = [section[tid] for tid in tids]
        if places.count(places[0]) == len(places) and all(starts) and all(ends):
            self.spans[places[0]].add(starts, ends)
        else:
            self._read_each(places, starts, ends)

    def _read_each(
        self, places: Sequence[int], starts: Sequence[float], ends: Sequence[float]
    ) -> None:
        batches: defaultdict[int, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
        for place, start, end in zip(places, starts, ends, strict=True):
            if start and end:
                batch = batches[place]
                batch[0].append(start)
                batch[1].append(end)
        for place, (some_starts, some_ends) in batches.items():
            self.spans[place].add(some_starts, some_ends)

    def began(self, places: Sequence[int]) -> float:
        """When the first attempt of some sections began; 0.0 if none has."""
        view, starts = self._view, []
        for place in places:
            if self.spans[place].first:
                starts.append(self.spans[place].first)
                continue
            for state in (TaskState.RUNNING, TaskState.CANCELLING):
                starts += [view.start[tid] for tid in view.hot[state][place] if view.start[tid]]
        return min(starts, default=0.0)

    def elapsed(self, places: Sequence[int], now: float) -> float:
        """Seconds from their first start to `now` or, if all has ended, their last end, in which
        the run ran."""
        began = self.began(places)
        if not began:
            return 0.0
        view = self._view
        if any(view.counts[p][s] for p in places for s in _OPEN):
            return view.ran(began, view.ended or now)
        return view.ran(began, max(self.spans[p].last for p in places))

    def throughput(self, places: Sequence[int]) -> list[float]:
        """Ends per slot of time over the life of some sections, oldest first."""
        if len(places) == 1:
            return self.spans[places[0]].series.values
        merged = Series(most=_SLOTS)
        starts = [s for p in places if (s := self.spans[p].series.start) is not None]
        merged.start = min(starts, default=None)
        for place in places:
            series = self.spans[place].series
            for i, value in enumerate(series.values):
                if value:
                    merged.add((series.start or 0.0) + i * series.width, value)
        return merged.values
