"""The graph of a workflow: nodes while it is built, integer-indexed arrays when frozen.

Rule 1: a node's index is its place in `Dag.nodes` and, once frozen, its task-run id.
        Items of mapped nodes get ids after those, when they are expanded.
Rule 2: nothing here recurses; a chain of 100,000 tasks is an ordinary graph.
Rule 3: an edge is kept once, as the upstream node's index in `Node.upstream`; all other
        arrays are derived by `freeze()`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from engine.core.handles import Handle, handles_in
from engine.core.tasks import TaskSpec
from engine.errors import AmbiguousNameError, CycleError, DefinitionError, DuplicateNameError


class MapInfo:
    """How a mapped node gets its items."""

    __slots__ = ("barrier", "key", "over", "sources")

    def __init__(
        self,
        over: dict[str | int, Any],
        key: Callable[..., str] | None = None,
        barrier: bool = False,
    ) -> None:
        self.over = over
        """Argument → what it is mapped over: a handle, or a list of values at hand. Names, or
        positions, which then follow right upon the node's own positional arguments."""
        self.key = key
        """Makes an item's name from its arguments; None: items are numbered."""
        self.barrier = barrier
        """Wait for all items of a mapped upstream instead of going item by item."""
        self.sources: tuple[int, ...] = ()
        """Indexes of mapped nodes that this one follows item by item."""


#: Most calls have no keyword arguments; an empty dict of their own would be 64 bytes each.
#: Never written to.
_NO_KWARGS: dict[str, Any] = {}


class Node:
    """One call of a task in a workflow: a task run, or the group of a map's task runs."""

    __slots__ = (
        "args", "dag", "group", "index", "kwargs", "mapped", "name", "refs", "spec", "upstream",
        "when",
    )

    def __init__(
        self,
        dag: Dag,
        index: int,
        name: str,
        spec: TaskSpec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        refs: Sequence[Handle],
        mapped: MapInfo | None = None,
        when: Any = None,
        group: str = "",
    ) -> None:
        self.dag = dag
        self.index = index
        self.name = name
        self.spec = spec
        self.args = args
        self.kwargs = kwargs
        self.refs = refs
        """Handles found anywhere in `args`, `kwargs`, the mapped arguments and `when`."""
        self.mapped = mapped
        self.when = when
        """A handle whose false value skips the task; None: no condition."""
        self.group = group
        """Path of the nested workflow it belongs to, `outer/inner`; empty at the top."""
        upstream: dict[int, None] = {}
        self.upstream = upstream
        """Indexes of the nodes it waits for, in order of mention."""
        for ref in refs:
            above = ref.node
            if above.dag is not dag:
                raise self._foreign(above)
            upstream[above.index] = None

    @property
    def node(self) -> Node:
        """Itself, so that nodes and handles can be used alike where order is declared."""
        return self

    @property
    def handle(self) -> Handle:
        """A handle on the whole result."""
        return Handle(self)

    def wait_for(self, other: Node) -> None:
        """Add an edge that carries order only."""
        if other.dag is not self.dag:
            raise self._foreign(other)
        if self.dag.frozen:
            raise DefinitionError("the workflow is running; dependencies cannot be added now")
        if other.index >= self.index:
            self.dag.in_order = False
        self.upstream[other.index] = None

    def _foreign(self, other: Node) -> DefinitionError:
        return DefinitionError(
            f"{other.name!r} belongs to another workflow than {self.name!r}; "
            "call the other workflow inside this one to nest it"
        )

    def add_dependency(self, *others: Any) -> Node:
        """Wait for the other tasks (nodes or handles); returns itself."""
        for other in others:
            self.wait_for(other.node)
        return self

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any], refs: list[Handle]) -> None:
        """Give a declared node the arguments of its first call."""
        self.args, self.kwargs, self.refs = args, kwargs, refs
        for ref in refs:
            self.wait_for(ref.node)

    def __repr__(self) -> str:
        return f"<Node {self.name}>"


