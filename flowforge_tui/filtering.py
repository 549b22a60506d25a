"""The filter language: `state:failed dur>10 err:Timeout part_0 -"dry run"`. Pure.

Rule 1: terms are separated by spaces and must all hold; `-term` or `not term` must not.
        A word without a field is looked for in the name; case never matters.
Rule 2: what cannot be read is refused with one message and the place of it, never guessed at.
Rule 3: a term looks at columns, the cheap ones first, and never makes an object a task run:
        100,000 task runs take some 10 ms a term.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from engine import TaskState
from engine.front import IS_TERMINAL

if TYPE_CHECKING:
    from flowforge_tui.model import RunView

#: Words of `state:`, first those that stand for several states.
STATES: dict[str, tuple[TaskState, ...]] = {
    "failed": (TaskState.FAILED,),
    "retry": (TaskState.UP_FOR_RETRY,),
    "running": (TaskState.RUNNING, TaskState.CANCELLING),
    "queued": (TaskState.QUEUED,),
    "pending": (TaskState.PENDING,),
    "waiting": (TaskState.PENDING, TaskState.QUEUED),
    "ok": (TaskState.SUCCESS, TaskState.CACHED),
    "success": (TaskState.SUCCESS, TaskState.CACHED),
    "cached": (TaskState.CACHED,),
    "blocked": (TaskState.UPSTREAM_FAILED,),
    "upstream_failed": (TaskState.UPSTREAM_FAILED,),
    "up_for_retry": (TaskState.UP_FOR_RETRY,),
    "skipped": (TaskState.SKIPPED,),
    "cancelling": (TaskState.CANCELLING,),
    "cancelled": (TaskState.CANCELLED,),
    "done": tuple(s for s in TaskState if IS_TERMINAL[s]),
}

#: Field → what it looks at.
FIELDS = {
    "state": "the state: failed, retry, running, queued, ok, …; several with commas",
    "dur": "seconds of the last attempt: dur>10, dur<=1.5m, dur>200ms",
    "err": "the error's type or message",
    "task": "the task's own name",
    "re": "a regular expression on the name",
    "tries": "attempts so far: tries>1",
    "worker": "the worker of the last attempt: worker:3",
}
#: What may stand behind the bracket in the name of an item that has a number alone.
_IN_NUMBERS = frozenset("0123456789]")
_COMPARED = frozenset({"dur", "tries"})

#: What `f` shows.
FAILED_ONLY = "state:failed,retry"

_FIELD = re.compile(r"([A-Za-z_]+)(:|>=|<=|>|<|=)")
_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|min|h)?$")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, "=": lambda a, b: a == b, ":": lambda a, b: a == b,
}


class FilterError(ValueError):
    """A filter that cannot be read. `position`: where in it, from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (at character {position + 1})")
        self.message = message
        self.position = position


# -- terms -----------------------------------------------------------------------------------


class Term:
    """One condition. `cost`: terms of a small one are asked first."""

    cost = 0

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """Those of `ids`, all of one section and in order, that it holds for."""
        raise NotImplementedError

    def within(self, other: Term) -> bool:
        """True if whatever this keeps, `other` keeps too."""
        return self == other


class State(Term):
    """In one of some states."""

    def __init__(self, states: frozenset[TaskState]) -> None:
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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self.states == other.states

    def __hash__(self) -> int:
        return hash(self.states)


class _Text(Term):
    """Something that holds a text; a longer text keeps less."""

    def __init__(self, text: str) -> None:
        self.text = text.casefold()

    def within(self, other: Term) -> bool:
        """As in `Term`."""
        return type(other) is type(self) and other.text in self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Text) and type(other) is type(self) and other.text == self.text

    def __hash__(self) -> int:
        return hash((type(self), self.text))


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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.pattern == self.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)


class Error(_Text):
    """The error's type or message. Looks only at what failed."""

    cost = 1

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """As in `Term`."""
        errors, text = view.errors, self.text
        if not errors:
            return ()
        return [t for t in ids if t in errors and text in _told(*errors[t]).casefold()]


class Compared(Term):
    """A number against a limit."""

    cost = 1

    def __init__(self, field: str, sign: str, limit: float) -> None:
        self.field, self.sign, self.limit = field, sign, limit

    def keep(self, view: RunView, ids: Sequence[int], now: float) -> Sequence[int]:
        """As in `Term`."""
        limit, number = self.limit, view.number
        if self.field == "tries":
            if self.sign == ">":
                return [t for t in ids if number[t] > limit]
            holds = _COMPARE[self.sign]
            return [t for t in ids if holds(number[t], limit)]
        start, end = view.start, view.end
        if self.sign == ">":
            return [t for t in ids if start[t] and (end[t] or now) - start[t] > limit]
        holds = _COMPARE[self.sign]
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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compared) and (
            self.field, self.sign, self.limit) == (other.field, other.sign, other.limit)

    def __hash__(self) -> int:
        return hash((self.field, self.sign, self.limit))


class Worker(Term):
    """The last attempt was, or is, with a worker."""

    cost = 1

    def __init__(self, worker: int) -> None:
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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Worker) and other.worker == self.worker

    def __hash__(self) -> int:
        return hash(self.worker)


class Not(Term):
    """What another term does not hold for."""

    def __init__(self, term: Term) -> None:
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

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Not) and other.term == self.term

    def __hash__(self) -> int:
        return hash((Not, self.term))


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
    return f"{error} {reason}"


# -- the filter --------------------------------------------------------------------------------


class Filter:
    """What `parse` makes of a text. An empty one keeps everything."""

    def __init__(self, text: str, terms: Sequence[Term]) -> None:
        self.text = text
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


