"""A workflow under construction: nodes in the order in which they are called, and their names.

Rule 1: a node's index is its place in `Dag.nodes` and, once frozen, its task-run id. Items of
        mapped nodes get ids after those, when they are expanded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.core.graph import Graph
from engine.core.handles import Handle, handles_in
from engine.core.nodes import NO_KWARGS, MapInfo, Node
from engine.core.tasks import TaskSpec
from engine.errors import AmbiguousNameError, DefinitionError, DuplicateNameError


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
            self, len(self.nodes), spec, args, kwargs or NO_KWARGS, refs or (), group, mapped, when
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
        node = Node(self, len(nodes), spec, args, NO_KWARGS, refs, group)
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
