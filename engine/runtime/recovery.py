"""What a resume must do over before it can go on: results that are needed and not there.

Results are missing that were not persisted, whose blob is gone or damaged, or whose journal
row is. Only what an unfinished consumer needs is computed again; of a map that is followed
item by item, only the items whose followers have not ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from engine.core.graph import Graph
from engine.core.handles import handles_in
from engine.core.machine import Machine
from engine.core.nodes import Node
from engine.core.states import IS_GOOD, IS_TERMINAL


def lost_results(
    graph: Graph,
    machine: Machine,
    needed_at_end: Iterable[int],
    there: Callable[[int], bool],
) -> list[int]:
    """Ids to run again: successes whose result is needed and not there, and expanded maps
    over such results, whose items are then matched with the old ones.

    `there(tid)` tells whether a success's result can be had. `needed_at_end`: nodes whose
    results the run returns.
    """
    search = _Search(graph, machine, there)
    search.astray()
    for k in needed_at_end:
        search.need(k, search.ids(k))
    search.todo.extend(k for k in range(graph.size) if machine.takes_part(k) and search.is_open(k))
    search.work_off()
    return list(search.again)


class _Search:
    """Goes up from what will run to what that needs."""

    def __init__(self, graph: Graph, machine: Machine, there: Callable[[int], bool]) -> None:
        self._graph = graph
        self._machine = machine
        self._there = there
        self._known: dict[int, bool] = {}
        self.again: dict[int, None] = {}
        self.todo: deque[int] = deque()

    def work_off(self) -> None:
        """Look at the inputs of what will run, until nothing more turns up."""
        while self.todo:
            self._inputs(self.todo.popleft())

    def astray(self) -> None:
        """Note the maps that follow items which are not there: the row that told them is lost."""
        base, count = self._machine.base, self._machine.count
        for k, node in enumerate(self._graph.nodes):
            if node.mapped is not None and base[k] >= 0 and any(
                    base[s] < 0 or count[s] != count[k] for s in node.mapped.sources):
                self._make_anew(k)

    def ids(self, k: int) -> Sequence[int]:
        """The task runs of a node."""
        base = self._machine.base[k]
        return (k,) if base < 0 else range(base, base + self._machine.count[k])

    def is_open(self, k: int) -> bool:
        """True if some task run of the node has not ended."""
        state = self._machine.state
        return any(not IS_TERMINAL[state[t]] for t in self.ids(k))

    def need(self, u: int, ids: Iterable[int]) -> bool:
        """Note which results of node `u` are lost; False if none of these is."""
        found = [t for t in ids if self._is_lost(t)]
        if any(t not in self.again for t in found):
            self.again.update(dict.fromkeys(found))
            self.todo.append(u)
        return bool(found)

    def _is_lost(self, tid: int) -> bool:
        if not IS_GOOD[self._machine.state[tid]]:
            return False
        known = self._known.get(tid)
        if known is None:
            known = self._known[tid] = not self._there(tid)
        return known

    def _inputs(self, k: int) -> None:
        node, base = self._graph.nodes[k], self._machine.base
        sources = node.mapped.sources if node.mapped is not None else ()
        for u in node.upstream:
            if u in sources and base[k] >= 0 and k not in self.again:
                self.need(u, [base[u] + i for i in self._to_run(k)])
            elif self.need(u, self.ids(u)) and base[k] >= 0 and u in _spread_over(node):
                self._make_anew(k)

    def _to_run(self, k: int) -> Iterable[int]:
        """The indexes of a map's items that will run."""
        state = self._machine.state
        for i, tid in enumerate(self.ids(k)):
            if not IS_TERMINAL[state[tid]] or tid in self.again:
                yield i

    def _make_anew(self, k: int) -> None:
        """The items of `k` come from what is lost; and those that follow them, from them."""
        todo = [k]
        while todo:
            k = todo.pop()
            if k not in self.again:
                self.again[k] = None
                self.todo.append(k)
                todo += [c for c in self._graph.item_children.get(k, ())
                         if self._machine.base[c] >= 0]


def _spread_over(node: Node) -> set[int]:
    """The nodes that a map takes its items from, those apart that it follows item by item."""
    info = node.mapped
    if info is None:
        return set()
    return {h.node.index for h in handles_in(info.over)} - {*info.sources}
