"""Results in memory, and arguments made from them.

Rule 1: a result is kept as it came: the live object from a thread, `Encoded` from another
        process, a `BlobRef` if it is large. It is decoded where a live value is needed.
Rule 2: results are let go once every consumer has ended; what is asked for after that (a
        retry by hand) is read back from the journal.
Rule 3: no lock. A slot is written in the step that queues its consumers, before any of them is
        handed out, and read by them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from engine.core.events import Attempt, ErrorInfo
from engine.core.graph import Graph
from engine.core.handles import PLAIN, Handle, Missing, Quote, handles_in, substitute
from engine.core.machine import Machine
from engine.core.nodes import NO_KWARGS, MapInfo, Node
from engine.core.record import NO_VALUE
from engine.core.states import IS_GOOD, TaskState
from engine.errors import DefinitionError, Skip
from engine.worker.codec import ABSENT, SCALARS, BlobRef, Encoded, decode, encode
from engine.worker.secrets import mask

RELEASED: Any = type("Released", (), {"__repr__": lambda s: "RELEASED", "__slots__": ()})()
"""Stands in `slots` where a result was let go."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Fetch = Callable[[int], Any]

#: Stored forms that are not the value itself.
_WRAPPED = frozenset({Encoded, BlobRef, type(RELEASED), type(NO_VALUE), type(ABSENT)})


