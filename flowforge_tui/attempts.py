"""Every attempt of a run that ended, in the order in which that was recorded: columns.

The timeline draws them, the metrics are figures over them, and each reads only what was added
since it last looked. An attempt takes 27 bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from operator import sub
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from engine import TaskState
    from engine.front import Attempt

#: Stands for a worker that is not known: of a stored run, or an attempt that never had one.
NO_WORKER = -1

#: A slice costs as much as so many single stores.
_STRETCH = 8


class AttemptLog:
    """Only ever appended to. Times are seconds since the Unix epoch; 0.0: not known."""

    def __init__(self) -> None:
        self.tid = array("i")
        self.number = array("I")
        self.start = array("d")
        self.end = array("d")
        self.state = array("B")
        """The `TaskState` that the attempt left its task run in."""
        self.worker = array("i")
        """Index of the worker within its executor; NO_WORKER: not known."""

    def __len__(self) -> int:
        return len(self.tid)

    def add(
        self, tid: int, number: int, start: float, end: float, state: TaskState, worker: int
    ) -> None:
        """One attempt."""
        self.tid.append(tid)
        self.number.append(number)
        self.start.append(start)
        self.end.append(end)
        self.state.append(state)
        self.worker.append(worker)

    def extend(self, ended: Ended, state: TaskState) -> None:
        """A batch that ended alike. Columns at a time: half the price of a call each."""
        self.tid.extend(ended.tids)
        self.number.extend(ended.numbers)
        self.start.extend(ended.starts)
        self.end.extend(ended.ends)
        self.state.frombytes(bytes([state]) * len(ended.tids))
        self.worker.extend(ended.workers)

    def part(self, first: int, last: int) -> Ended:
        """Attempts `first` to `last` as the batch that they were."""
        return Ended(self.tid[first:last], self.number[first:last], self.start[first:last],
                     self.end[first:last], self.worker[first:last])

    def copied(self, upto: int) -> AttemptLog:
        """The first `upto` attempts."""
        copy = AttemptLog()
        for name, column in vars(self).items():
            setattr(copy, name, column[:upto])
        return copy


class Ended(NamedTuple):
    """A batch of attempts in columns, each of the type that `AttemptLog` has."""

    tids: array[int]
    numbers: array[int]
    starts: array[float]
    ends: array[float]
    workers: array[int]

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> Ended:
        """As the engine hands them over."""
        try:
            workers = [a.worker for a in attempts]
        except AttributeError:  # one that no worker had
            workers = [worker_of(a) for a in attempts]
        return cls(
            array("i", [a.tid for a in attempts]), array("I", [a.number for a in attempts]),
            array("d", [a.start for a in attempts]), array("d", [a.end for a in attempts]),
            array("i", workers))

    def runs(self) -> list[tuple[int, int]] | None:
        """(first, last) of stretches with neighbouring ids; None if that is not worth the while."""
        tids = self.tids.tolist()
        steps = list(map(sub, tids[1:], tids))
        if len(tids) < _STRETCH * (len(tids) - steps.count(1)):
            return None
        ends = [i for i, step in enumerate(steps, 1) if step != 1]
        return list(zip([0, *ends], [*ends, len(tids)], strict=True))


def worker_of(attempt: Attempt) -> int:
    """Which worker ran it, NO_WORKER if that is not known."""
    worker: int = getattr(attempt, "worker", NO_WORKER)
    return worker
