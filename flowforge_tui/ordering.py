"""Which comes first: of blocks beside each other, of task runs in one, of states. Pure.

Rule: what cannot be told apart stays in order of definition, so that no row moves in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

from engine import TaskState
from engine.front import IS_TERMINAL
from flowforge_tui.blocks import TASK, Block
from flowforge_tui.model import RunView
from flowforge_tui.run_columns import STATES

#: Sections of more task runs than that stay in order of id, whatever the sorting: a second.
_SORTABLE = 500_000

#: State → what asks for attention first.
_URGENCY = [0] * STATES
for _at, _state in enumerate((
    TaskState.FAILED, TaskState.UP_FOR_RETRY, TaskState.RUNNING, TaskState.CANCELLING,
    TaskState.QUEUED, TaskState.PENDING, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED,
    TaskState.SKIPPED, TaskState.SUCCESS, TaskState.CACHED,
)):
    _URGENCY[_state] = _at
_BY_URGENCY = sorted(TaskState, key=lambda s: _URGENCY[s])


class Sort(IntEnum):
    """In which order rows stand beside each other."""

    DEFINITION = 0
    ATTENTION = 1
    DURATION = 2
    NAME = 3


def foremost(counts: Sequence[int]) -> TaskState:
    """The state that a row of several task runs shows: what asks most for attention."""
    found = [s for s in _BY_URGENCY if counts[s]]
    if not found:
        return TaskState.SUCCESS  # a map of no items
    first = found[0]
    waits = first in (TaskState.PENDING, TaskState.QUEUED)
    if waits and any(IS_TERMINAL[s] for s in found):
        return TaskState.QUEUED  # begun: what is between two batches is no longer pending
    return first


def rank(counts: Sequence[int]) -> int:
    """Where a block stands if what asks for attention comes first."""
    return _URGENCY[foremost(counts)]


def key_of(sort: Sort, view: RunView, now: float) -> Callable[[Block], tuple[object, ...]]:
    """What to sort blocks by. `now`: seconds since the epoch, as everywhere here."""
    if sort is Sort.ATTENTION:
        return lambda block: (rank(block.counts), block.order)
    if sort is Sort.DURATION:
        return lambda block: (-_seconds(view, block, now), block.order)
    if sort is Sort.NAME:
        return lambda block: (block.name.casefold(), block.order)
    return lambda block: (block.order,)


def _seconds(view: RunView, block: Block, now: float) -> float:
    """How long what is in a block took, or has taken."""
    if block.kind == TASK:
        return view.seconds(block.id, now)
    return view.pace.elapsed(block.places, now)


def in_order(tids: Sequence[int], sort: Sort, view: RunView, now: float) -> Sequence[int]:
    """The task runs of one block, which come in order of definition."""
    if sort is Sort.DEFINITION or not 1 < len(tids) <= _SORTABLE:
        return tids
    if sort is Sort.DURATION:
        start, end = view.start, view.end
        return sorted(tids, key=lambda t: start[t] and start[t] - (end[t] or now))
    if sort is Sort.ATTENTION:
        return sorted(tids, key=lambda t: _URGENCY[view.state[t]])
    return sorted(tids, key=lambda t: view.name_of(t).casefold())