class Values:
    """The results of one run's task runs, by id."""

    def __init__(
        self,
        graph: Graph,
        machine: Machine,
        *,
        read_blob: Callable[[BlobRef], bytes],
        reload: Callable[[], Sequence[Any]],
    ) -> None:
        self.graph = graph
        self.machine = machine
        self.slots: list[Any] = [NO_VALUE] * graph.size
        self.errors: dict[int, tuple[str, ErrorInfo]] = {}
        """(reason, error) of task runs that failed, for `Missing`."""
        self._read_blob = read_blob
        self._reload = reload
        self._items: dict[int, dict[str | int, Any]] = {}
        """Mapped node → argument → its values, or the node that is followed item by item."""
        self._simple: dict[int, Sequence[Any]] = {}
        """Of maps over one argument at hand, and nothing else: its values."""
        self._live: dict[int, Any] = {}
        """Decoded forms of results that several consumers need."""
        self._forgotten = 0
        """How many results were given up since their task runs started over."""
        self._read: tuple[int, Sequence[Any]] | None = None
        self._needed = list(map(len, graph.children))
        """Per node: how many others still wait for it."""
        for u, below in graph.item_children.items():
            self._needed[u] += len(below)

    @cached_property
    def kept(self) -> set[int]:
        """Nodes whose results the run returns: they are not let go."""
        if self.graph.result is None:
            return {node.index for node in self.graph.leaves()}
        return {h.node.index for h in handles_in(self.graph.result)}

    # -- reading ------------------------------------------------------------------------------

    def live(self, tid: int) -> Any:
        """The result of a task run as a live value; `Missing` where it made none."""
        value = self.slots[tid]
        if type(value) not in _WRAPPED:
            return value
        if tid in self._live:
            return self._live[tid]
        stored = self.stored(tid)
        if type(stored) is Encoded:
            stored = self._live[tid] = decode(stored)
        return stored

    def stored(self, tid: int) -> Any:
        """The result as it is kept, for another process: live, scalar or `Encoded`."""
        value = self.slots[tid]
        if value is RELEASED or (value is NO_VALUE and IS_GOOD[self.machine.state[tid]]):
            value = self.slots[tid] = self._read_back(tid)
        if type(value) is BlobRef:
            return Encoded(self._read_blob(value))
        if value is NO_VALUE or value is ABSENT:
            return self._missing(tid)
        return value

    def _read_back(self, tid: int) -> Any:
        """A result that was let go, from the journal.

        What was read is kept until the next result is let go: a consumer of a map asks for each
        of its items in turn, and reading takes 0.1 s for 100,000.
        """
        found = self._read
        if found is None or found[0] != self._forgotten or tid >= len(found[1]) \
                or found[1][tid] is NO_VALUE:
            forgotten = self._forgotten  # before it is read: what starts over meanwhile counts
            found = self._read = (forgotten, self._reload())
        return found[1][tid]

    def _missing(self, tid: int) -> Missing:
        reason, error = self.errors.get(tid, ("", None))
        state = TaskState(self.machine.state[tid])
        return Missing(state.name, reason, str(error) if error is not None else "")

    def of_node(self, k: int, one: Fetch) -> Any:
        """A node's result: one value, or the list of its items' values in order."""
        if self.graph.nodes[k].mapped is None:
            return one(k)
        base, count = self.machine.base[k], self.machine.count[k]
        if base < 0:
            return one(k)
        cut = self.slots[base:base + count]
        if _WRAPPED.isdisjoint(map(type, cut)):
            return cut
        return [one(t) for t in range(base, base + count)]

    def of_handle(self, handle: Handle, one: Fetch) -> Any:
        """What a handle selects from its node's result."""
        value = self.of_node(handle.node.index, self.live if handle.path else one)
        return handle.select(value) if handle.path else value

    def resolve(self, template: Any) -> Any:
        """A structure with its handles replaced by live values."""
        return substitute(template, self._found)

    def _found(self, handle: Handle) -> Any:
        node = handle.node
        if node.mapped is None and not handle.path:
            value = self.slots[node.index]
            if type(value) not in _WRAPPED:
                return value
        return self.of_handle(handle, self.live)

    # -- arguments ---------------------------------------------------------------------------------

    def arguments(self, a: Attempt, one: Fetch | None = None) -> Arguments:
        """The arguments of an attempt. Raises Skip if its `when` is false."""
        node, index = a.node, a.index
        if one is None:  # nearly all are of these kinds
            if index >= 0:
                items = self._simple.get(node.index)
                if items is not None:
                    return (items[index],), NO_KWARGS
            elif not node.refs:
                if node.when is None and not Quote.made:
                    return node.args, node.kwargs
            elif node.refs is node.args:  # whole results, as many as there are above
                slots, found = self.slots, []
                for u in node.upstream:
                    value = slots[u]
                    if type(value) in _WRAPPED:
                        value = self.live(u)
                    found.append(value)
                return tuple(found), NO_KWARGS
        one = one or self.live
        if node.when is not None and not self.resolve(node.when):
            raise Skip(_why_skipped(node.when))
        args, kwargs = node.args, node.kwargs
        if node.refs or Quote.made:
            args, kwargs = self._fill(node, one)
        if index >= 0:
            return self._with_item(node, index, args, kwargs, one)
        return args, kwargs

    def _fill(self, node: Node, one: Fetch) -> Arguments:
        args = tuple([self._look(x, one) for x in node.args])
        if node.kwargs:
            return args, {k: self._look(v, one) for k, v in node.kwargs.items()}
        return args, NO_KWARGS

    def _look(self, x: Any, one: Fetch) -> Any:
        """An argument with its handles replaced."""
        t = type(x)
        if t is Handle:
            node = x.node
            if node.mapped is None and not x.path:
                value = self.slots[node.index]
                return value if type(value) not in _WRAPPED else one(node.index)
            return self.of_handle(x, one)
        return x if t in PLAIN else substitute(x, lambda h: self.of_handle(h, one))

    def _with_item(
        self, node: Node, index: int, args: tuple[Any, ...], kwargs: dict[str, Any], one: Fetch
    ) -> Arguments:
        items = self._items.get(node.index)
        if items is None:
            items = self._items[node.index] = self._spread(node)
        if not args and not kwargs and len(items) == 1:
            ((where, source),) = items.items()
            value = self._item(source, index, one)
            return ((value,), {}) if where == 0 else _placed(args, kwargs, {where: value})
        return _placed(args, kwargs, {w: self._item(s, index, one) for w, s in items.items()})

    def _item(self, source: Any, index: int, one: Fetch) -> Any:
        if type(source) is Node:
            return one(self.machine.base[source.index] + index)
        return source[index]

    # -- maps --------------------------------------------------------------------------------------

    def expansion(self, k: int) -> tuple[int, Sequence[str] | None, Sequence[Any] | None]:
        """(number of items, their names, marks of their values) of mapped node k.

        Raises DefinitionError if what it maps over is no collection, or of unequal lengths;
        and whatever the key function raises.
        """
        node = self.graph.nodes[k]
        info = node.mapped
        assert info is not None
        items = self._items[k] = self._spread(node)
        if not node.args and not node.kwargs and node.when is None and list(items) == [0] \
                and type(items[0]) is not Node:
            self._simple[k] = items[0]
        lengths = {
            where: self.machine.count[s.index] if type(s) is Node else len(s)
            for where, s in items.items()
        }
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{_place(w)}: {n}" for w, n in lengths.items())
            raise DefinitionError(
                f"{node.name!r} maps over collections of unequal lengths ({told}); "
                "they are zipped and must be of one length"
            )
        count = next(iter(lengths.values()), 0)
        return count, self._keys(node, info, items, count), _marks(items)

    def _spread(self, node: Node) -> dict[str | int, Any]:
        """What each mapped argument runs over: a sequence, or the node that is followed."""
        info = node.mapped
        assert info is not None
        out: dict[str | int, Any] = {}
        for where, over in info.over.items():
            if type(over) is Handle and over.node.index in info.sources:
                out[where] = over.node
            else:
                out[where] = _collection(node, where, self.resolve(over))
        return out

    def _keys(
        self, node: Node, info: MapInfo, items: dict[str | int, Any], count: int
    ) -> Sequence[str] | None:
        followed = [s for s in items.values() if type(s) is Node]
        if info.key is None:
            return self.machine.keys.get(followed[0].index) if followed else None
        if followed:
            raise DefinitionError(
                f"{node.name!r} follows {followed[0].name!r} item by item and takes its names; "
                "put key= on that map, or add barrier=True"
            )
        keys = [mask(str(info.key(*(s[i] for s in items.values())))) for i in range(count)]
        if len(set(keys)) < count:
            double = next(k for k in keys if keys.count(k) > 1)
            raise DefinitionError(
                f"two items of {node.name!r} have the key {double!r}; keys must tell items apart"
            )
        return keys

    # -- writing ----------------------------------------------------------------------------------

    def grow(self, upto: int) -> None:
        """Make room for ids below `upto`."""
        self.slots.extend([NO_VALUE] * (upto - len(self.slots)))

    def forget(self, tid: int) -> None:
        """A task run starts over."""
        self._forgotten += 1
        self.slots[tid] = NO_VALUE
        self._live.pop(tid, None)
        self.errors.pop(tid, None)
        self._items.pop(tid, None)
        self._simple.pop(tid, None)

    def renew(self, graph: Graph) -> None:
        """Take over a graph of the same shape, with other code.

        Live objects of the user's classes are let go, to be rebuilt on the classes as they are
        now; what is in memory alone stays as it is.
        """
        self.graph = graph
        for column in (self._items, self._simple, self._live):
            column.clear()
        slots, node_of = self.slots, self.machine.node_of
        for tid, value in enumerate(slots):
            t = type(value)
            if t not in SCALARS and t not in _WRAPPED \
                    and graph.nodes[node_of(tid)].spec.options.persist:
                slots[tid] = RELEASED

    def ended(self, nodes: Iterable[int]) -> None:
        """These nodes have ended: let go of results above them that nobody else waits for."""
        needed, graph, slots = self._needed, self.graph.nodes, self.slots
        for k in nodes:
            for u in graph[k].upstream:
                left = needed[u] = needed[u] - 1
                if not left and (
                    type(slots[u]) not in SCALARS or graph[u].mapped is not None
                ) and u not in self.kept:
                    self._release(u)

    def recount(self) -> None:
        """Derive anew how many consumers each result waits for, after a reset."""
        state = self.machine.state
        self._needed = [0] * self.graph.size
        for node in self.graph.nodes:
            if not IS_GOOD[state[node.index]]:
                for u in node.upstream:
                    self._needed[u] += 1

    def _release(self, u: int) -> None:
        self._read = None
        base, count = self.machine.base[u], self.machine.count[u]
        self._live.pop(u, None)
        self._items.pop(u, None)
        self._simple.pop(u, None)
        if base < 0:
            if type(self.slots[u]) not in SCALARS and self.slots[u] is not NO_VALUE:
                self.slots[u] = RELEASED
            return
        for tid in range(base, base + count):
            if type(self.slots[tid]) not in SCALARS and self.slots[tid] is not NO_VALUE:
                self.slots[tid] = RELEASED
                self._live.pop(tid, None)


