"""What `retry` and `rerun` by name would run again, told from a run's record alone.

The same closure as `Machine.downstream` makes, over the stored outline: no code is loaded, so
it answers for a run that another process owns as well as for one long ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from engine.core.record import RunRecord
from engine.core.states import CANCELLED, FAILED, IS_TERMINAL, SKIPPED, SUCCESS, TaskState
from engine.errors import RunError
from engine.runtime.matching import children_of
from engine.runtime.names import Names
from engine.runtime.outline import Outline

_ACCEPTS = {"retry": (FAILED, CANCELLED), "rerun": (SUCCESS, FAILED, CANCELLED, SKIPPED)}


def asked_for(
    outline: Outline, record: RunRecord, command: str, tasks: Sequence[str]
) -> dict[int, str]:
    """Ids of the task runs that the command runs again → why, those named first.

    Raises RunError for a name that is none, and if there is nothing to run again.
    """
    names = Names(outline.names, record.expansion)
    named = [t for task in tasks for tid in names.find(task) for t in _items(record, tid)]
    roots = [t for t in named if record.state[t] in _ACCEPTS[command]]
    if not roots:
        told = ", ".join(_told(names, record, t) for t in named[:5])
        raise RunError(f"nothing to {command}: {told}")
    found = dict.fromkeys(roots, f"{command} was asked for")
    todo = deque((t, names.of(t, record.node_of(t))) for t in roots)
    below = children_of(outline)
    while todo:
        tid, root = todo.popleft()
        for child in _children(outline, record, below, tid):
            if child not in found and IS_TERMINAL[record.state[child]]:
                found[child] = f"runs after {root}, which runs again"
                todo.append((child, root))
    return found


def _items(record: RunRecord, tid: int) -> Sequence[int]:
    """The task runs that an id stands for: of an expanded map, its items."""
    spread = record.expansion(tid) if tid < record.size else None
    return (tid,) if spread is None else range(spread[0], spread[0] + spread[1])


def _children(
    outline: Outline, record: RunRecord, below: list[list[int]], tid: int
) -> Iterator[int]:
    k = record.node_of(tid)
    spread = record.expansion(k)
    for c in below[k]:
        mapped, theirs = outline.maps.get(c), record.expansion(c)
        by_item = mapped is not None and k in mapped.sources and tid != k
        if by_item and spread is not None and theirs is not None:
            yield theirs[0] + tid - spread[0]
        else:
            yield from _items(record, c)


def _told(names: Names, record: RunRecord, tid: int) -> str:
    return f"{names.of(tid, record.node_of(tid))} is {TaskState(record.state[tid]).name}"
