"""Every attempt of a run that ended, in the order in which that was recorded: columns.

The timeline draws them, the metrics are figures over them, and each reads only what was added
since it last looked. An attempt takes 27 bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine import TaskState
    from engine.front import Attempt

#: Stands for a worker that is not known: of a stored run, or an attempt that never had one.
NO_WORKER = -1


class AttemptLog:
    """Only ever appended to. Times are seconds since the Unix epoch; 0.0: not known."""

    def __init__(self) -> None:
        self.tid = array("i")
        self.number = array("H")
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

    def extend(self, attempts: Sequence[Attempt], state: TaskState) -> None:
        """A batch that ended alike. Columns at a time: half the price of a call each."""
        self.tid.extend([a.tid for a in attempts])
        self.number.extend([a.number for a in attempts])
        self.start.extend([a.start for a in attempts])
        self.end.extend([a.end for a in attempts])
        self.state.frombytes(bytes([state]) * len(attempts))
        try:
            workers = [a.worker for a in attempts]
        except AttributeError:  # one that no worker had
            workers = [worker_of(a) for a in attempts]
        self.worker.extend(workers)


def worker_of(attempt: Attempt) -> int:
    """Which worker ran it, NO_WORKER if that is not known."""
    worker: int = getattr(attempt, "worker", NO_WORKER)
    return worker
