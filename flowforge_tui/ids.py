"""Sequences of ids as they come here: ranges, sorted lists, and several of them in a row.

Rule: a hundred thousand ids are not copied to be counted, indexed, or searched for one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any


class Chained(Sequence[int]):
    """Several runs of ids one after the other, without a copy of them."""

    def __init__(self, parts: list[Sequence[int]]) -> None:
        self._parts = parts
        self._ends: list[int] = []
        total = 0
        for part in parts:
            total += len(part)
            self._ends.append(total)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        part = bisect_right(self._ends, index)
        if not 0 <= index < len(self):
            raise IndexError(index)
        before = self._ends[part - 1] if part else 0
        return self._parts[part][index - before]

    def position(self, tid: int) -> int:
        """Where an id is; -1 if it is not there. As fast as there are few parts."""
        before = 0
        for part, end in zip(self._parts, self._ends, strict=True):
            if tid in part:
                return before + part.index(tid)
            before = end
        return -1

    def __iter__(self) -> Iterator[int]:
        for part in self._parts:
            yield from part


def position(tids: Sequence[int], tid: int) -> int:
    """Where an id is in a row of ids, mostly sorted ones; -1 if it is not there."""
    if isinstance(tids, Chained):
        return tids.position(tid)
    if isinstance(tids, range):
        return tids.index(tid) if tid in tids else -1
    at = bisect_left(tids, tid)
    if at < len(tids) and tids[at] == tid:
        return at
    try:
        return tids.index(tid)
    except ValueError:
        return -1
