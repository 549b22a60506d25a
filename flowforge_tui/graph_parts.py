"""Which part of a run's graph is drawn: its stages, and the neighbourhood of a task run. Pure.

Rule 1: a graph of 100,000 nodes is gone through once, for its depths, without recursion; what
        is drawn is forty task runs at most, whatever there is.
Rule 2: where a map goes along with another item by item, so does the neighbourhood: around
        `extract[17]` stands `transform[17]`, not the thousand others.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from flowforge_tui.details import above_of, below_of

if TYPE_CHECKING:
    from flowforge_tui.model import RunView
    from flowforge_tui.shape import Shape

#: Task runs that are drawn at most, and on one side of one of them.
MOST, MOST_BESIDE = 40, 12


def depths_of(size: int, upstream: Callable[[int], Sequence[int]]) -> array[int]:
    """Node → the number of nodes on the longest way to it from one that waits for none."""
    below: list[list[int]] = [[] for _ in range(size)]
    waits, depth = array("I", bytes(4 * size)), array("I", bytes(4 * size))
    for node in range(size):
        above = upstream(node)
        waits[node] = len(above)
        for other in above:
            below[other].append(node)
    ready = [node for node in range(size) if not waits[node]]
    for node in ready:  # grows as it is gone through
        deeper = depth[node] + 1
        for other in below[node]:
            if deeper > depth[other]:
                depth[other] = deeper
            waits[other] -= 1
            if not waits[other]:
                ready.append(other)
    return depth


def stages(shape: Shape) -> list[list[int]]:
    """The places of the sections by the depth at which each begins, without empty stages."""
    depth, found = depths_of(shape.size, shape.upstream), dict[int, list[int]]()
    if shape.size:
        shape.downstream(0)  # worked out here, beside the screen's loop, for who draws
    for section in shape.sections:
        first = min((depth[node] for node in section.nodes), default=0)
        found.setdefault(first, []).append(section.place)
    return [found[level] for level in sorted(found)]


def counts_of(view: RunView, tid: int) -> list[int]:
    """State → number of task runs that an id stands for: of a map as a whole, its items."""
    items = view.items(tid)
    states = bytes(view.state[items[0]:items[-1] + 1]) if items else b""
    return [states.count(state) for state in range(len(view.totals))]


class Vertex(NamedTuple):
    """One thing that is drawn."""

    task: int
    """A task run, or a map as a whole."""
    above: int
    below: int
    """How many more it waits for, and how many more wait for it, that are not drawn."""


class Part(NamedTuple):
    """A part of the graph."""

    vertices: list[Vertex]
    edges: list[tuple[int, int]]
    """Between vertices, by index, in the direction that results go."""
    layers: list[int]
    """Vertex → its column."""


def around(view: RunView, tid: int) -> Part:
    """What a task run waits for, what waits for it, and so on, the nearest first."""
    index: dict[int, int] = {tid: 0}
    edges: dict[tuple[int, int], None] = {}
    fronts: dict[_Find, list[int]] = {above_of: [tid], below_of: [tid]}
    while any(fronts.values()):
        for find, front in fronts.items():
            fronts[find] = _step(view, find, front, index, edges)
    _close(view, index, edges)
    found = list(edges)
    return Part(_vertices(view, list(index), found), found, _layers(len(index), found))


_Find = Callable[["RunView", int, int | None], Sequence[int]]


def _step(
    view: RunView, find: _Find, front: list[int],
    index: dict[int, int], edges: dict[tuple[int, int], None],
) -> list[int]:
    """Take in what is one step further on, as far as there is room; returns it."""
    found: list[int] = []
    # One of each in turn, so that the room is shared.
    for others in zip_longest(*(find(view, tid, MOST_BESIDE) for tid in front)):
        for tid, other in zip(front, others, strict=True):
            if other is None or (other not in index and len(index) >= MOST):
                continue
            if other not in index:
                index[other] = len(index)
                found.append(other)
            _join(find, index[tid], index[other], edges)
    return found


def _vertices(
    view: RunView, tids: Sequence[int], edges: Sequence[tuple[int, int]]
) -> list[Vertex]:
    above: list[set[int]] = [set() for _ in tids]
    below: list[set[int]] = [set() for _ in tids]
    for one, other in edges:
        above[other].add(view.node[tids[one]])
        below[one].add(view.node[tids[other]])
    shape, nodes = view.shape, [view.node[tid] for tid in tids]
    return [
        Vertex(tid, max(0, len(shape.upstream(node)) - len(above[i])),
               max(0, len(shape.downstream(node)) - len(below[i])))
        for i, (tid, node) in enumerate(zip(tids, nodes, strict=True))]


def _join(find: _Find, one: int, other: int, edges: dict[tuple[int, int], None]) -> None:
    edges[(other, one) if find is above_of else (one, other)] = None


def _close(view: RunView, index: dict[int, int], edges: dict[tuple[int, int], None]) -> None:
    """Add the dependencies between what is drawn that no step went along."""
    for tid, at in index.items():
        for other in above_of(view, tid, 10 * MOST):
            if other in index:
                edges[index[other], at] = None


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Column of each vertex: behind all that it waits for, and no further left than needed."""
    below: list[list[int]] = [[] for _ in range(count)]
    above: list[list[int]] = [[] for _ in range(count)]
    for one, other in edges:
        below[one].append(other)
        above[other].append(one)
    waits = [len(a) for a in above]
    layer, order = [0] * count, [v for v in range(count) if not waits[v]]
    for vertex in order:
        for other in below[vertex]:
            layer[other] = max(layer[other], layer[vertex] + 1)
            waits[other] -= 1
            if not waits[other]:
                order.append(other)
    for vertex in reversed(order):  # what waits for nothing stands right before who waits for it
        if below[vertex]:
            layer[vertex] = min(layer[other] for other in below[vertex]) - 1
    least = min(layer, default=0)
    return [a - least for a in layer]