class _Word(NamedTuple):
    """A piece of the text between spaces."""

    text: str
    """Without its quotes."""
    start: int
    """Where it begins in the whole."""
    raw: str
    """As written."""


def parse(text: str) -> Filter:
    """Read a filter. Raises FilterError."""
    terms: list[Term] = []
    negated: _Word | None = None
    for word in _words(text):
        if word.raw.casefold() == "not" and negated is None:
            negated = word
            continue
        minus = len(word.raw) > 1 and word.raw[0] == "-"
        term = _term(_Word(word.text[1:], word.start + 1, word.raw[1:]) if minus else word)
        terms.append(Not(term) if minus != (negated is not None) else term)
        negated = None
    if negated is not None:
        raise FilterError("`not` needs a term behind it; to look for the word, quote it: \"not\"",
                          negated.start)
    return Filter(text, terms)


def _words(text: str) -> Iterator[_Word]:
    at, size = 0, len(text)
    while at < size:
        if text[at].isspace():
            at += 1
            continue
        start, quote, letters = at, -1, []
        while at < size and (quote >= 0 or not text[at].isspace()):
            if text[at] == '"':
                quote = at if quote < 0 else -1
            else:
                letters.append(text[at])
            at += 1
        if quote >= 0:
            raise FilterError("a quote is not closed", quote)
        yield _Word("".join(letters), start, text[start:at])


def _term(word: _Word) -> Term:
    field = _FIELD.match(word.raw)
    if field is None:
        if not word.text:
            raise FilterError("there is nothing between the quotes", word.start)
        return Name(word.text)
    name, sign = field[1].casefold(), field[2]
    value = word.text[field.end():]
    at = word.start + field.end()
    if name not in FIELDS:
        raise FilterError(_unknown_field(name, word.raw), word.start)
    if (sign != ":") != (name in _COMPARED) and not (sign in ":=" and name in _COMPARED):
        wanted = f"{name}>1" if name in _COMPARED else f"{name}:…"
        raise FilterError(f"`{name}` is written {wanted}", word.start)
    if not value:
        raise FilterError(f"`{name}{sign}` needs a value: {FIELDS[name]}", at)
    return _MAKERS[name](value, sign, at)


def _unknown_field(name: str, raw: str) -> str:
    close = get_close_matches(name, FIELDS, 1)
    hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(FIELDS)};"
    return f"there is no field `{name}`: {hint} to look for the text, quote it: \"{raw}\""


def _state(value: str, sign: str, at: int) -> Term:
    states: set[TaskState] = set()
    for part in value.split(","):
        wanted = part.strip().casefold().replace("-", "_")
        if wanted:
            states.update(_states_named(wanted, at))
        at += len(part) + 1
    return State(frozenset(states))


def _states_named(wanted: str, at: int) -> set[TaskState]:
    if wanted in STATES:
        return set(STATES[wanted])
    found = {s for word, states in STATES.items() if word.startswith(wanted) for s in states}
    if not found:
        close = get_close_matches(wanted, STATES, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(STATES)}"
        raise FilterError(f"there is no state `{wanted}`: {hint}", at)
    return found


def _duration(value: str, sign: str, at: int) -> Term:
    found = _SECONDS.match(value.casefold())
    if found is None:
        raise FilterError(f"`{value}` is no duration: write 10, 1.5s, 200ms, 3m or 2h", at)
    return Compared("dur", sign, float(found[1]) * _UNITS[found[2] or "s"])


def _tries(value: str, sign: str, at: int) -> Term:
    if not value.isdecimal():
        raise FilterError(f"`{value}` is no number of attempts: write tries>1", at)
    return Compared("tries", sign, float(int(value)))


def _pattern(value: str, sign: str, at: int) -> Term:
    try:
        return Pattern(value)
    except re.error as error:
        raise FilterError(
            f"the regular expression does not work: {error.msg}", at + (error.pos or 0)) from None


def _worker(value: str, sign: str, at: int) -> Term:
    digits = value.casefold().removeprefix("w")
    if not digits.isdecimal():
        raise FilterError(f"`{value}` is no worker: write worker:3 or worker:w03", at)
    return Worker(int(digits))


_MAKERS: dict[str, Callable[[str, str, int], Term]] = {
    "state": _state, "dur": _duration, "tries": _tries, "re": _pattern, "worker": _worker,
    "err": lambda value, sign, at: Error(value),
    "task": lambda value, sign, at: TaskName(value),
}


# -- completion -----------------------------------------------------------------------------------


def completions(text: str, tasks: Sequence[str] = ()) -> list[str]:
    """What the whole text may go on to be: fields, states, names of tasks; the likeliest first.

    `tasks`: the declared tasks' names.
    """
    before, _, last = text.rpartition(" ")
    before += " " if before or text.startswith(" ") else ""
    minus = "-" if last.startswith("-") else ""
    last = last.removeprefix("-")
    field, colon, value = last.partition(":")
    if not colon:
        if not last:
            return []
        found = [name + (">" if name in _COMPARED else ":") for name in FIELDS
                 if name.startswith(last.casefold())]
        return [f"{before}{minus}{word}" for word in found if word != last]
    if field.casefold() == "state":
        done, comma, value = value.rpartition(",")
        found = [w for w in STATES if w.startswith(value.casefold()) and w != value]
        return [f"{before}{minus}{field}:{done}{comma}{word}" for word in found]
    if field.casefold() == "task":
        names = dict.fromkeys(n for n in tasks if value.casefold() in n.casefold() and n != value)
        return [f"{before}{minus}{field}:{_quoted(name)}" for name in names]
    return []


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name
