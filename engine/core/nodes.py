"""What a graph is made of: one node a call of a task.

Rule 1: an edge is kept once, as the upstream node's index in `Node.upstream`; whatever else is
        known of edges is derived from that, in `graph`.
Rule 2: a node costs what its call needs, and no more: what most of them do not have (keywords,
        upstream nodes, a name that anybody asked for) is shared, or made later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.core.handles import Handle
from engine.core.tasks import TaskSpec
from engine.errors import DefinitionError

if TYPE_CHECKING:
    from engine.core.dag import Dag


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
#: Never written to: a call with ** makes its own copy.
NO_KWARGS: dict[str, Any] = {}

#: The same for those that wait for nothing.
_NOTHING: dict[int, None] = {}


class Node:
    """One call of a task in a workflow: a task run, or the group of a map's task runs."""

    __slots__ = (
        "args",
        "dag",
        "group",
        "index",
        "known_name",
        "kwargs",
        "mapped",
        "refs",
        "spec",
        "upstream",
        "when",
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
        """Handles found anywhere in `args`, `kwargs`, the mapped arguments and `when`. Once frozen
        these are `args` itself just where a call is given the whole results of the plain nodes in
        its `upstream`, in that order, and nothing else: nearly all calls of large graphs."""
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
        elif self.refs is self.args:
            self.refs = [*self.args]
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
