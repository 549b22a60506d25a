"""The filter language: `state:failed dur>10 err:Timeout part_0 -"dry run"`. Pure.

Rule 1: terms are separated by spaces and must all hold; `-term` or `not term` must not.
        A word without a field is looked for in the name; case never matters.
Rule 2: what cannot be read is refused with one message and the place of it, never guessed at.
Rule 3: how a text may go on (with a field, a state, a task) is known here, the likeliest first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from engine import TaskState
from engine.front import IS_TERMINAL
from flowforge_tui.filter_terms import (
    Compared,
    Error,
    Filter,
    Name,
    Not,
    Pattern,
    State,
    TaskName,
    Term,
    Worker,
)

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
_COMPARED = frozenset({"dur", "tries"})

#: What `f` shows.
FAILED_ONLY = "state:failed,retry"

_FIELD = re.compile(r"([A-Za-z_]+)(:|>=|<=|>|<|=)")
_SECONDS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|min|h)?$")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class FilterError(ValueError):
    """A filter that cannot be read. `position`: where in it, from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (at character {position + 1})")
        self.message = message
        self.position = position


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
    return Filter(terms)


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
