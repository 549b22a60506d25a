"""A run in figures: how fast it goes, how long things take, what fails, and when it will end.

Rule 1: made of a run's view alone, so that a live run, a stored one and a moment of the past
        have the same figures. A look takes in only the attempts that came since the last one.
Rule 2: a look takes a bounded time: of a long history it takes in a part, and the next the rest.
Rule 3: what is not known is None, and so is what could only be guessed.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from heapq import nsmallest
from itertools import accumulate, chain, compress, islice
from math import ceil, log2
from operator import sub
from typing import TYPE_CHECKING, NamedTuple

from engine import RunState, TaskState
from engine.front import Durations, Series
from flowforge_tui.charts import fitted
from flowforge_tui.pace import count_in

if TYPE_CHECKING:
    from flowforge_tui.model import RunView

#: Attempts that a look takes in at most: 15 ms of work.
MOST = 30_000
_CHUNK = 2_000
#: Seconds that the throughput of now is measured over.
RECENT = 5.0
#: Seconds a slot of the throughput over time, before it doubles for want of room.
SLOT = 0.125
_SLOTS = 960
#: The part of what is left to do that may be of tasks never timed, for an ETA all the same.
_UNTIMED = 0.1
#: Attempts that are looked at one by one for the pace and the ETA; more count like these.
_LOOKED_AT = 500

_SUCCESS, _FAILED, _RETRY = TaskState.SUCCESS, TaskState.FAILED, TaskState.UP_FOR_RETRY
_ACTIVE = (TaskState.RUNNING, TaskState.CANCELLING)
_OPEN = (TaskState.PENDING, TaskState.QUEUED, TaskState.UP_FOR_RETRY, *_ACTIVE)


class Rates(NamedTuple):
    """Throughput over time."""

    values: list[float]
    """Attempts that ended for good, a second; one value a slot, the oldest first."""
    slot: float
    """Seconds a value stands for."""
    peak: float


class SectionFigures:
    """What the attempts of one section amount to."""

    __slots__ = ("durations", "failures", "used")

    def __init__(self) -> None:
        self.durations = Durations()
        """Of the attempts that succeeded, in seconds."""
        self.failures = 0
        """Attempts that failed, those that are tried again included."""
        self.used = 0.0
        """Seconds of a worker, failed attempts included."""


class Figures:
    """The figures of one run's view; `show` another when the view is replaced."""

    def __init__(self, view: RunView) -> None:
        self.show(view)

    def show(self, view: RunView) -> None:
        """Begin anew with another view."""
        self.view = view
        self.durations = Durations()
        """Of all attempts that succeeded, in seconds."""
        self.sections: dict[int, SectionFigures] = {}
        """Section's place → its figures, where it has any."""
        self.failures = 0
        """Attempts that failed, those that are tried again included."""
        self.retries = 0
        """Attempts beyond the first of their task run."""
        self._read = 0
        self._numbers: dict[int, int] = {}
        """Task run → number of its last attempt seen, where it was not the first, or failed."""
        self._work = array("d", [0.0])
        """Seconds of work of the first n attempts, for any n that was read."""
        self._finished = Series(width=SLOT, most=_SLOTS)
        self._session = 0.0
        self._maps = [node for section in view.shape.sections if section.mapped
                      for node in section.nodes if view.shape.is_mapped(node)]

    # -- taking in ------------------------------------------------------------------------------

    @property
    def behind(self) -> bool:
        """True if there is something that no look took in yet."""
        return self._read < len(self.view.attempts)

    def look(self) -> bool:
        """Take in what was added since the last look; True if there is still more."""
        self._begin()
        ready = len(self.view.attempts)
        until = min(ready, self._read + MOST)
        while self._read < until:
            self._take(self._read, min(until, self._read + _CHUNK))
        return until < ready

    def _take(self, first: int, last: int) -> None:
        log = self.view.attempts
        self._read = last
        states = log.state[first:last].tobytes()
        starts, ends = log.start[first:last], log.end[first:last]
        seconds = list(map(sub, ends, starts))
        if min(seconds) < 0.0 or not all(starts):
            seconds = [s if s > 0.0 and start else 0.0
                       for s, start in zip(seconds, starts, strict=True)]
        work = accumulate(seconds, initial=self._work[-1])
        self._work.extend(islice(work, 1, None))
        good = states.count(_SUCCESS)
        self._take_durations(log.tid[first:last], seconds, states, good)
        self._take_ends(ends, states)
        if good < len(states) or log.number[first:last].count(1) < len(states):
            self._take_trouble(first, last)

    def _begin(self) -> None:
        """Throughput over time is of the session that goes on, or the last one."""
        began = self.view.session or self.view.began
        if began != self._session:
            self._session = began
            self._finished = Series(width=SLOT, most=_SLOTS)
            self._finished.start = began
            self._take_ends(self.view.attempts.end[:self._read],
                            self.view.attempts.state[:self._read].tobytes())

    def _take_durations(
        self, tids: array[int], seconds: list[float], states: bytes, good: int
    ) -> None:
        section = self.view.section
        places = [section[tid] for tid in tids]
        if places.count(places[0]) == len(places):
            by_place = {places[0]: (seconds, states)}
        else:
            by_place = _grouped(places, seconds, states)
        for place, (some, how) in by_place.items():
            figures = self.sections.get(place)
            if figures is None:
                figures = self.sections[place] = SectionFigures()
            figures.used += sum(some)
            batch = Durations()
            if good < len(states):
                some = list(compress(some, [s == _SUCCESS for s in how]))
            batch.add(some)
            figures.durations.merge(batch)
            self.durations.merge(batch)

    def _take_ends(self, ends: array[float], states: bytes) -> None:
        """Count ends for good by slot of time."""
        if states.count(_RETRY):
            ended = sorted(compress(ends, [s != _RETRY for s in states]))
        else:
            ended = sorted(ends)
        count_in(self._finished, ended[bisect_left(ended, self._session):])

    def _take_trouble(self, first: int, last: int) -> None:
        """Count failures and retries."""
        log, numbers = self.view.attempts, self._numbers
        for i in range(first, last):
            number, state = log.number[i], log.state[i]
            failed = state in (_FAILED, _RETRY)
            if failed:
                self.failures += 1
                self.sections[self.view.section[log.tid[i]]].failures += 1
            if number > 1:
                self.retries += max(0, number - numbers.get(log.tid[i], 1))
            if failed or number > 1:
                numbers[log.tid[i]] = number

    # -- how fast it goes ---------------------------------------------------------------------

    @property
    def used(self) -> float:
        """Seconds of workers that all attempts took."""
        return self._work[-1]

    def wall(self, now: float) -> float:
        """Seconds since the session began, to the end of the run if it has one."""
        return max(0.0, (self.view.ended or now) - self._session) if self._session else 0.0

    def rate(self, now: float) -> float | None:
        """Attempts that ended for good, a second: over the last seconds, or all if it is over."""
        view = self.view
        if not self._session:
            return None
        if view.ended:
            wall = self.wall(now)
            return sum(self._finished.values) / wall if wall > 0 else None
        since = max(now - RECENT, self._session)
        if now - since < SLOT:
            return None
        log = view.attempts
        states = log.state[bisect_left(log.end, since):].tobytes()
        return (len(states) - states.count(_RETRY)) / (now - since)

    def rates(self, width: int, now: float) -> Rates:
        """Throughput over the session so far, in at most `width` values.

        A slot that has not passed is left out: it would look like a drop at every moment.
        """
        slot, values = self._finished.width, self._finished.values
        passed = self.wall(now) / slot
        whole = int(passed)
        counts = values[:whole] + [0.0] * (whole - len(values))
        sums, each = fitted(counts, width)
        long = slot * each
        rates = [n / long for n in sums]
        part = whole % each
        if part:
            rates[-1] *= each / part
        return Rates(rates, long, max(rates, default=0.0))

    def concurrency(self, now: float) -> float | None:
        """How many attempts were under way at a time, on the average of the last seconds."""
        since = self._window(now)
        return None if since is None else self._pace(since, now)

    def _window(self, now: float) -> float | None:
        """Since when the pace is measured: long enough for some attempts to end in it."""
        if not self._session or self._read == 0:
            return None
        span = max(2 * RECENT, 4 * self.durations.percentile(0.95))
        since = max(self._session, now - span)
        return since if now - since >= 1.0 else None

    def _pace(self, since: float, now: float) -> float:
        """Seconds of work done a second."""
        log = self.view.attempts
        ended = bisect_left(log.end, since, 0, self._read)
        done = self._work[-1] - self._work[ended]
        for i in range(ended, min(self._read, ended + _LOOKED_AT)):
            done -= max(0.0, since - (log.start[i] or since))  # done before
        number, looked = 0, 0.0
        for tid in islice(self._running(), _LOOKED_AT):
            number += 1
            looked += max(0.0, now - max(self.view.start[tid], since))
        if number:
            done += looked * self.running / number
        return done / (now - since)

    @property
    def running(self) -> int:
        """Task runs that are known to run."""
        return sum(self.view.totals[state] for state in _ACTIVE)

    @property
    def queue(self) -> int:
        """Task runs that are ready and wait."""
        return self.view.totals[TaskState.QUEUED]

    def _running(self) -> Iterator[int]:
        """Ids of task runs that run; within a section, those that began first."""
        hot = self.view.hot
        return chain.from_iterable(ids for state in _ACTIVE for ids in hot[state] if ids)

    def longest(self, most: int) -> list[int]:
        """Ids of the task runs that have run for longest."""
        start, hot = self.view.start, self.view.hot
        first = chain.from_iterable(
            islice(ids, most) for state in _ACTIVE for ids in hot[state] if ids)
        return nsmallest(most, first, key=start.__getitem__)

    # -- when it will end -----------------------------------------------------------------------

    def eta(self, now: float) -> float | None:
        """Seconds until the run's end, if it goes on as it went; None if that is not known.

        What is left, timed by what the same tasks took so far, at the pace of the last seconds.
        """
        view = self.view
        if view.run_state is not RunState.RUNNING or self._read < len(view.attempts):
            return None
        left, work = self._left()
        since = self._window(now)
        if not left or since is None or work is None:
            return None
        work -= self._under_way(now)
        pace = min(self._pace(since, now), float(left))
        if pace <= 0.0:
            return None
        due = max(view.due.values(), default=now) - now if len(view.due) < _LOOKED_AT else 0.0
        return max(work / pace, due, 0.0)

    def _left(self) -> tuple[int, float | None]:
        """Task runs that have not ended, and the seconds of work in them, None if not known."""
        counts_of, more = self.view.counts, self._unexpanded()
        if more is None:
            return 1, None
        left, untimed, work = 0, 0, 0.0
        for place, counts in enumerate(counts_of):
            number = sum([counts[state] for state in _OPEN]) + more.get(place, 0)
            if not number:
                continue
            left += number
            figures = self.sections.get(place)
            if figures is None or not figures.durations.count:
                untimed += number
            else:
                work += number * figures.durations.mean
        if untimed > _UNTIMED * left:
            return left, None
        return left, work + untimed * self.durations.mean

    def _unexpanded(self) -> dict[int, int] | None:
        """Section → task runs that maps will add; None if one of them may add any number."""
        view, more = self.view, dict[int, int]()
        for node in self._maps:
            if node in view.spread or view.state[node] not in _OPEN:
                continue
            size = self._size_of(node)
            if size is None:
                return None
            place = view.section[node]
            more[place] = more.get(place, 0) + size - 1  # its own entry counts as one
        return more

    def _size_of(self, node: int) -> int | None:
        """How many items a map that goes along with others will have."""
        for _ in range(len(self._maps)):
            spread = self.view.spread.get(node)
            if spread is not None:
                return spread[1]
            sources = self.view.shape.follows(node)
            if not sources:
                return None
            node = sources[0]
        return None

    def _under_way(self, now: float) -> float:
        """Seconds of work that running attempts have behind them."""
        number, done, view = 0, 0.0, self.view
        for tid in islice(self._running(), _LOOKED_AT):
            number += 1
            figures = self.sections.get(view.section[tid])
            mean = figures.durations.mean if figures is not None else self.durations.mean
            done += min(mean, max(0.0, now - view.start[tid]))
        return done * self.running / number if number else 0.0


def _grouped(
    places: list[int], seconds: list[float], states: bytes
) -> dict[int, tuple[list[float], bytes]]:
    """Durations and states, section by section."""
    some: defaultdict[int, list[float]] = defaultdict(list)
    how: defaultdict[int, bytearray] = defaultdict(bytearray)
    for place, s, state in zip(places, seconds, states, strict=True):
        some[place].append(s)
        how[place].append(state)
    return {place: (found, bytes(how[place])) for place, found in some.items()}


def histogram(durations: Durations, width: int) -> tuple[list[float], float, float]:
    """Counts in `width` bins of equal width on a logarithmic scale; the scale's ends in seconds."""
    buckets = durations.buckets()
    if not buckets or width < 1:
        return [], 0.0, 0.0
    low, high = buckets[0][0], buckets[-1][1]
    scale = width / log2(high / low)
    bins = [0.0] * width
    for lower, upper, number in buckets:
        first, last = log2(lower / low) * scale, log2(upper / low) * scale
        for i in range(int(first), min(width, ceil(last))):
            share = (min(i + 1, last) - max(i, first)) / (last - first)
            bins[i] += number * max(0.0, share)
    return bins, low, high
