"""Where to go from a row: the next task run that failed, and what runs. Pure.

Rule: blocks are looked at, in the order of rows, and of task runs only those that are meant:
      the model has them at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from engine import TaskState
from flowforge_tui.blocks import GROUP, REST, TASK, Block
from flowforge_tui.rows import Rows

_FAILED = (TaskState.FAILED,)
_RUNNING = (TaskState.RUNNING, TaskState.CANCELLING)


def failure(rows: Rows, kind: str, id: int, *, back: bool = False) -> int:
    """The next failed task run behind a row, or the one before it, round and round; -1: none."""
    blocks = [b for b in rows.ordered if b.kind != GROUP and b.counts[TaskState.FAILED]]
    if not blocks:
        return -1
    here = rows.block_of(kind, id)
    at = here.at if here is not None else -1
    if here is not None and here in blocks:
        found = _failure_beside(rows, here, kind, id, back=back)
        if found >= 0:
            return found
    ahead = [b for b in blocks if b.at < at] if back else [b for b in blocks if b.at > at]
    others = [b for b in blocks if b not in ahead]
    for block in (*reversed(ahead), *reversed(others)) if back else (*ahead, *others):
        failed = _failed(rows, block)
        if failed:
            return failed[-1] if back else failed[0]
    return -1


def _failure_beside(rows: Rows, block: Block, kind: str, id: int, *, back: bool) -> int:
    failed = _failed(rows, block)
    if kind == REST:
        return failed[-1] if back and failed else -1
    if kind != TASK or block.kind == TASK:
        return -1 if back or block.kind == TASK or not failed else failed[0]
    if back:
        return max([t for t in failed if t < id], default=-1)
    return min([t for t in failed if t > id], default=-1)


def _failed(rows: Rows, block: Block) -> list[int]:
    """Failed task runs of a block that the filter does not keep out, by id."""
    if rows.filter is None:
        return sorted(rows.hot(block, _FAILED))
    state = rows.view.state
    return sorted(tid for tid in rows.kept_of(block) if state[tid] == TaskState.FAILED)


def running(rows: Rows) -> int:
    """The first row of a task run that runs; -1 if none is in the tree as it is unfolded."""
    for block in rows.ordered:
        if not block.size or not any(block.counts[state] for state in _RUNNING):
            continue
        for tid in (block.id,) if block.kind == TASK else _running_in(rows, block):
            at = rows.index_of(TASK, tid)
            if at >= 0:
                return at
    return -1


def _running_in(rows: Rows, block: Block) -> Iterator[int]:
    if block.kind == GROUP:
        return iter(())
    return islice(rows.hot(block, _RUNNING), rows.caps.running)
