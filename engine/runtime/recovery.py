"""What a resume must do over before it can go on: results that are needed and not there.

Results are missing that were not persisted, whose blob is gone or damaged, or whose journal
row is. Only what an unfinished consumer needs is computed again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from engine.core.dag import Graph
from engine.core.machine import Machine
from engine.core.record import RunRecord
from engine.core.states import IS_GOOD, IS_TERMINAL


def lost_results(
    graph: Graph,
    machine: Machine,
    record: RunRecord,
    needed_at_end: set[int],
    there: Callable[[int], bool],
) -> list[int]:
    """Ids to run again: successes whose result is needed and not there, and expanded maps
    over such results, whose items are then matched with the old ones.

    `there(tid)` tells whether a success's result can be had. `needed_at_end`: nodes whose
    results the run returns.
    """
    again: dict[int, None] = {}
    todo = deque(
        k for k in range(graph.size)
        if not IS_TERMINAL[machine.state[k]] or (machine.base[k] >= 0 and machine_open(machine, k))
    )
    seen = set(todo)
    for k in needed_at_end:
        _check(k, machine, record, there, again, todo, seen)
    while todo:
        k = todo.popleft()
        node = graph.nodes[k]
        sources = node.mapped.sources if node.mapped is not None else ()
        for u in node.upstream:
            lost = _check(u, machine, record, there, again, todo, seen)
            if lost and u not in sources and machine.base[k] >= 0:
                again[k] = None  # its items come from what is lost: made anew, and matched
    return list(again)


def machine_open(machine: Machine, k: int) -> bool:
    """True if some item of an expanded map has not ended."""
    base, count = machine.base[k], machine.count[k]
    return any(not IS_TERMINAL[s] for s in machine.state[base:base + count])


def _check(
    u: int,
    machine: Machine,
    record: RunRecord,
    there: Callable[[int], bool],
    again: dict[int, None],
    todo: deque[int],
    seen: set[int],
) -> bool:
    base, count = machine.base[u], machine.count[u]
    ids = range(base, base + count) if base >= 0 else (u,)
    lost = [t for t in ids if IS_GOOD[machine.state[t]] and not there(t)]
    for t in lost:
        again[t] = None
    if lost and u not in seen:
        seen.add(u)
        todo.append(u)
    return bool(lost)
