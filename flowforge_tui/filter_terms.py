"""What a filter keeps: the conditions that it is made of, and all of them together. Pure.

Rule 1: a term looks at columns, the cheap ones first, and never makes an object a task run:
        100,000 task runs take some 10 ms a term.
Rule 2: ids go in and come out in order, all of one section: what is true of the section is
        decided once, and neighbours are looked at as slices.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import compress
from operator import eq, ge, gt, le, lt
from typing import TYPE_CHECKING

from engine import TaskState

if TYPE_CHECKING:
    from flowforge_tui.model import RunView

#: What may stand behind the bracket in the name of an item that has a number alone.
_IN_NUMBERS = frozenset("0123456789]")

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": gt, ">=": ge, "<": lt, "<=": le, "=": eq, ":": eq,
}


class Term:
    """One condition. `cost`: terms of a small one are asked first."""

    cost = 0

    def __init__(self, *asked: Hashable) -> None:
        self._asked = asked
        """All that one term of this kind differs from another in."""

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """Those of `ids`, all of one section and in order, that it holds for."""
        raise NotImplementedError

    def within(self, other: Term) -> bool:
        """True if whatever this keeps, `other` keeps too."""
        return self == other

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Term) and (
            other._asked == self._asked)

    def __hash__(self) -> int:
        return hash((type(self), self._asked))


class State(Term):
    """In one of some states."""

    def __init__(self, states: frozenset[TaskState]) -> None:
        super().__init__(states)
        self.states = states
        self._is_in = bytes(s in states for s in range(256))

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """As in `Term`."""
        if isinstance(ids, range) and ids.step == 1:
            found = view.state[ids.start:ids.stop].translate(self._is_in)
            return list(compress(ids, found)) if any(found) else ()
        state, is_in = view.state, self._is_in
        return [t for t in ids if is_in[state[t]]]

    def within(self, other: Term) -> bool:
        """As in `Term`."""
        return isinstance(other, State) and self.states <= other.states


class _Text(Term):
    """Something that holds a text; a longer text keeps less."""

    def __init__(self, text: str) -> None:
        self.text = text.casefold()
        super().__init__(self.text)

    def within(self, other: Term) -> bool:
        """As in `Term`."""
        return type(other) is type(self) and other.text in self.text


class TaskName(_Text):
    """The name of the declared task."""

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """As in `Term`."""
        if not ids:
            return ids
        return ids if self.text in view.section_of(ids[0]).name.casefold() else ()


class Name(_Text):
    """The full name of the task run, `outer/extract[17]`."""

    cost = 2

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """As in `Term`."""
        if not ids:
            return ids
        if not view.section_of(ids[0]).mapped:
            names, text = view.shape.names, self.text
            return [t for t in ids if text in names[t].casefold()]
        found = [self._of_node(view, node, part) for node, part in _by_node(view, ids)]
        return found[0] if len(found) == 1 else [t for part in found for t in part]

    def _of_node(self, view: RunView, node: int, ids: Sequence[int]) -> Sequence[int]:
        """Task runs of one node: their names differ in what is in the brackets alone."""
        stem, text = view.shape.names[node].casefold(), self.text
        if text in stem:
            return ids
        spread = view.spread.get(node)
        if spread is None:
            return ()
        base, _, keys = spread
        if keys is not None or "[" in stem:
            name_of = view.name_of
            return [t for t in ids if text in name_of(t).casefold()]
        before, bracket, after = text.partition("[")
        if not _IN_NUMBERS.issuperset(after if bracket else text):
            return ()
        if not bracket:
            return [t for t in ids if text in f"{t - base}]"]
        if not stem.endswith(before):
            return ()
        return [t for t in ids if f"{t - base}]".startswith(after)]


class Pattern(Term):
    """The full name matches a regular expression."""

    cost = 3

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern)
        self.pattern = re.compile(pattern, re.IGNORECASE)

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """As in `Term`."""
        if not ids:
            return ids
        search, name_of = self.pattern.search, view.name_of
        spread = view.spread.get(view.node[ids[0]])
        if spread is not None and spread[2] is None and isinstance(ids, range):
            base, stem = spread[0], view.shape.names[view.node[ids[0]]]
            return [t for t in ids if search(f"{stem}[{t - base}]")]
        return [t for t in ids if search(name_of(t))]


class Error(_Text):
    """The error's type or message. Looks only at what failed."""

    cost = 1

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """As in `Term`."""
        errors, text = view.errors, self.text
        if not errors:
            return ()
        return [t for t in ids if t in errors and text in _told(*errors[t])]


