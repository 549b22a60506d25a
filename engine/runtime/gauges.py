"""What a live run is doing at this moment: workers, queues, limits, CPU and memory.

Rule 1: read without the runner's lock, in microseconds a lane, so that a screen may look as often
        as it likes; figures may be a step apart from each other.
Rule 2: plain numbers that survive JSON, so that another process's screen shows the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from engine.core.machine import Machine
from engine.executors.base import Executor
from engine.telemetry.metrics import Sample
from engine.worker.clock import now


class Lane(NamedTuple):
    """The workers of one kind, and what waits for them."""

    name: str
    """sequential, thread, process, async."""
    workers: int
    busy: int
    """Workers whose task's function runs now; of the event loop, tasks."""
    queued: int
    """Task runs that wait for a worker."""


class Limit(NamedTuple):
    """A named limit."""

    name: str
    used: int
    total: int
    waiting: int
    """Task runs that wait for it."""


class Gauges(NamedTuple):
    """All of it."""

    at: float
    """Seconds since the epoch."""
    state: str
    """The run's."""
    lanes: tuple[Lane, ...]
    limits: tuple[Limit, ...]
    paused: int
    """Task runs set aside since their task is paused."""
    sample: Sample | None
    """CPU and memory of the engine and its workers, within the last second; None before that."""

    def to_data(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            **self._asdict(), "lanes": [lane._asdict() for lane in self.lanes],
            "limits": [limit._asdict() for limit in self.limits],
            "sample": None if self.sample is None else self.sample._asdict(),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Gauges:
        """The inverse of `to_data`."""
        sample = data["sample"]
        return cls(
            data["at"], data["state"], tuple(Lane(**d) for d in data["lanes"]),
            tuple(Limit(**d) for d in data["limits"]), data["paused"],
            None if sample is None else Sample(**sample),
        )


def read_gauges(
    machine: Machine, executors: Mapping[str, Executor], sample: Callable[[], Sample | None]
) -> Gauges:
    """The figures as they are now. Safe from any thread."""
    parked = {where: sum(stop - start for start, stop in list(ranges))
              for where, ranges in list(machine.parked.items())}
    lanes = tuple(
        Lane(name, executor.workers, len(executor.in_hand()), machine.queues[name].count)
        for name, executor in executors.items())
    limits = tuple(
        Limit(name, total - machine.free[name], total, parked.get(name, 0))
        for name, total in machine.limits.items())
    paused = sum(n for where, n in parked.items() if where.startswith("pause:"))
    return Gauges(now(), str(machine.run_state), lanes, limits, paused, sample())
