"""What of a workflow is not as it was: its nodes one by one, then what runs after them.

Rule 1: a node's reason is its own if there is one: its code, its arguments, its edges; else what
        changed above it is named.
Rule 2: a map's items are compared, not thrown away, where only what it is mapped over changed.
Rule 3: one pass in the order of dependencies; specs that many nodes share are compared once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.runtime.matching import NONE, order_of
from engine.runtime.outline import MapOutline
from engine.state.fingerprints import compare

if TYPE_CHECKING:
    from engine.runtime.plan import Plan

_COMPARED = "its items are compared with those before: "


class Changes:
    """Finds out what is stale: first what changed by itself, then what runs after it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.old, self.new, self.node_map = plan.old, plan.new, plan.node_map
        self.literals: dict[int, str] = {}
        """Maps over values known at build time which differ now."""
        self._spec_reasons: dict[tuple[int, int], list[str]] = {}
        self._root: dict[int, str] = {}
        """Stale or rematched node → the name of what changed first."""

    def find(self) -> None:
        """Fill `plan.stale` and `plan.rematch`."""
        plan, names = self.plan, self.new.names
        for i in order_of(self.new):
            if self.node_map[i] == NONE:
                self._root[i] = f"{names[i]}, which is new"
                continue
            mapped = self.new.maps.get(i)
            over = self._map_reason(i, mapped) if mapped is not None else ""
            if i in plan.reuse:
                if i in self.literals:
                    plan.rematch[i] = self.literals[i]
                continue
            reasons = self._own(i)
            if reasons:
                plan.stale[i] = "; ".join(reasons)
                self._root[i] = f"{names[i]}, which changed"
            else:
                self._after(i, mapped, over)

    def _own(self, i: int) -> list[str]:
        """What changed of the node itself, its producers apart."""
        old, new, j = self.old, self.new, self.node_map[i]
        pair = (old.spec_of[j], new.spec_of[i])
        known = self._spec_reasons.get(pair)
        if known is None:
            before, now = old.specs[pair[0]], new.specs[pair[1]]
            known = compare(dict(before.parts), dict(now.parts), now.name)
            self._spec_reasons[pair] = known
        reasons = known
        if old.digests[j] != new.digests[i]:
            reasons = [*reasons, "its arguments changed"]
        elif self._edges_differ(i, j):
            reasons = [*reasons, *self._edge_reasons(i, j)]
        return reasons

    def _edges_differ(self, i: int, j: int) -> bool:
        now = [self.node_map[u] for u in self.new.upstream_of(i)]
        return now != self.old.upstream_of(j).tolist()

    def _edge_reasons(self, i: int, j: int) -> Iterator[str]:
        """Edges that differ in what is read (a map's producers apart), or in what is awaited."""
        old, new = self.old, self.new
        above, before = new.upstream_of(i), old.upstream_of(j)
        needs = new.needs[i]
        mapped = new.maps.get(i)
        for u, was in zip(above[:needs], before[:old.needs[j]], strict=False):
            if self.node_map[u] != was and (mapped is None or not _is_producer(mapped, u)):
                yield f"it reads {new.names[u]} where it read {old.names[was]}"
        now = {self.node_map[u]: u for u in above[needs:]}
        then = {*before[old.needs[j]:]}
        yield from (f"it waits for {new.names[u]} now" for o, u in now.items() if o not in then)
        yield from (f"it no longer waits for {old.names[o]}" for o in then if o not in now)

    def _after(self, i: int, mapped: MapOutline | None, again: str) -> None:
        """Note a node that is the same itself, if something above it is not.

        `again`: why the items of a map are to be worked out again, as far as known by now.
        """
        plan, root = self.plan, ""
        for u in self.new.upstream_of(i):
            origin = self._root.get(u)
            if origin is None:
                continue
            root = root or origin
            if mapped is None or not self._spares(mapped, u):
                plan.stale[i] = f"runs after {origin}"
                self._root[i] = origin
                return
            again = again or f"is mapped over what {origin}, made"
        if again:
            plan.rematch[i] = _COMPARED + again
            self._root[i] = root or f"{self.new.names[i]}, whose items may have changed"

    def _map_reason(self, i: int, mapped: MapOutline) -> str:
        before = self.old.maps[self.node_map[i]]
        if mapped.literal != before.literal:
            why = "the values that it is mapped over changed"
            self.literals[i] = _COMPARED + why
            return why
        if mapped.key != before.key:
            return "they are named in another way"
        if self._edges_differ(i, self.node_map[i]):
            return "it is mapped over another task's result"
        return ""

    def _spares(self, mapped: MapOutline, u: int) -> bool:
        """True if a change of `u` leaves a map's items to be compared one by one."""
        if u in mapped.fixed or u not in mapped.over:
            return False
        return u not in mapped.sources or u in self.plan.rematch


def _is_producer(mapped: MapOutline, u: int) -> bool:
    """True if the map takes its items from `u`, but not one by one, and nothing else."""
    return u in mapped.over and u not in mapped.fixed and u not in mapped.sources
