"""Figures in bounded space: a histogram of durations, and a series over time.

Rule: size does not grow with the number of tasks or the length of the run. The histogram
      answers percentiles within 5 %; the series halves its resolution when it is full.
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from math import exp2, floor, log2

#: Buckets an octave: each is 9 % wide, so its middle is at most 4.5 % off.
_PER_OCTAVE = 8

#: What a duration of zero is counted as, in seconds; clocks tick in nanoseconds.
_TINY = 1e-9

#: Durations that are sorted together: as many as the processor's nearest memory holds.
_CHUNK = 2_000


def _bucket_of(seconds: float) -> tuple[int, float]:
    """(bucket, its upper bound in seconds)."""
    if seconds <= _TINY:
        return -240, _TINY
    bucket = floor(log2(seconds) * _PER_OCTAVE)
    return bucket, exp2((bucket + 1) / _PER_OCTAVE)


class Durations:
    """How long things took, in seconds."""

    __slots__ = ("_buckets", "count", "longest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.longest = 0.0
        self._buckets: Counter[int] = Counter()

    def add(self, seconds: Sequence[float]) -> None:
        """Count a batch."""
        if not seconds:
            return
        self.count += len(seconds)
        self.total += sum(seconds)
        for first in range(0, len(seconds), _CHUNK):
            self._add_chunk(sorted(seconds[first:first + _CHUNK]))

    def _add_chunk(self, ordered: list[float]) -> None:
        """Sorted, a bucket is a search and not a logarithm a duration: 0.09 µs, not 0.26."""
        self.longest = max(self.longest, ordered[-1])
        first, buckets = 0, self._buckets
        while first < len(ordered):
            bucket, bound = _bucket_of(ordered[first])
            last = bisect_left(ordered, bound, first + 1)
            buckets[bucket] += last - first
            first = last

    def merge(self, other: Durations) -> None:
        """Count all that another has counted. Costs its buckets, not its durations."""
        self.count += other.count
        self.total += other.total
        self.longest = max(self.longest, other.longest)
        self._buckets.update(other._buckets)

    def buckets(self) -> list[tuple[float, float, int]]:
        """(from, to, how many), in seconds, of buckets that have any, the shortest first."""
        return [
            (exp2(bucket / _PER_OCTAVE), exp2((bucket + 1) / _PER_OCTAVE), self._buckets[bucket])
            for bucket in sorted(self._buckets)
        ]

    @property
    def mean(self) -> float:
        """0.0 if nothing was counted."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, q: float) -> float:
        """The duration that the fraction `q` stays within; 0.0 if nothing was counted."""
        rank = q * self.count
        below = 0
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            if below >= rank:
                return min(exp2((bucket + 0.5) / _PER_OCTAVE), self.longest)
        return self.longest


class Series:
    """A figure over time, in at most `most` slots of equal width."""

    __slots__ = ("_merge", "_most", "start", "values", "width")

    def __init__(
        self,
        merge: Callable[[float, float], float] = operator.add,
        *,
        width: float = 1.0,
        most: int = 600,
    ) -> None:
        self._merge = merge
        self._most = most
        self.start: float | None = None
        """When the first slot begins, in seconds since the Unix epoch."""
        self.width = width
        """Seconds a slot; doubles whenever `most` slots do not reach."""
        self.values: list[float] = []

    def add(self, at: float, value: float) -> None:
        """Merge `value` into the slot of time `at`."""
        if self.start is None:
            self.start = at
        slot = max(0, int((at - self.start) / self.width))
        while slot >= self._most:
            self._halve()
            slot //= 2
        values = self.values
        if slot < len(values):
            values[slot] = self._merge(values[slot], value)
        else:
            values += [0.0] * (slot - len(values))
            values.append(value)

    def copied(self) -> Series:
        """The same, to go on by itself."""
        copy = Series(self._merge, width=self.width, most=self._most)
        copy.start, copy.values = self.start, self.values[:]
        return copy

    def _halve(self) -> None:
        if len(self.values) % 2:
            self.values.append(0.0)
        pairs = zip(self.values[::2], self.values[1::2], strict=True)
        self.values = [self._merge(a, b) for a, b in pairs]
        self.width *= 2

    def to_dict(self) -> dict[str, object]:
        """Plain data: start, width, values."""
        return {"start": self.start, "width": self.width, "values": list(self.values)}
