"""Which task runs are marked, and which failed of the same cause. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from engine import TaskState

if TYPE_CHECKING:
    from engine.front import ErrorInfo
    from flowforge_tui.model import RunView

#: What differs between two messages of one cause: numbers, ids, what is quoted, paths.
_VARIES = re.compile(
    r"0x[0-9a-fA-F]+|'[^']*'|\"[^\"]*\"|`[^`]*`|(?:/[\w.~+-]+)+/?|\b[0-9a-fA-F]{8,}\b"
    r"|\d+(?:[.,:]\d+)*"
)

#: Characters of a message that say what went wrong.
_TOLD = 300


class Marked:
    """Task runs marked by a person."""

    def __init__(self) -> None:
        self.tids: set[int] = set()
        self.range: set[int] = set()
        """Those of a range that is being drawn: kept or dropped together."""

    def __contains__(self, tid: int) -> bool:
        return tid in self.tids or tid in self.range

    def toggle(self, tids: Collection[int]) -> None:
        """Mark some; take the marks off if all of them have one."""
        if tids and all(tid in self.tids for tid in tids):
            self.tids.difference_update(tids)
        else:
            self.tids.update(tids)

    def add(self, tids: Iterable[int]) -> None:
        """Mark some."""
        self.tids.update(tids)

    def keep_range(self) -> None:
        """What was drawn is marked."""
        self.add(self.range)
        self.range = set()

    def clear(self) -> bool:
        """Take all marks off, with the range; False if there were none."""
        had = bool(self.tids or self.range)
        self.tids.clear()
        self.range = set()
        return had

    def all_of(self, tids: Sequence[int]) -> bool:
        """True if every one of some task runs is marked."""
        marked = self.tids
        if not marked or len(tids) > len(marked) or not tids:
            return False
        return all(tid in marked for tid in tids)


def cause_of(error: ErrorInfo) -> tuple[str, str]:
    """(type, message without what differs from one task run to the next)."""
    return error.type, _VARIES.sub("#", error.message[:_TOLD])


def same_error(view: RunView, tid: int) -> list[int]:
    """The failed task runs that failed of the same cause as one that failed, and itself."""
    known = view.errors.get(tid)
    if known is None:
        return []
    cause = cause_of(known[1])
    states = (TaskState.FAILED, view.state_of(tid))
    return [other for other, (_, error) in view.errors.items()
            if view.state[other] in states and view.is_live(other) and cause_of(error) == cause]