class Dag:
    """A workflow under construction. `freeze()` checks it and makes a `Graph`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []
        self.by_name: dict[str, Node] = {}
        self.repeats: dict[str, int] = {}
        """How many nodes were named after each base name."""
        self.result: Any = None
        """What the workflow function returned: a structure with handles in it."""
        self.in_order = True
        """Every node was defined after all that it waits for."""
        self.frozen = False

    def add(
        self,
        spec: TaskSpec,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        refs: list[Handle] | None = None,
        *,
        name: str | None = None,
        group: str = "",
        mapped: MapInfo | None = None,
        when: Any = None,
    ) -> Node:
        """Append a node. An explicit `name` must be free; otherwise `task`, `task-2`, … is taken.

        `refs` are the handles in its arguments where the caller has found them already.
        Raises DuplicateNameError, DefinitionError.
        """
        if self.frozen:
            raise DefinitionError(
                f"workflow {self.name!r} is already running; tasks cannot be added to it"
            )
        kwargs = kwargs or _NO_KWARGS
        if refs is None:
            refs = handles_in((args, kwargs))
            if mapped is not None:
                refs += handles_in(mapped.over)
            if when is not None:
                refs += handles_in(when)
        nodes = self.nodes
        full = self._name(name, spec.name, group)
        node = self.by_name[full] = Node(
            self, len(nodes), full, spec, args, kwargs, refs or (), mapped, when, group)
        nodes.append(node)
        return node

    def _name(self, explicit: str | None, base: str, group: str) -> str:
        stem = explicit or base
        full = f"{group}/{stem}" if group else stem
        count = self.repeats.get(full)
        if count is None and full not in self.by_name:
            self.repeats[full] = 1
            return full
        if explicit is not None:
            raise DuplicateNameError(
                f"two tasks are named {full!r}; give one of them another name="
            )
        count = (count or 1) + 1
        while (candidate := f"{full}-{count}") in self.by_name:
            count += 1
        self.repeats[full] = count
        return candidate

    def rename(self, node: Node, name: str) -> None:
        """Give a node another (full) name. Raises DuplicateNameError."""
        if name in self.by_name:
            raise DuplicateNameError(
                f"two tasks are named {name!r}; give one of them another name="
            )
        del self.by_name[node.name]
        if self.repeats.get(node.name) == 1:
            del self.repeats[node.name]
        node.name = name
        self.by_name[name] = node
        self.repeats[name] = 1

    def get_task(self, name: str) -> Node:
        """The node of that name. Raises DefinitionError with near names, AmbiguousNameError."""
        node = self.by_name.get(name)
        if node is None:
            known = ", ".join(list(self.by_name)[:8]) or "none yet"
            raise DefinitionError(f"no task is named {name!r} in {self.name!r} (there is: {known})")
        if self.repeats.get(name, 1) > 1:
            raise AmbiguousNameError(
                f"{name!r} was called {self.repeats[name]} times; use the handle that the call "
                "returned, or give each call a name with .options(name=…)"
            )
        return node

    def freeze(self) -> Graph:
        """Check the graph and compile it. Raises DefinitionError, CycleError."""
        graph = Graph(self)
        self.frozen = True
        return graph


class Graph:
    """A frozen workflow as arrays indexed by node. Read-only once made."""

    __slots__ = (
        "children", "eager", "gate", "item_children", "name", "nodes", "priority", "result", "size",
        "spec_of", "specs",
    )

    def __init__(self, dag: Dag) -> None:
        self.name = dag.name
        self.nodes = dag.nodes
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
        self.gate = array("i", bytes(4 * n))
        """How many whole nodes each node waits for."""
        self._link()
        self.priority: list[float] = self._longest_paths(
            range(n) if dag.in_order else self._order())

    def _link(self) -> None:
        """Fill in the edges."""
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
                if maps and not maps.isdisjoint(upstream):
                    for u in maps.intersection(upstream):
                        self.eager.setdefault(u, []).append(i)

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