class Compared(Term):
    """A number against a limit."""

    cost = 1

    def __init__(self, field: str, sign: str, limit: float) -> None:
        super().__init__(field, sign, limit)
        self.field, self.sign, self.limit = field, sign, limit

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """As in `Term`."""
        limit, holds = self.limit, _COMPARE[self.sign]
        if self.field == "tries":
            number = view.number
            return [t for t in ids if holds(number[t], limit)]
        start, end = view.start, view.end
        return [t for t in ids if start[t] and holds((end[t] or now) - start[t], limit)]

    def within(self, other: Term) -> bool:
        """As in `Term`."""
        if not isinstance(other, Compared) or (self.field, self.sign) != (other.field, other.sign):
            return False
        if self.sign in (">", ">="):
            return self.limit >= other.limit
        if self.sign in ("<", "<="):
            return self.limit <= other.limit
        return self == other


class Worker(Term):
    """The last attempt was, or is, with a worker."""

    cost = 1

    def __init__(self, worker: int) -> None:
        super().__init__(worker)
        self.worker = worker
        self._seen = (-1, -1)
        self._ids: frozenset[int] = frozenset()

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """As in `Term`."""
        mine, worker = self._last_with(view), self.worker
        running = view.worker
        return [t for t in ids if running.get(t, worker if t in mine else -1) == worker]

    def _last_with(self, view: RunView) -> frozenset[int]:
        """Task runs whose last ended attempt it had."""
        log = view.attempts
        seen = (id(log), len(log))
        if seen != self._seen:
            last = dict(zip(log.tid, log.worker, strict=True))
            self._ids = frozenset([t for t, w in last.items() if w == self.worker])
            self._seen = seen
        return self._ids


class Not(Term):
    """What another term does not hold for."""

    def __init__(self, term: Term) -> None:
        super().__init__(term)
        self.term = term
        self.cost = term.cost

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """As in `Term`."""
        kept = self.term.keep(view, ids, now)
        if not kept:
            return ids
        if len(kept) == len(ids):
            return ()
        out = set(kept)
        return [t for t in ids if t not in out]

    def within(self, other: Term) -> bool:
        """As in `Term`."""
        return isinstance(other, Not) and other.term.within(self.term)


def _by_node(view: RunView, ids: Sequence[int]) -> Iterator[tuple[int, Sequence[int]]]:
    """(node, those of its task runs that are among `ids`), `ids` being of one section."""
    section = view.section_of(ids[0])
    if len(section.nodes) == 1:
        yield section.nodes[0], ids
        return
    parts: dict[int, list[int]] = {}
    node = view.node
    for tid in ids:
        parts.setdefault(node[tid], []).append(tid)
    yield from parts.items()


def _told(reason: str, error: object) -> str:
    return f"{error} {reason}".casefold()


class Filter:
    """Terms that must all hold. Without any it keeps everything."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = sorted(terms, key=lambda term: term.cost)

    def __bool__(self) -> bool:
        return bool(self.terms)

    def select(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """Those of `ids`, all of one section and in order, for which all terms hold."""
        for term in self.terms:
            if not ids:
                break
            ids = term.keep(view, ids, now)
        return ids

    def narrows(self, other: Filter) -> bool:
        """True if all that this keeps, `other` keeps too, whatever the run: as one types on."""
        return all(any(mine.within(theirs) for mine in self.terms) for theirs in other.terms)
