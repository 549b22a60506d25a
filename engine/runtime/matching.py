"""Which node of a changed workflow is which node of the run as it was recorded.

Rule 1: an explicit name decides. Else the same function called with the same arguments on
        the same inputs, all the way up. Else the order of the calls of one function.
Rule 2: a function that was renamed, its code untouched, is known again by its code; but then
        only with the same arguments.
Rule 3: a node is matched once, and a mapped node never with a plain one.
Rule 4: linear in nodes and edges, and no recursion.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence

from engine.runtime.outline import Outline

NONE = -1
"""In a node map: no old node."""


def match(old: Outline, new: Outline) -> list[int]:
    """New node → old node, or `NONE`."""
    if old.same_as(new):
        return list(range(new.size))
    return _Matching(old, new).node_map


def order_of(outline: Outline) -> Sequence[int]:
    """Every node after all that it waits for."""
    if _is_in_order(outline):
        return range(outline.size)
    below = children_of(outline)
    waits = [outline.offsets[i + 1] - outline.offsets[i] for i in range(outline.size)]
    order = [i for i, count in enumerate(waits) if not count]
    for i in order:
        for c in below[i]:
            waits[c] -= 1
            if not waits[c]:
                order.append(c)
    return order


def _is_in_order(outline: Outline) -> bool:
    """True if nodes wait only for nodes defined before them, as a workflow function's do."""
    at = 0
    for i, end in enumerate(outline.offsets[1:]):
        while at < end:
            if outline.upstream[at] >= i:
                return False
            at += 1
    return True


def children_of(outline: Outline) -> list[list[int]]:
    """Per node: the nodes that wait for it."""
    below: list[list[int]] = [[] for _ in range(outline.size)]
    offsets, upstream = outline.offsets, outline.upstream
    for i in range(outline.size):
        for u in upstream[offsets[i]:offsets[i + 1]]:
            below[u].append(i)
    return below


class _Matching:
    """One pass per rule; what an earlier one matched, a later one leaves alone."""

    def __init__(self, old: Outline, new: Outline) -> None:
        self.old, self.new = old, new
        self.node_map = [NONE] * new.size
        self.taken = bytearray(old.size)
        if not (all(old.auto) or all(new.auto)):
            self._by(lambda o, i: None if o.auto[i] else (o.names[i], i in o.maps))
        self._exactly()
        self._by(lambda o, i: (o.names[i], *_call(o, i), o.digests[i]))
        self._by(lambda o, i: (*_call(o, i), o.digests[i]))
        self._by(_call)

    def _by(self, key: Callable[[Outline, int], Hashable]) -> None:
        """Match what is left and has the same key, in order of definition."""
        left = [i for i, j in enumerate(self.node_map) if j == NONE]
        if not left or all(self.taken):
            return
        waiting = _Waiting(
            (key(self.old, j), j) for j in range(self.old.size) if not self.taken[j]
        )
        for i in left:
            self._take(i, waiting.next(key(self.new, i)))

    def _exactly(self) -> None:
        """Match by function, arguments, and the very same inputs, from the top down."""
        old, new, node_map = self.old, self.new, self.node_map
        old_heads, new_heads = _heads(old, {}), _heads(new, _renamed(old, new))
        waiting = _Waiting(
            (_exact_key(old, j, old_heads, old.upstream_of(j)), j)
            for j in range(old.size) if not self.taken[j]
        )
        for i in order_of(new):
            if node_map[i] != NONE:
                continue
            above = [node_map[u] for u in new.upstream_of(i)]
            if NONE not in above:
                self._take(i, waiting.next(_exact_key(new, i, new_heads, above)))

    def _take(self, i: int, j: int) -> None:
        if j != NONE:
            self.node_map[i] = j
            self.taken[j] = 1


class _Waiting:
    """Old nodes by key, each handed out once, in order."""

    def __init__(self, pairs: Iterable[tuple[Hashable, int]]) -> None:
        self._queues: dict[Hashable, deque[int]] = {}
        for key, j in pairs:
            if key is not None:
                self._queues.setdefault(key, deque()).append(j)

    def next(self, key: Hashable) -> int:
        """The next one with that key, or `NONE`."""
        queue = self._queues.get(key)
        return queue.popleft() if queue else NONE


def _call(outline: Outline, i: int) -> tuple[str, str, bool]:
    """What makes two nodes calls of one function: the group, its name, mapped or not."""
    return outline.groups[outline.group_of[i]], outline.spec(i).name, i in outline.maps


def _heads(outline: Outline, renamed: dict[str, str]) -> list[tuple[str, str, bool]]:
    """Per node `_call`, with the old names of functions that were renamed."""
    made: dict[tuple[int, int, bool], tuple[str, str, bool]] = {}
    heads = []
    for i, kind in enumerate(zip(outline.spec_of, outline.group_of, strict=True)):
        mapped = i in outline.maps
        head = made.get((*kind, mapped))
        if head is None:
            group, name, _ = _call(outline, i)
            head = made[(*kind, mapped)] = (group, renamed.get(name, name), mapped)
        heads.append(head)
    return heads


def _exact_key(
    outline: Outline, i: int, heads: list[tuple[str, str, bool]], above: Sequence[int]
) -> Hashable:
    """`above`: the old nodes that it waits for, in the order of the outline's columns."""
    needs = outline.needs[i]
    if needs == len(above):
        return heads[i], outline.digests[i], tuple(above)
    return heads[i], outline.digests[i], (*above[:needs], NONE, *sorted(above[needs:]))


def _renamed(old: Outline, new: Outline) -> dict[str, str]:
    """New task name → old one, where only one of each is new or gone and has that code."""
    gone = _by_code(old, {s.name for s in new.specs})
    came = _by_code(new, {s.name for s in old.specs})
    return {
        next(iter(names)): next(iter(gone[code]))
        for code, names in came.items()
        if len(names) == 1 and len(gone.get(code, ())) == 1
    }


def _by_code(outline: Outline, known: Iterable[str]) -> dict[Hashable, set[str]]:
    names: dict[Hashable, set[str]] = {}
    for spec in outline.specs:
        if spec.name not in known:
            names.setdefault((spec.kind, *sorted(spec.parts.items())), set()).add(spec.name)
    return names


def new_index_of(node_map: Iterable[int], size: int) -> array[int]:
    """The other way round: old node → new node, or `NONE`."""
    back = array("q", [NONE]) * size
    for i, j in enumerate(node_map):
        if j != NONE:
            back[j] = i
    return back
