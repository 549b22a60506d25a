"""Small graphs for tests, without the DSL."""

from __future__ import annotations

from engine.core.dag import Dag
from engine.core.graph import Graph
from engine.core.nodes import MapInfo, Node
from engine.core.retry import RetryPolicy
from engine.core.tasks import TaskOptions, TaskSpec


def spec(name: str = "t", **options) -> TaskSpec:
    retries = options.pop("retries", 0)
    delay = options.pop("delay", 0.0)
    return TaskSpec(
        name, lambda *a: a, TaskOptions(retry=RetryPolicy(retries=retries, delay=delay), **options)
    )


_shared: dict[str, TaskSpec] = {}
"""Nodes with the same options are calls of one task, so that they share ranges in the queue."""


def add(dag: Dag, name: str, *above: Node, over=None, barrier=False, **options) -> Node:
    """A node that waits for `above`; with `over` it is mapped over that node or sequence."""
    task = _shared.setdefault(repr(options), spec(**options))
    mapped = None
    if over is not None:
        source = over.handle if isinstance(over, Node) else over
        mapped = MapInfo({0: source}, barrier=barrier)
    handles = tuple(n.handle for n in above)
    return dag.add(task, handles, {}, name=name, mapped=mapped)


def chain_graph(n: int, **options) -> Graph:
    dag = Dag("chain")
    before = dag.add(spec("t0", **options))
    for i in range(1, n):
        before = dag.add(spec(f"t{i}", **options), (before.handle,), {}, [before.handle])
    return dag.freeze()
