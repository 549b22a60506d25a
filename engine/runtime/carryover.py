"""Which items of a map are the same as before, when the map is made anew.

Rule 1: items are matched by their names where the map has a key, and then only if their
        values are the same too; without a key by their values alone, equal ones in order. So each
        keeps its place where nothing moved: none runs under the idempotency key of another.
Rule 2: an item that follows other items is the same if those are. That they run again does not
        count: who discards them discards what follows, and else their results are only lost.
Rule 3: a matched item whose success still counts is not run again; one that was cut short and
        must not repeat stays failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

Before = tuple[int, int, Sequence[str] | None, Sequence[Any] | None]
"""(first id, count, names, marks) of an expansion."""


class Matched(NamedTuple):
    """What of an expansion is taken over from the one before."""

    carried: list[tuple[int, int]]
    """(index, old id) of the items whose results are."""
    barred: list[int]
    """Indexes of the items that were cut short and must not be repeated unasked."""


def _never(tid: int) -> bool:
    return False


class Carryover:
    """Knows the expansions of a run's earlier sessions."""

    def __init__(
        self,
        previous: Mapping[int, Before] | None = None,
        *,
        done: Callable[[int], bool] = _never,
        there: Callable[[int], bool] = _never,
        barred: Callable[[int], bool] = _never,
        marks: Mapping[int, Sequence[Any]] | None = None,
    ) -> None:
        self._previous = dict(previous or {})
        self._marks = dict(marks or {})
        """Of the expansions as they are now."""
        self._done = done
        """True if the old task run is a success that nobody has discarded."""
        self._there = there
        """True if its result can be had."""
        self._barred = barred
        """True if the old task run was cut short and must not be repeated."""
        self._ended: dict[int, tuple[Collection[int], Collection[int]]] = {}
        """Of maps that were put aside in this session: the ids of items done, and barred."""
        self._same: dict[int, dict[int, int]] = {}
        """Node that was made anew → index → the old index of that same item."""

    def put_aside(
        self, node: int, base: int, count: int, names: Sequence[str] | None,
        done: Collection[int], barred: Collection[int],
    ) -> None:
        """A live map is about to be made anew, since what it is made from was let go.

        `done` and `barred`: the ids of its items that are.
        """
        self._previous[node] = base, count, names, self._marks.get(node)
        self._ended[node] = done, barred

    def match(
        self, node: int, count: int, names: Sequence[str] | None, marks: Sequence[Any] | None,
        sources: Sequence[int] = (),
    ) -> Matched:
        """What is taken over; `sources`: the nodes that it follows item by item.

        Answers once a node.
        """
        if marks is not None:
            self._marks[node] = marks
        before = self._previous.pop(node, None)
        if before is None:
            self._same.pop(node, None)
            return Matched([], [])
        base, done, barred = before[0], self._done, self._barred
        if node in self._ended:
            now_done, now_barred = self._ended.pop(node)
            done, barred = now_done.__contains__, now_barred.__contains__
        pairs = self._pairs(
            before, count, names, marks, sources, lambda tid: done(tid) or barred(tid))
        self._same[node] = pairs
        carried = [(i, base + j) for i, j in pairs.items()
                   if done(base + j) and self._there(base + j)]
        return Matched(carried, [i for i, j in pairs.items() if barred(base + j)])

    def _pairs(
        self, before: Before, count: int, names: Sequence[str] | None,
        marks: Sequence[Any] | None, sources: Sequence[int], matters: Callable[[int], bool],
    ) -> dict[int, int]:
        """Index → old index of the same item; of too many equal ones, those that matter."""
        base, old_count, old_names, old_marks = before
        new = _keys(count, names, marks, old_names, old_marks, bool(sources))
        old = _keys(old_count, old_names, old_marks, names, marks, bool(sources))
        if new is None or old is None:
            return {}
        new, old = new[:count], old[:old_count]
        if sources:
            old = [(key, (j,) * len(sources)) for j, key in enumerate(old)]
            new = [(key, tuple(self._same.get(s, {}).get(i, i if s not in self._same else -1)
                               for s in sources)) for i, key in enumerate(new)]
        where: dict[Any, list[int]] = {}
        for j, key in enumerate(old):
            where.setdefault(key, []).append(j)
        several = {key for key, same in where.items() if len(same) > 1}
        wanted = Counter(filter(several.__contains__, new))
        for key in several:
            first = sorted(where[key], key=lambda j: not matters(base + j))[:wanted[key]]
            where[key] = sorted(first, reverse=True)
        return {i: same.pop() for i, key in enumerate(new) if (same := where.get(key))}


def _keys(
    count: int, names: Sequence[str] | None, marks: Sequence[Any] | None,
    other_names: Sequence[str] | None, other_marks: Sequence[Any] | None, follows: bool,
) -> Sequence[Any] | None:
    """What has to be equal for two items to be the same; None: nothing tells."""
    by_name = names is not None and other_names is not None
    by_mark = marks is not None and other_marks is not None
    if by_name and by_mark:
        assert names is not None and marks is not None
        return [(n, type(m), m) for n, m in zip(names, marks, strict=False)]
    if by_name:
        return names
    if by_mark:
        assert marks is not None
        return [(type(m), m) for m in marks]
    return [None] * count if follows else None
