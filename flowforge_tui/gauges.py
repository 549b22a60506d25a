"""What a live run's workers do at this moment, as the panels take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowforge_tui.figures import Lane, Limit, Processes, Slots

if TYPE_CHECKING:
    from engine.front import Gauges


def usage_of(gauges: Gauges | None) -> Processes | None:
    """CPU and memory; None before the first sample."""
    sample = gauges.sample if gauges is not None else None
    if sample is None:
        return None
    return Processes(
        sample.at, sample.engine_cpu, sample.engine_memory, sample.cpu - sample.engine_cpu,
        sample.memory - sample.engine_memory, sample.processes - 1)


def slots_of(gauges: Gauges | None) -> Slots | None:
    """Workers and limits; None if nobody tells of them."""
    if gauges is None:
        return None
    return Slots(
        [Lane(lane.name, lane.busy, lane.workers) for lane in gauges.lanes],
        [Limit(limit.name, limit.used, limit.total) for limit in gauges.limits])
