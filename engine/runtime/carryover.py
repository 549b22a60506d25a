"""Which items of a map are the same as before, when the map is made anew.

Items are matched by their names where the map has a key, else by their values; equal ones
are matched in order. A matched item whose success still counts is not run again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Before = tuple[int, int, Sequence[str] | None, Sequence[Any] | None]
"""(first id, count, names, marks) of an expansion."""


class Carryover:
    """Knows the expansions of a run's earlier sessions."""

    def __init__(
        self,
        previous: Mapping[int, Before] | None = None,
        counts: Callable[[int], bool] = lambda tid: False,
    ) -> None:
        self._previous = dict(previous or {})
        self._counts = counts
        """True if the old task run is a success whose result is at hand."""

    def match(
        self, node: int, count: int, names: Sequence[str] | None, marks: Sequence[Any] | None
    ) -> list[tuple[int, int]]:
        """(index, old id) of the items whose results are carried over. Answers once a node."""
        before = self._previous.pop(node, None)
        if before is None:
            return []
        base, old_count, old_names, old_marks = before
        new, old = (names, old_names) if names and old_names else (marks, old_marks)
        if new is None or old is None:
            return []
        where: dict[Any, deque[int]] = {}
        for i in range(min(old_count, len(old))):
            if self._counts(base + i):
                where.setdefault((type(old[i]), old[i]), deque()).append(base + i)
        carried = []
        for i in range(count):
            same = where.get((type(new[i]), new[i]))
            if same:
                carried.append((i, same.popleft()))
        return carried