def _placed(
    args: tuple[Any, ...], kwargs: dict[str, Any], items: dict[str | int, Any]
) -> Arguments:
    """Put the items of one mapped call where they belong: by position or by name."""
    named = {w: v for w, v in items.items() if isinstance(w, str)}
    placed = {w: v for w, v in items.items() if isinstance(w, int)}
    if placed:
        total = len(args) + len(placed)
        rest = iter(args)
        args = tuple(placed[i] if i in placed else next(rest) for i in range(total))
    return args, {**kwargs, **named} if named else kwargs


def _place(where: str | int) -> str:
    return f"argument {where + 1}" if isinstance(where, int) else where


def _why_skipped(when: Any) -> str:
    names = ", ".join(h.node.name for h in handles_in(when))
    return f"its condition is false ({names})" if names else "its condition is false"


def _collection(node: Node, where: str | int, value: Any) -> Sequence[Any]:
    """The values to map over as a sequence; a dict gives its items, an iterable is listed."""
    if isinstance(value, (list, tuple, range)):
        return value
    if isinstance(value, Missing):
        raise DefinitionError(f"{node.name!r} has nothing to map over: {value!r}")
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise DefinitionError(
            f"{node.name!r} maps over {_place(where)}, which is a {type(value).__name__}, "
            "not a collection; return a list from the task above, or pass it with .partial()"
        )
    return list(value)


def _marks(items: dict[str | int, Any]) -> Sequence[Any] | None:
    """What identifies the items' values, those apart that follow another map's items.

    None where there are no others.
    """
    sources = [s for s in items.values() if type(s) is not Node]
    if not sources:
        return None
    if len(sources) == 1:
        values = sources[0]
        if isinstance(values, range):
            return values
        return [v if type(v) in SCALARS else mark_of(v) for v in values]
    return [mark_of(row) for row in zip(*sources, strict=True)]


def mark_of(value: Any) -> bytes:
    """A digest of a value; equal values of one type have equal marks."""
    from hashlib import blake2b

    try:
        data = encode(value)
    except Exception:
        data = repr(type(value)).encode()
    return blake2b(data, digest_size=16).digest()
