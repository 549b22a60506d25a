"""How fast a run goes: ends a second, spans and mean durations of sections, what is left.

Rule 1: figures are derived from the attempts as recorded, never from when the screen saw them,
        so that an attached run and one long ended show the same.
Rule 2: an attempt is looked at once, some 0.5 µs; what is kept does not grow with the run.
Rule 3: an estimate rests on measured durations alone; where some are missing it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from engine import RunState, TaskState
from engine.front import IS_TERMINAL, Series

if TYPE_CHECKING:
    from flowforge_tui.model import RunView

#: Seconds that the present rate is taken over, and the present use of workers.
_RECENT, _USE = 5, 30

#: Slots of a section's throughput, over all of its life: twice what a row has room for.
_SLOTS = 16

_OPEN = [state for state in TaskState if not IS_TERMINAL[state]]


class Estimate(NamedTuple):
    """How long what is left will take."""

    seconds: float
    whole: bool
    """False if nothing is known of a part of it: it will take longer than that."""


class Span:
    """One section's attempts so far. Times are seconds since the epoch; 0.0: none yet."""

    __slots__ = ("done", "first", "last", "series", "used")

    def __init__(self) -> None:
        self.first = 0.0
        self.last = 0.0
        self.done = 0
        """Attempts that ended, well or not."""
        self.used = 0.0
        """Seconds that they took, in all."""
        self.series = Series(most=_SLOTS)
        """Ends per slot of time."""


class Pace:
    """Reads a view's attempts as they come. Call `read` before anything else in a frame."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._seen = 0
        self.spans = [Span() for _ in view.shape.sections]
        self._seconds: dict[int, list[float]] = {}
        """Second → [attempts that ended in it, seconds that they took]; the last `_USE` ones."""
        self._first = 0.0

    def read(self) -> None:
        """Take in what was recorded since the last call."""
        log, at = self._view.attempts, self._seen
        self._seen = upto = len(log)
        if at == upto:
            return
        spans, section, seconds = self.spans, self._view.section, self._seconds
        for tid, start, end in zip(log.tid[at:upto], log.start[at:upto], log.end[at:upto],
                                   strict=True):
            if not (start and end):
                continue
            span = spans[section[tid]]
            took = end - start
            span.done += 1
            span.used += took
            if start < span.first or not span.first:
                span.first = start
            if end > span.last:
                span.last = end
            span.series.add(end, 1.0)
            slot = seconds.get(int(end))
            if slot is None:
                slot = seconds[int(end)] = [0.0, 0.0]
            slot[0] += 1.0
            slot[1] += took
            if start < self._first or not self._first:
                self._first = start
        self._forget()

    def _forget(self) -> None:
        seconds = self._seconds
        if len(seconds) > 2 * _USE:
            last = max(seconds)
            self._seconds = {s: slot for s, slot in seconds.items() if s > last - _USE}

    # -- sections ------------------------------------------------------------------------------

    def began(self, places: Sequence[int]) -> float:
        """When the first attempt of some sections began; 0.0 if none has."""
        view, starts = self._view, []
        for place in places:
            first = self.spans[place].first
            if first:
                starts.append(first)
                continue
            for state in (TaskState.RUNNING, TaskState.CANCELLING):
                starts += [view.start[tid] for tid in view.hot[state][place]]
        return min(starts, default=0.0)

    def elapsed(self, places: Sequence[int], now: float) -> float:
        """Seconds from their first start to `now` or, if all has ended, their last end."""
        began = self.began(places)
        if not began:
            return 0.0
        view = self._view
        if not view.ended and any(view.counts[p][s] for p in places for s in _OPEN):
            return max(0.0, now - began)
        return max(0.0, max(self.spans[p].last for p in places) - began)

    def throughput(self, places: Sequence[int]) -> list[float]:
        """Ends per slot of time over the life of some sections, oldest first."""
        if len(places) == 1:
            return self.spans[places[0]].series.values
        merged = Series(most=_SLOTS)
        for place in places:
            series = self.spans[place].series
            for i, value in enumerate(series.values):
                if value:
                    merged.add((series.start or 0.0) + i * series.width, value)
        return merged.values

    # -- the run -------------------------------------------------------------------------------

    def rate(self, now: float) -> float:
        """Attempts that end a second, over the last five."""
        ended, span = self._window(now, _RECENT)[0], min(_RECENT, max(1.0, now - self._first))
        return ended / span

    def _window(self, now: float, width: int) -> tuple[float, float]:
        """(attempts that ended in the last `width` seconds, seconds that they took)."""
        slots = [slot for second, slot in self._seconds.items() if now - width < second <= now]
        return sum(slot[0] for slot in slots), sum(slot[1] for slot in slots)

    def estimate(self, now: float) -> Estimate | None:
        """What is left at the present use of workers; None if there is no telling.

        What is left is each section's open task runs at that section's mean duration.
        """
        view = self._view
        if view.run_state is not RunState.RUNNING:
            return None
        work, whole = self._left()
        use = self._use(now)
        if work <= 0 or use <= 0:
            return None
        return Estimate(work / use, whole)

    def _left(self) -> tuple[float, bool]:
        """(seconds of workers that what is left takes, True if all of it was measured)."""
        view, work, whole = self._view, 0.0, True
        for section, counts, span in zip(view.shape.sections, view.counts, self.spans,
                                         strict=True):
            left = sum([counts[s] for s in _OPEN])
            if not left:
                continue
            if not span.done or (section.mapped and not view.is_spread(section)):
                whole = False
            if span.done:
                work += left * span.used / span.done
        return work, whole

    def _use(self, now: float) -> float:
        """How many workers are busy, by what ended lately, else by all that ended."""
        elapsed = now - self._first
        ended, used = self._window(now, _USE)
        if ended and elapsed > 0:
            return used / min(_USE, elapsed)
        used = sum(span.used for span in self.spans)
        return used / elapsed if elapsed > 0 else 0.0
