"""All attempts of a run, from its journal's first row on, for those who write them out.

Rule 1: names are those that a task run had when the attempt ended: a resume may have changed them.
Rule 2: what a changed graph took over is told again by the journal's reader, and not here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from engine.front import (
    Damaged,
    ErrorInfo,
    Expanded,
    Failed,
    Follower,
    GraphChanged,
    Moved,
    Outline,
    StoredRun,
    Succeeded,
)


class Ended(NamedTuple):
    """An attempt that ended. Times in seconds since the epoch."""

    task: str
    """The task run's name. Untrusted text."""
    kind: str
    """The task's own name, which its calls and items share."""
    generation: int
    attempt: int
    start: float
    end: float
    state: str
    """SUCCESS, FAILED, UP_FOR_RETRY or CANCELLED."""
    reason: str
    error: ErrorInfo | None


class _Namer:
    """Names of task runs as they are told of."""

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self.items: dict[int, tuple[int, int, Sequence[str] | None]] = {}
        self._bases: list[int] = []

    def expanded(self, change: Expanded) -> None:
        """A map has got its items; ids only grow."""
        self.items[change.base] = (change.node, change.base, change.keys)
        at = bisect_right(self._bases, change.base)
        if at == 0 or self._bases[at - 1] != change.base:
            self._bases.insert(at, change.base)

    def of(self, tid: int) -> tuple[str, str]:
        """(the task run's name, its task's own)."""
        if tid < self.outline.size:
            return self.outline.names[tid], self.outline.spec(tid).name
        node, base, keys = self.items[self._bases[bisect_right(self._bases, tid) - 1]]
        index = tid - base
        label = keys[index] if keys else index
        return f"{self.outline.names[node]}[{label}]", self.outline.spec(node).name


def attempts_of(stored: StoredRun, damage: list[str]) -> Iterator[Ended]:
    """Every attempt that ended, in the order of recording; what cannot be read is in `damage`.

    Raises StorageError.
    """
    follower, namer = Follower(stored.run_dir), _Namer(Outline(""))
    try:
        while steps := follower.poll():
            for step in steps:
                taken_over = False
                for told in step.changes:
                    if isinstance(told, GraphChanged):
                        namer = _Namer(told.outline)
                        taken_over = told.node_map is not None
                    elif isinstance(told, Expanded):
                        namer.expanded(told)
                    elif isinstance(told, Damaged):
                        damage.append(told.text)
                    elif not taken_over:
                        yield from _ended(told, namer)
    finally:
        follower.close()


def _ended(told: object, namer: _Namer) -> Iterator[Ended]:
    if isinstance(told, Succeeded):
        for a in told.attempts:
            yield Ended(*namer.of(a.tid), a.generation, a.number, a.start, a.end, "SUCCESS", "",
                        None)
    elif isinstance(told, Moved) and told.ran is not None:
        for tid in told.tids:
            number, generation, start, end = told.ran
            yield Ended(*namer.of(tid), generation, number, start, end, told.state.name, "", None)
    elif isinstance(told, Failed):
        a = told.attempt
        yield Ended(*namer.of(a.tid), a.generation, a.number, a.start, a.end, told.state.name,
                    str(a.reason), a.error)


def laned(attempts: list[Ended]) -> Iterator[tuple[int, Ended]]:
    """Attempts by their start, each with a lane from 0 in which it is alone at its time.

    Which worker ran an attempt is not recorded; lanes show as many as were busy at once.
    """
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    lanes = 0
    for attempt in sorted(attempts, key=lambda a: a.start):
        while busy and busy[0][0] <= attempt.start:
            heappush(free, heappop(busy)[1])
        if free:
            lane = heappop(free)
        else:
            lane, lanes = lanes, lanes + 1
        heappush(busy, (attempt.end, lane))
        yield lane, attempt
