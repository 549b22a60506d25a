"""What of a graph is stored with a run, so that it can be shown and compared without the code.

Rule 1: columns, not rows: a list or an array per fact, one entry a node. 100,000 nodes take
        a fraction of a second to describe and a few megabytes to store.
Rule 2: an argument template names the nodes it reads by their place among its upstream, not
        by name or index, so that a call put in above changes no digest below it.
Rule 3: what a map is over, where it is known at build time, has one digest as a whole; the
        items' own are worked out only when somebody compares them. So are those of calls with
        one number, the commonest in large graphs.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import accumulate, compress
from typing import Any, NamedTuple

from engine.core.graph import Graph, numbered
from engine.core.handles import Handle, handles_in
from engine.core.nodes import MapInfo, Node
from engine.core.tasks import TaskSpec
from engine.errors import StorageError
from engine.runtime.places import place_of
from engine.state.canonical import Canonical, code_name, digest, value_digest
from engine.state.fingerprints import Fingerprinter

#: Counts up when what is stored changes its meaning. 2: numbers for themselves, see `numeric`.
FORMAT = 2

#: Types whose `repr` says all, and the same in every version: digested by it, in a sixth of
#: the time that the general way takes.
_SPOKEN = frozenset({int, str, float, bool, type(None), bytes})

#: Half of the numbers of 64 bits, and all their bits.
_HALF, _ALL = 1 << 63, (1 << 64) - 1

#: Stands for the values of a literal map in its node's template: they have a digest apart.
_LITERAL = "\0literal"

Fingerprint = Callable[[TaskSpec], dict[str, str]]


class SpecOutline(NamedTuple):
    """A task as declared."""

    name: str
    kind: str
    persist: bool
    on_interrupt: str
    trigger_rule: str
    parts: Mapping[str, str]
    """Its fingerprint: part → digest."""
    file: str = ""
    """Where its function is; empty if that is not known."""
    line: int = 0
    function: str = ""
    """The function's own name, or the class's."""
    retries: int = 0
    timeout: float | None = None
    """Seconds that an attempt may take."""

    def to_data(self) -> list[Any]:
        """As plain data for msgpack."""
        return list(self._replace(parts=dict(self.parts)))


class MapOutline(NamedTuple):
    """How a mapped node gets its items."""

    over: tuple[int, ...]
    """The nodes whose results it is mapped over."""
    sources: tuple[int, ...]
    """Those of them that it follows item by item."""
    fixed: tuple[int, ...]
    """The nodes whose results all its items get alike, or whose value may skip it."""
    literal: bytes
    """Digest of the values known at build time; empty if there are none."""
    key: bool
    """The items have names of their own."""
    barrier: bool


class Outline:
    """The columns. Read-only once made."""

    __slots__ = (
        "_digests", "auto", "group_of", "groups", "maps", "name", "names", "needs", "numeric",
        "offsets", "spec_of", "specs", "upstream", "words",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        """The workflow's name."""
        self.names: list[str] = []
        self.groups: list[str] = []
        """Paths of nested workflows, `outer/inner`; the empty one is the top."""
        self.specs: list[SpecOutline] = []
        self.group_of = array("I")
        """Per node: index into `groups`."""
        self.spec_of = array("I")
        """Per node: index into `specs`."""
        self.auto = bytearray()
        """Per node: 1 if its name was made from the task's, 0 if it was given."""
        self.words = array("Q")
        """Per node: the digest of its argument template, or the number that it is."""
        self.numeric = bytearray()
        """Per node: 1 if its only argument is a whole number of 64 bits, kept as it is."""
        self._digests: array[int] | None = None
        self.upstream = array("I")
        """All nodes' upstream indexes in a row: those it reads, then those it only waits for."""
        self.offsets = array("I", [0])
        """Node i's upstream is `upstream[offsets[i]:offsets[i + 1]]`."""
        self.needs = array("I")
        """Per node: how many of its upstream it reads; the rest are order only."""
        self.maps: dict[int, MapOutline] = {}

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self.names)

    @property
    def digests(self) -> array[int]:
        """Per node: what stands for its argument template. Worked out when first asked for."""
        if self._digests is None:
            digests = self.words[:]
            for i in compress(range(self.size), self.numeric):
                word = digests[i]
                digests[i] = _spoken_word((word - 2 * _HALF if word >= _HALF else word,))
            self._digests = digests  # whole at once: several threads may ask
        return self._digests

    def upstream_of(self, i: int) -> array[int]:
        """The nodes that node `i` waits for: those it reads, then the others in order of index."""
        return self.upstream[self.offsets[i]:self.offsets[i + 1]]

    def spec(self, i: int) -> SpecOutline:
        """The task that node `i` is a call of."""
        return self.specs[self.spec_of[i]]

    @classmethod
    def of(cls, graph: Graph, *, fingerprints: Fingerprint | None = None) -> Outline:
        """Describe a graph. `fingerprints(spec)` gives a task's fingerprint."""
        return _Builder(graph, fingerprints).outline

    def same_as(self, other: Outline) -> bool:
        """True if both describe the same nodes, in the same order, with the same code."""
        return all(getattr(self, column) == getattr(other, column) for column in _TOLD)

    # -- storing ---------------------------------------------------------------------------

    def to_data(self) -> dict[str, Any]:
        """As plain data for msgpack."""
        return {
            "format": FORMAT,
            "name": self.name,
            "names": self.names,
            "groups": self.groups,
            "specs": [s.to_data() for s in self.specs],
            "auto": bytes(self.auto),
            "numeric": bytes(self.numeric),
            "maps": {i: [*map(list, m[:3]), *m[3:]] for i, m in self.maps.items()},
            **{name: _to_bytes(getattr(self, column)) for name, column in _ARRAYS.items()},
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Outline:
        """The outline stored as `data`. Raises StorageError if it is damaged or too new."""
        if data.get("format") not in (1, FORMAT):
            raise StorageError(
                f"the run's outline has format {data.get('format')!r}, and this FlowForge reads "
                f"{FORMAT}; use the version that wrote the run"
            )
        try:
            outline = cls(data["name"])
            outline._fill(data)
        except (KeyError, TypeError, ValueError, IndexError) as exc:
            raise StorageError(
                f"the run's outline is damaged ({type(exc).__name__}: {exc}); start the workflow "
                "anew with --fresh"
            ) from exc
        return outline

    def _fill(self, data: Mapping[str, Any]) -> None:
        self.names = list(data["names"])
        self.groups = list(data["groups"])
        self.specs = [SpecOutline(*s) for s in data["specs"]]
        self.auto = bytearray(data["auto"])
        self.numeric = bytearray(data["numeric"] if data["format"] > 1 else len(self.names))
        for name, column in _ARRAYS.items():
            _from_bytes(getattr(self, column), data[name])
        self.maps = {
            int(i): MapOutline(tuple(over), tuple(sources), tuple(fixed), *rest)
            for i, (over, sources, fixed, *rest) in data["maps"].items()
        }
        n = len(self.names)
        per_node = (
            self.spec_of, self.group_of, self.needs, self.auto, self.words, self.numeric)
        if any(len(column) != n for column in per_node) or (
            len(self.offsets), self.offsets[-1]) != (n + 1, len(self.upstream)):
            raise ValueError("columns of different lengths")
        limits = ((self.upstream, n), (self.spec_of, len(self.specs)),
                  (self.group_of, len(self.groups)))
        if any(len(column) and max(column) >= limit for column, limit in limits):
            raise ValueError("an index out of range")


#: What is stored as bytes: its name there, and the column.
_ARRAYS = {
    "group_of": "group_of", "spec_of": "spec_of", "upstream": "upstream", "offsets": "offsets",
    "needs": "needs", "digests": "words",
}

#: What two outlines are compared by.
_TOLD = (
    "auto", "digests", "group_of", "groups", "maps", "name", "names", "needs", "offsets", "spec_of",
    "specs", "upstream",
)


def _to_bytes(column: array[int]) -> bytes:
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return column.tobytes()


def _from_bytes(column: array[int], data: bytes) -> None:
    del column[:]
    column.frombytes(data)
    if sys.byteorder == "big":
        column.byteswap()


class _Builder:
    """Describes a graph: a column at a time where it can, a node at a time where it must."""

    def __init__(self, graph: Graph, fingerprints: Fingerprint | None) -> None:
        o = self.outline = Outline(graph.name)
        self._code = fingerprinter = Fingerprinter()
        self._fingerprint = fingerprints if fingerprints is not None else fingerprinter
        self._place: dict[int, int] = {}
        """Upstream node → its place among those that the node in hand reads."""
        self._canonical = Canonical(special=self._reference, code=self._code_mark)
        self._whole_results: list[int] = []
        nodes = graph.nodes
        o.names = graph.names
        o.groups, o.group_of = numbered([node.group for node in nodes])
        o.specs, o.spec_of = [self._spec(spec) for spec in graph.specs], graph.spec_of
        o.auto = bytearray(b"\1") * len(nodes)
        for i in graph.given:
            o.auto[i] = _is_auto(nodes[i])
        o.offsets = array("I", accumulate([len(node.upstream) for node in nodes], initial=0))
        self._arguments(graph)

    def _spec(self, spec: TaskSpec) -> SpecOutline:
        o = spec.options
        return SpecOutline(
            spec.name, spec.kind, o.persist, o.on_interrupt, o.trigger_rule,
            self._fingerprint(spec), *place_of(spec), o.retry.retries, o.timeout,
        )

    def _arguments(self, graph: Graph) -> None:
        """Per node: what it waits for, how much of that it reads, and what it is given.

        Calls with whole results, one number or plain values are nearly all of a large graph, and
        take a third of what the others do.
        """
        o, words = self.outline, self.outline.words
        o.numeric = bytearray(graph.size)
        for i, node in enumerate(graph.nodes):
            args, upstream, reads = node.args, node.upstream, 0
            if args and node.refs is args:
                reads = len(args)
                o.upstream.extend(upstream)
                words.append(self._whole_results_word(reads))
            elif node.kwargs or node.mapped is not None or node.when is not None:
                reads = self._edges(node)
                words.append(self._template(node))
            elif len(args) == 1 and type(args[0]) is int and -_HALF <= args[0] < _HALF:
                reads = self._edges(node) if upstream else 0
                words.append(args[0] & _ALL)
                o.numeric[i] = 1
            elif args and not upstream and _SPOKEN.issuperset(map(type, args)):
                words.append(_spoken_word(args))
            else:
                reads = self._edges(node)
                words.append(self._positional(node, reads))
            o.needs.append(reads)

    def _edges(self, node: Node) -> int:
        """Note the upstream; returns how many of it are read."""
        o, upstream = self.outline, node.upstream
        place = self._place = {}
        for ref in node.refs:
            place.setdefault(ref.node.index, len(place))
        o.upstream.extend(place)
        o.upstream.extend(sorted(u for u in upstream if u not in place))
        return len(place)

    # -- argument templates --------------------------------------------------------------------

    def _positional(self, node: Node, reads: int) -> int:
        """Where all that a node is given is given by position."""
        args = node.args
        if len(node.refs) == reads and _are_whole_results(args, self._place):
            return self._whole_results_word(reads)
        if _SPOKEN.issuperset(map(type, args)):
            return _spoken_word(args)
        return self._template(node)

    def _whole_results_word(self, count: int) -> int:
        known = self._whole_results
        while len(known) <= count:
            # Their places are 0, 1, 2, … whatever nodes they are.
            known.append(_word(b"handles %d" % len(known)))
        return known[count]

    def _template(self, node: Node) -> int:
        template: list[Any] = [list(node.args)]
        if node.kwargs:
            template.append(sorted(node.kwargs.items()))
        if node.when is not None:
            template.append(["when", node.when])
        if node.mapped is not None:
            template.append(self._map(node, node.mapped))
        return _word(self._canonical.bytes(template))

    def _map(self, node: Node, info: MapInfo) -> Any:
        over: dict[int, None] = {}
        shape: list[Any] = []
        literals: list[Any] = []
        for argument, values in info.over.items():
            inside = handles_in(values)
            if inside:
                over.update(dict.fromkeys(h.node.index for h in inside))
            if type(values) is Handle:
                shape.append([argument, values])
            else:
                shape.append([argument, _LITERAL])
                literals.append(values)
        fixed = dict.fromkeys(
            h.node.index for h in handles_in((node.args, node.kwargs, node.when)))
        self.outline.maps[node.index] = MapOutline(
            tuple(over), tuple(info.sources), tuple(fixed),
            digest(self._canonical.bytes(literals)) if literals else b"",
            info.key is not None, info.barrier,
        )
        return shape

    def _reference(self, value: Any) -> bytes | None:
        """A handle inside an argument, by its node's place and its path."""
        if type(value) is not Handle:
            return None
        place = self._place[value.node.index]
        if not value.path:
            return b"%d" % place
        path = b" ".join(kind.encode() + value_digest(key) for kind, key in value.path)
        return b"%d %b" % (place, path)

    def _code_mark(self, thing: Any) -> bytes:
        """A function among the arguments: by what its code says. A class: by name."""
        if not hasattr(thing, "__code__"):
            return code_name(thing)
        parts = self._code.of_code(thing)
        return value_digest(sorted(parts.items()))


def _are_whole_results(args: tuple[Any, ...], nodes: Collection[int]) -> bool:
    """True if the arguments are the whole results of just these nodes, in this order."""
    return len(args) == len(nodes) and [*nodes] == [
        a.node.index for a in args if type(a) is Handle and not a.path]


def _word(data: bytes) -> int:
    return int.from_bytes(digest(data), "little")


def _spoken_word(args: tuple[Any, ...]) -> int:
    return _word(repr(args).encode())


def _is_auto(node: Node) -> bool:
    name, stem = node.name, node.spec.name
    if node.group:
        name = name[len(node.group) + 1:]
    if name == stem:
        return True
    head, _, number = name.rpartition("-")
    return head == stem and number.isdecimal()


def item_digests(values: Iterable[Any]) -> list[bytes]:
    """Eight bytes for each item of a map, to recognise it by when the map is expanded again."""
    canonical = Canonical().bytes
    return [digest(canonical(value)) for value in values]
