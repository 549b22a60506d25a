"""A frozen workflow as arrays indexed by node, derived from each node's `upstream`.

Rule 1: nothing here recurses; a chain of 100,000 tasks is an ordinary graph.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from engine.core.handles import Handle, handles_in
from engine.core.nodes import Node
from engine.errors import CycleError, DefinitionError

if TYPE_CHECKING:
    from engine.core.dag import Dag


class Graph:
    """A frozen workflow as arrays indexed by node. Read-only once made."""

    __slots__ = (
        "children", "eager", "gate", "given", "item_children", "name", "names", "nodes",
        "priority", "result", "size", "spec_of", "specs",
    )

    def __init__(self, dag: Dag) -> None:
        dag.give_names()
        self.name = dag.name
        self.nodes = dag.nodes
        self.names = [node.known_name for node in dag.nodes]
        """The nodes' names, by index."""
        self.given = dag.given
        """Indexes of the nodes whose names were given."""
        self.result = dag.result
        n = self.size = len(dag.nodes)
        self.specs, self.spec_of = numbered([node.spec for node in dag.nodes])
        """The tasks that are called, by first call; per node: which of them it is a call of."""
        self.children: list[list[int]] = [[] for _ in range(n)]
        """Nodes that wait for this whole node."""
        self.item_children: dict[int, list[int]] = {}
        """Mapped nodes that follow this mapped node item by item."""
        self.eager: dict[int, list[int]] = {}
        """Nodes below a mapped one whose rule may answer before all its items have ended."""
        self.gate = [0] * n
        """How many whole nodes each node waits for."""
        self._link(parts=dag.parts)
        self.priority: list[float] = self._longest_paths(
            range(n) if dag.in_order else self._order())

    def _link(self, *, parts: bool) -> None:
        """Fill in the edges; `parts`: some handles select a part of a result."""
        children, gate = self.children, self.gate
        maps = {node.index for node in self.nodes if node.mapped is not None}
        for i, node in enumerate(self.nodes):
            upstream = node.upstream
            if i in maps:
                self._link_map(node)
            elif upstream:
                gate[i] = len(upstream)
                for u in upstream:
                    children[u].append(i)
                above = maps.intersection(upstream) if maps else ()
                for u in above:
                    self.eager.setdefault(u, []).append(i)
                if node.args and node.refs is node.args and (
                    above or len(node.args) != len(upstream)
                    or (parts and any(map(_path, node.args)))
                ):  # the same handles, and not just what `Node.refs` says of `args` itself
                    node.refs = [*node.args]

    def _link_map(self, node: Node) -> None:
        info, i = node.mapped, node.index
        assert info is not None
        followed = [] if info.barrier else [
            h.node.index
            for h in info.over.values()
            if type(h) is Handle and not h.path and h.node.mapped is not None
        ]
        info.sources = tuple(dict.fromkeys(followed))
        if info.sources:
            self._check_followed(node, info.sources)
        for u in node.upstream:
            if u in info.sources:
                self.item_children.setdefault(u, []).append(i)
            else:
                self.gate[i] += 1
                self.children[u].append(i)
                if self.nodes[u].mapped is not None:
                    self.eager.setdefault(u, []).append(i)

    def _check_followed(self, node: Node, sources: tuple[int, ...]) -> None:
        info = node.mapped
        assert info is not None
        inside = [
            h for h in handles_in((node.args, node.kwargs, node.when)) if h.node.index in sources
        ]
        if inside or (len(sources) < len(info.over) and any(
            type(h) is Handle and h.node.index not in sources for h in info.over.values()
        )):
            # Used as a whole too, or zipped with something that exists only later: every
            # item would wait for all of it anyway.
            info.sources = ()

    def _order(self) -> list[int]:
        """Every node after all that it waits for. Raises CycleError with the path."""
        waits = array("i", (len(n.upstream) for n in self.nodes))
        order = [i for i in range(self.size) if not waits[i]]
        below = self.below
        for i in order:
            for c in below(i):
                waits[c] -= 1
                if not waits[c]:
                    order.append(c)
        if len(order) < self.size:
            raise CycleError(self._cycle({i for i in range(self.size) if waits[i] > 0}))
        return order

    def below(self, i: int) -> list[int]:
        """The nodes right below node i, item by item or not."""
        items = self.item_children.get(i)
        return self.children[i] + items if items else self.children[i]

    def _cycle(self, stuck: set[int]) -> list[str]:
        seen: dict[int, int] = {}
        path: list[int] = []
        at = min(stuck)
        while at not in seen:
            seen[at] = len(path)
            path.append(at)
            at = next(u for u in self.nodes[at].upstream if u in stuck)
        ring = [*path[seen[at]:], at]
        return [self.nodes[i].name for i in reversed(ring)]

    def _longest_paths(self, order: Sequence[int]) -> list[float]:
        """Per node: its priority where given, else how many nodes hang below it in a row."""
        length = [1.0] * self.size
        nodes, specs = self.nodes, self.specs
        for i in reversed(order):
            upstream = nodes[i].upstream
            if upstream:
                here = length[i] + 1.0
                for u in upstream:
                    if length[u] < here:
                        length[u] = here
        if any(spec.options.priority is not None for spec in specs):
            for i, s in enumerate(self.spec_of):
                given = specs[s].options.priority
                if given is not None:
                    # A given priority outranks every derived one of the same sign.
                    length[i] = given * 1e9
        return length

    def leaves(self) -> list[Node]:
        """The nodes that nothing waits for, in order of definition."""
        return [n for n in self.nodes if not self.children[n.index]
                and n.index not in self.item_children]


_path = attrgetter("path")

T = TypeVar("T")


def numbered(things: Sequence[T]) -> tuple[list[T], array[int]]:
    """The different ones in order of appearance, and for each thing which of them it is."""
    number = {thing: i for i, thing in enumerate(dict.fromkeys(things))}
    return list(number), array("I", [number[thing] for thing in things])


def check_limits(graph: Graph, limits: Mapping[str, int]) -> None:
    """Raise DefinitionError for a limit that is unknown, or too small to ever let a task run."""
    for s, spec in enumerate(graph.specs):
        for name, wanted in spec.options.limits.items():
            if name in limits and wanted <= limits[name]:
                continue
            node = graph.nodes[graph.spec_of.index(s)]
            if name not in limits:
                known = ", ".join(sorted(limits)) or "none"
                raise DefinitionError(
                    f"task {node.name!r} takes from the limit {name!r}, which this workflow does "
                    f"not declare (declared: {known}); add limits={{{name!r}: N}} to @workflow, "
                    f"or --limit {name}=N"
                )
            raise DefinitionError(
                f"task {node.name!r} takes {wanted} of the limit {name!r}, which is "
                f"{limits[name]}: it could never run"
            )
