"""Which executor runs which node, and the executors that a run needs."""

from __future__ import annotations

from collections.abc import Sequence

from engine.core.graph import Graph
from engine.core.tasks import TaskSpec
from engine.executors.base import Executor
from engine.executors.guardian import Guardian
from engine.executors.local import SequentialExecutor, ThreadExecutor
from engine.runtime.settings import Settings


def lane_of(spec: TaskSpec, default: str) -> str:
    """The lane of a task's calls: async tasks have their own, shell tasks want threads."""
    if spec.kind == "async":
        return "async"
    if spec.kind == "shell":
        return "sequential" if default == "sequential" else "thread"
    return spec.options.executor or default


def lanes_of(graph: Graph, settings: Settings) -> list[str]:
    """The lane of every node, by index."""
    lanes = [lane_of(spec, settings.executor) for spec in graph.specs]
    return [lanes[s] for s in graph.spec_of]


def make_executors(lanes: Sequence[str], guardian: Guardian | None) -> dict[str, Executor]:
    """One executor for each lane in use."""
    return {lane: _make(lane, guardian) for lane in dict.fromkeys(lanes)}


def _make(lane: str, guardian: Guardian | None) -> Executor:
    if lane == "thread":
        return ThreadExecutor()
    if lane == "sequential":
        return SequentialExecutor()
    if lane == "async":
        from engine.executors.aio import AsyncExecutor

        return AsyncExecutor()
    from engine.executors.process import ProcessExecutor

    return ProcessExecutor(guardian)


def worker_counts(lanes: Sequence[str], settings: Settings) -> dict[str, int]:
    """How many workers each lane gets."""
    counts = dict.fromkeys(lanes, settings.workers)
    if "sequential" in counts:
        counts["sequential"] = 1
    if "async" in counts:
        from engine.executors.aio import LIMIT

        counts["async"] = LIMIT
    return counts
