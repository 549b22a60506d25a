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
from operator import attrgetter
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

#: The same for those that wait for nothing.
_NOTHING: dict[int, None] = {}


class Node:
    """One call of a task in a workflow: a task run, or the group of a map's task runs."""

    __slots__ = (
        "args", "dag", "known_name", "group", "index", "kwargs", "mapped", "refs", "spec",
        "upstream", "when",
    )

    def __init__(
        self,
        dag: Dag,
        index: int,
        spec: TaskSpec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        refs: Sequence[Handle],
        group: str = "",
        mapped: MapInfo | None = None,
        when: Any = None,
    ) -> None:
        self.dag = dag
        self.index = index
        self.known_name = ""
        """Its name; empty until somebody asks for one. See `Dag.give_names`."""
        self.spec = spec
        self.args = args
        self.kwargs = kwargs
        self.refs = refs
        """Handles found anywhere in `args`, `kwargs`, the mapped arguments and `when`. These are
        `args` itself where they are all that there is."""
        self.mapped = mapped
        self.when = when
        """A handle whose false value skips the task; None: no condition."""
        self.group = group
        """Path of the nested workflow it belongs to, `outer/inner`; empty at the top."""
        self.upstream = _NOTHING
        """Indexes of the nodes it waits for, in order of mention."""
        if refs:
            upstream = self.upstream = {}
            for ref in refs:
                above = ref.node
                if above.dag is not dag:
                    raise self._foreign(above)
                upstream[above.index] = None

    @property
    def name(self) -> str:
        """Unique in the graph: `task`, `group/task`, `task-2`."""
        if not self.known_name:
            self.dag.give_names()
        return self.known_name

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
        if self.upstream is _NOTHING:
            self.upstream = {}
        self.upstream[other.index] = None

    def _foreign(self, other: Node) -> DefinitionError:
        return DefinitionError(
            f"{other.name!r} belongs to another workflow than {self.spec.name!r}; "
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
        self.given: set[int] = set()
        """Indexes of the nodes whose names were given, not made from their tasks'."""
        self._by_name: dict[str, Node] = {}
        self._repeats: dict[str, int] = {}
        self._named = 0
        """How many of the nodes have their names."""
        self.result: Any = None
        """What the workflow function returned: a structure with handles in it."""
        self.in_order = True
        """Every node was defined after all that it waits for."""
        self.parts = False
        """Some handle selects a part of a result."""
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
            raise self._running()
        if refs is None:
            refs = handles_in((args, kwargs))
            if mapped is not None:
                refs += handles_in(mapped.over)
            if when is not None:
                refs += handles_in(when)
        if name is not None:
            name = self._free_name(name, group)
        node = Node(
            self, len(self.nodes), spec, args, kwargs or _NO_KWARGS, refs or (), group, mapped, when
        )
        self.nodes.append(node)
        if name is not None:
            self._give(node, name)
        return node

    def call(
        self, spec: TaskSpec, args: tuple[Any, ...], refs: Sequence[Handle], group: str
    ) -> Node:
        """Append the node of a plain call: `add`, for nearly all of a large graph."""
        nodes = self.nodes
        if self.frozen:
            raise self._running()
        node = Node(self, len(nodes), spec, args, _NO_KWARGS, refs, group)
        nodes.append(node)
        return node

    def _running(self) -> DefinitionError:
        return DefinitionError(
            f"workflow {self.name!r} is already running; tasks cannot be added to it")

    # -- names -------------------------------------------------------------------------------

    def give_names(self) -> None:
        """Name the nodes that have no names yet, in their order: `task`, `task-2`, …

        Not one by one, as they are added: that takes half as long again.
        """
        if self._named == len(self.nodes):
            return
        names, repeats, spec, group = self._by_name, self._repeats, None, ""
        for node in self.nodes[self._named:]:
            if node.spec is not spec or node.group != group:
                spec, group = node.spec, node.group
                stem = f"{group}/{spec.name}" if group else spec.name
                count = repeats.get(stem, 0) or stem in names
            count += 1
            name = f"{stem}-{count}" if count > 1 else stem
            while name in names:
                count += 1
                name = f"{stem}-{count}"
            repeats[stem] = count
            node.known_name = name
            names[name] = node
        self._named = len(self.nodes)

    @property
    def by_name(self) -> dict[str, Node]:
        """The nodes by name."""
        self.give_names()
        return self._by_name

    @property
    def repeats(self) -> dict[str, int]:
        """How many nodes were named after each base name."""
        self.give_names()
        return self._repeats

    def _free_name(self, name: str, group: str) -> str:
        full = f"{group}/{name}" if group else name
        if full in self.by_name:
            raise _duplicate(full)
        return full

    def _give(self, node: Node, name: str) -> None:
        """Put a name that was given, and is free, to a node: the last, or one that lost its own."""
        node.known_name = name
        self._by_name[name] = node
        self._repeats[name] = 1
        self._named = len(self.nodes)
        self.given.add(node.index)

    def rename(self, node: Node, name: str) -> None:
        """Give a node another (full) name. Raises DuplicateNameError."""
        if name in self.by_name:
            raise _duplicate(name)
        del self._by_name[node.name]
        if self._repeats.get(node.name) == 1:
            del self._repeats[node.name]
        self._give(node, name)

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


def _duplicate(name: str) -> DuplicateNameError:
    return DuplicateNameError(f"two tasks are named {name!r}; give one of them another name=")


class Graph:
    """A frozen workflow as arrays indexed by node. Read-only once made."""

    __slots__ = (
        "children", "eager", "gate", "given", "item_children", "name", "names", "nodes",
        "priority", "result", "size", "spec_of", "specs", "whole",
    )

    def __init__(self, dag: Dag) -> None:
        dag.give_names()
        self.name = dag.name
        self.nodes = dag.nodes
        self.names = [node.known_name for node in dag.nodes]
        self.given = dag.given
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
        self.whole = bytearray(n)
        """Per node: 1 if its arguments are the whole results of the plain nodes in its `upstream`,
        in that order, and nothing else."""
        self._link(parts=dag.parts)
        self.priority: list[float] = self._longest_paths(
            range(n) if dag.in_order else self._order())

    def _link(self, *, parts: bool) -> None:
        """Fill in the edges; `parts`: some handles select a part of a result."""
        children, gate, whole = self.children, self.gate, self.whole
        maps = {node.index for node in self.nodes if node.mapped is not None}
        for i, node in enumerate(self.nodes):
            upstream = node.upstream
            if i in maps:
                self._link_map(node)
            elif upstream:
                gate[i] = len(upstream)
                for u in upstream:
                    children[u].append(i)
                if node.refs is node.args and len(node.args) == len(upstream):
                    whole[i] = not (parts and any(map(_path, node.args)))
                if maps and not maps.isdisjoint(upstream):
                    whole[i] = 0
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
