"""A look at one task run of a live run: its code, its inputs, its result.

Rule 1: a look changes nothing, not even what is kept decoded: it works on a copy of the results'
        list, so that it may come from any thread at any moment.
Rule 2: values are shown short, and revealed secrets are masked.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from engine.core.events import Attempt
from engine.core.machine import Machine
from engine.core.nodes import Node
from engine.core.record import NO_VALUE
from engine.errors import Skip
from engine.runtime.places import Place, find_place, place_of
from engine.runtime.values import Values
from engine.worker.class_tasks import ClassTask
from engine.worker.codec import ABSENT, BlobRef
from engine.worker.secrets import mask

#: Characters of a text, and of an object's repr, that are shown; and how many parts of a container.
SHOWN, PARTS = 500, 20


def preview(value: object) -> str:
    """A value in a line or so, secrets masked."""
    shower = reprlib.Repr()
    shower.maxstring = shower.maxother = SHOWN
    shower.maxlist = shower.maxtuple = shower.maxset = shower.maxdict = PARTS
    try:
        return mask(shower.repr(value))
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"


Show = Callable[[object], str]


class Look:
    """Facts about task runs, by id. Raises nothing for what cannot be had: it says so instead."""

    def __init__(
        self,
        machine: Machine,
        values: Values,
        *,
        read_blob: Callable[[BlobRef], bytes],
        reload: Callable[[], Sequence[Any]],
    ) -> None:
        self._machine = machine
        self._values = values
        self._read_blob = read_blob
        self._reload = reload

    def _node(self, tid: int) -> Node:
        return self._machine.graph.nodes[self._machine.node_of(tid)]

    def place(self, tid: int) -> Place | None:
        """Where its function is; None for a command, or where that is not known."""
        return find_place(*place_of(self._node(tid).spec))

    def inputs(self, tid: int, show: Show = preview) -> dict[str, str]:
        """Parameter → value as shown, as an attempt that began now would get them.

        Empty for an unexpanded or expanded map as a whole.
        """
        node = self._node(tid)
        if tid == node.index and node.mapped is not None:
            return {}
        index = tid - self._machine.base[node.index] if tid != node.index else -1
        try:
            args, kwargs = self._copy().arguments(Attempt(tid, node, index, 1, 1, None))
        except Skip as skipped:
            return {"when": f"({skipped})"}
        except Exception as error:
            return {"inputs": f"(cannot be shown: {error})"}
        return {name: show(value) for name, value in named(node, args, kwargs).items()}

    def output(self, tid: int, show: Show = preview) -> str:
        """Its result as shown; empty if there is none."""
        value = self._values.slots[tid]
        if value is NO_VALUE:
            return ""
        if value is ABSENT:
            return "(not kept: persist=False)"
        try:
            return show(self._copy().live(tid))
        except Exception as error:
            return f"(cannot be shown: {error})"

    def _copy(self) -> Values:
        reload = lru_cache(self._reload)  # once a look: a released map asks for each of its items
        copy = Values(self._machine.graph, self._machine, read_blob=self._read_blob, reload=reload)
        copy.slots, copy.errors = list(self._values.slots), dict(self._values.errors)
        return copy


def named(node: Node, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of the function's parameters."""
    fn: Any = node.spec.fn
    if isinstance(fn, ClassTask):
        fn = fn.cls.run
        args = (None, *args)
    try:
        bound = dict(inspect.signature(fn).bind_partial(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        return {**{f"argument {i + 1}": value for i, value in enumerate(args)}, **kwargs}
    if fn is not node.spec.fn:
        bound.pop(next(iter(bound)))
    return bound
