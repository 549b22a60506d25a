"""The workflow that is being built right now, and what a call inside it does.

Rule 1: a call makes a node if a builder is active in this context, and the builder was
        opened by the same attempt, or outside any: inside a task's attempt a call is a call.
Rule 2: a task declared in a block is a node at once; its first call binds that node.
        Inside a workflow function, declaring makes nothing; calling does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from engine.core.dag import Dag
from engine.core.handles import Handle
from engine.core.nodes import MapInfo, Node
from engine.errors import AmbiguousNameError, DefinitionError, DuplicateNameError
from engine.worker.context import HERE

if TYPE_CHECKING:
    from engine.dsl.tasks import TaskFunction


class Builder:
    """Collects the nodes of one workflow."""

    __slots__ = (
        "attempt", "dag", "declared", "declares", "group", "groups", "namers", "unbound",
    )

    def __init__(self, dag: Dag, *, declares: bool) -> None:
        self.dag = dag
        self.declares = declares
        """True in a block: a task becomes a node where it is declared."""
        self.group = ""
        """Path of the nested workflow whose body runs now."""
        self.groups: dict[str, int] = {}
        """How many nested workflows were named after each path."""
        self.attempt = HERE.get()
        self.declared: dict[TaskFunction[Any], Node] = {}
        """Declared tasks and their nodes."""
        self.unbound: dict[TaskFunction[Any], Node] = {}
        """Those of them that were not called yet."""
        self.namers: dict[str, TaskFunction[Any]] = {}
        """Given names → the task that brought each; another one with the same name is an error."""

    def declare(self, task: TaskFunction[Any]) -> None:
        """Make a node of a task that has no arguments yet."""
        self.claim_name(task)
        node = self.dag.add(task.spec, (), {}, group=self.group, when=task.when)
        self.declared[task.root] = self.unbound[task.root] = node

    def add(
        self,
        task: TaskFunction[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        refs: list[Handle],
        mapped: MapInfo | None = None,
    ) -> Handle:
        """The node of a call: a declared one if it still waits for its arguments, or a new one."""
        if self.unbound and task.root in self.unbound:
            return self._bind(self.unbound.pop(task.root), task, args, kwargs, refs, mapped)
        if task.spec.named:
            self.claim_name(task)
        return Handle(
            self.dag.add(
                task.spec, args, kwargs, refs, group=self.group, mapped=mapped, when=task.when
            )
        )

    def _bind(
        self,
        node: Node,
        task: TaskFunction[Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        refs: list[Handle],
        mapped: MapInfo | None,
    ) -> Handle:
        if task.spec.name != node.spec.name:
            self.claim_name(task)
            self.dag.rename(node, _full(node.group, task.spec.name))
        node.spec = task.spec
        node.mapped = mapped
        node.when = task.when
        node.bind(args, kwargs, refs)
        return Handle(node)

    def claim_name(self, task: TaskFunction[Any]) -> None:
        """Raise DuplicateNameError if another task has brought the name given to this one."""
        if not task.spec.named:
            return
        name = _full(self.group, task.spec.name)
        owner = self.namers.get(name)
        if owner is task.namer:
            return
        if owner is not None or name in self.dag.by_name:
            raise DuplicateNameError(
                f"two tasks are named {name!r}; give one of them another name="
            )
        self.namers[name] = task.namer

    def node_of(self, task: TaskFunction[Any]) -> Node:
        """The one node of a task, where the task itself is named in `>>` or `after`.

        Raises AmbiguousNameError if it has several, DefinitionError if it has none.
        """
        name = _full(self.group, task.spec.name)
        node = self.declared.get(task.root)
        if node is None:
            return self._called(task, name)
        if task.root not in self.unbound and self.dag.repeats.get(node.name, 1) > 1:
            twins = [n for n in self.dag.nodes if n.spec.fn is node.spec.fn]
            if len(twins) > 1:
                raise _ambiguous(node.name, len(twins))
        return node

    def _called(self, task: TaskFunction[Any], name: str) -> Node:
        if name not in self.dag.by_name:
            raise DefinitionError(
                f"task {name!r} was not called in this workflow, so nothing can be ordered by it; "
                f"call it first: {task.spec.name}(...)"
            )
        if self.dag.repeats.get(name, 1) > 1:
            raise _ambiguous(name, self.dag.repeats[name])
        return self.dag.by_name[name]

    @contextmanager
    def nested(self, name: str, *, declares: bool) -> Iterator[str]:
        """A group for the calls within: `inner`, `inner-2`, …, below the current group."""
        path = _full(self.group, name)
        count = self.groups[path] = self.groups.get(path, 0) + 1
        before = self.group, self.declares
        self.group = path if count == 1 else f"{path}-{count}"
        self.declares = declares
        try:
            yield self.group
        finally:
            self.group, self.declares = before


def _full(group: str, name: str) -> str:
    return f"{group}/{name}" if group else name


def _ambiguous(name: str, count: int) -> AmbiguousNameError:
    return AmbiguousNameError(
        f"{name!r} was called {count} times; use the handle that the call returned, "
        "or give each call a name with .options(name=…)"
    )


#: The builder of the workflow whose body runs in this context.
BUILDER: ContextVar[Builder | None] = ContextVar("flowforge_builder", default=None)


def active() -> Builder | None:
    """The builder that a call made here adds to; None: a call is a call."""
    builder = BUILDER.get()
    return builder if builder is not None and HERE.get() is builder.attempt else None


@contextmanager
def building(builder: Builder | None) -> Iterator[None]:
    """Make `builder` the active one; None: no workflow is built within."""
    token = BUILDER.set(builder)
    try:
        yield
    finally:
        BUILDER.reset(token)
