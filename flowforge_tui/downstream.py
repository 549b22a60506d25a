"""Which task runs a rerun takes along, as far as the screen knows the run. Pure.

Rule: the same answer as the engine's (`engine.runtime.asking`), by the same edges: where a map
      goes along with another item by item, an item takes its like along; all else as a whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from engine.front import IS_TERMINAL
from flowforge_tui.model import RunView
from flowforge_tui.run_columns import STATES

_ENDED = bytes(IS_TERMINAL[state] for state in range(STATES))


def taken_along(view: RunView, roots: Sequence[int]) -> list[int]:
    """The ended task runs below some, themselves left out."""
    found, whole = dict.fromkeys(roots), set[int]()
    todo = deque(roots)
    while todo:
        for child in _below(view, todo.popleft(), whole):
            if child not in found and _ENDED[view.state[child]]:
                found[child] = None
                todo.append(child)
    return list(found)[len(dict.fromkeys(roots)):]


def _below(view: RunView, tid: int, whole: set[int]) -> Iterator[int]:
    """What a task run's result goes to; of nodes in `whole`, that were given already, nothing."""
    node = view.node[tid]
    spread = view.spread.get(node)
    for child in view.shape.downstream(node):
        theirs = view.spread.get(child)
        by_item = tid != node and node in view.shape.follows(child)
        if by_item and spread is not None and theirs is not None:
            yield theirs[0] + tid - spread[0]
        elif child not in whole:
            whole.add(child)
            yield from view.items(child)
