"""What a screen tells of one task run beyond the columns of its view: fetched beside the loop.

Rule 1: `load` is called on a thread; it may read files and ask another process. It raises
        nothing: what cannot be had is said in its place.
Rule 2: a file is read if it is a plain file of sensible size: a name in a run from elsewhere
        may be one of a device.
Rule 3: everything in here is untrusted text, until a line takes it.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from rich.style import Style

from flowforge_tui.look import ACCENT, BOLD, DIM, GOOD, PLAIN, WARN
from flowforge_tui.safe_text import safe

if TYPE_CHECKING:
    from engine.front import ErrorInfo, Place
    from flowforge_tui.feed import Feed
    from flowforge_tui.model import RunView

_T = TypeVar("_T")

#: Bytes of a source file that is looked into.
_LARGEST_FILE = 4 << 20

#: Lines shown before and behind the one that failed.
BEFORE, BEHIND = 5, 3

#: Lines of a definition that are shown.
_MOST_CODE = 2_000

_NOTHING: Mapping[str, str] = {}
#: News of the run that its facts end with.
_NOTES = 20

_DEFINITION = re.compile(r"\s*(?:async\s+def|def|class)\b")

CodeLine = tuple[int, list[tuple[str, Style]]]
"""Number in the file, and the line in pieces with styles. The text is safe already."""


class Facts(Protocol):
    """What a feed tells of a task run; may block, and raise FlowForgeError."""

    def inputs(self, tid: int) -> Mapping[str, str]:
        """Parameter → value, as shown."""

    def output(self, tid: int) -> str:
        """The result, as shown; empty if there is none."""

    def place(self, tid: int) -> Place | None:
        """Where its code is; None for a command, or where that is not known."""

    def waits_for(self, tid: int) -> str:
        """What a QUEUED task run waits for; empty if that is not known."""


class Details(NamedTuple):
    """Of one task run, at one moment."""

    tid: int
    stamp: tuple[int, ...]
    """What the view said when they were asked for: see `stamp_of`."""
    inputs: Mapping[str, str] = _NOTHING
    output: str = ""
    waits: str = ""
    file: str = ""
    line: int = 0
    """Where its code is."""
    code: Sequence[CodeLine] = ()
    around: Sequence[CodeLine] = ()
    """The lines around the one that failed, as the file has them now."""
    changed: bool = False
    """The line that failed is another one now."""
    above: Sequence[int] = ()
    below: Sequence[int] = ()
    """The task runs, or maps as a whole, that it waits for, and that wait for it."""
    trouble: Sequence[str] = ()
    """What could not be had, and why."""


def stamp_of(view: RunView, tid: int) -> tuple[int, ...]:
    """Differs when the details of a task run may."""
    node = view.node[tid]
    size = view.spread[node][1] if node in view.spread else -1
    return tid, view.state[tid], view.number[tid], view.generation_of(tid), node, size


def load(facts: Facts, view: RunView, tid: int) -> Details:
    """Fetch the details of a task run. For a thread of its own; takes what time it takes."""
    stamp, trouble = stamp_of(view, tid), list[str]()
    error = view.errors.get(tid, ("", None))[1]
    inputs = _or_trouble(lambda: facts.inputs(tid), _NOTHING, trouble)
    output = _or_trouble(lambda: facts.output(tid), "", trouble)
    waits = _or_trouble(lambda: facts.waits_for(tid), "", trouble)
    place = _or_trouble(lambda: facts.place(tid), None, trouble)
    around, changed = _around(error) if error is not None else ([], False)
    return Details(
        tid, stamp, inputs, output, waits,
        place.file if place is not None else "", place.line if place is not None else 0,
        _code(place) if place is not None else (), around, changed,
        above_of(view, tid), below_of(view, tid), tuple(dict.fromkeys(trouble)))


def _or_trouble(get: Callable[[], _T], instead: _T, trouble: list[str]) -> _T:
    from engine.errors import FlowForgeError

    try:
        return get()
    except (FlowForgeError, OSError) as error:
        trouble.append(str(error))
    except (LookupError, RuntimeError):
        # Another thread took in the run's newer graph meanwhile: the id is not of that.
        trouble.append("the run changed while this was looked up")
    return instead


def run_facts(feed: Feed) -> list[tuple[str, str]]:
    """(name, value) of what a run was started with, and where it is kept. For a thread."""
    from engine.front import wording

    if not feed.run_id:
        return []
    view, about = feed.view, feed.about
    rows = [("run", feed.run_id), ("file", str(about.get("file") or ""))]
    parameters: Mapping[str, str] = about.get("parameters") or _NOTHING
    rows += [("parameter", f"{name} = {value}") for name, value in parameters.items()]
    if view.began:
        rows.append(("began", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(view.began))))
    if view.ended:
        rows.append(("ended", f"{wording.duration(view.ended - view.began)} later"))
        if view.rests:
            rows.append(("ran", f"{wording.duration(view.elapsed(view.ended))} of that"))
    executor, workers = about.get("executor"), about.get("workers")
    rows += [
        ("executor", f"{executor}, {wording.amount(workers, 'worker')}" if workers else
         str(executor or "")),
        ("durability", str(about.get("durability") or "")),
        ("kept in", feed.home if feed.home is not None else "memory alone: no resume"),
        ("carried on", feed.resumed.removeprefix("carrying on ")),
    ]
    rows += [("note", text) for _, text in list(feed.notes)[-_NOTES:]]
    return [(name, value) for name, value in rows if value]


# -- dependencies -----------------------------------------------------------------------------


def above_of(view: RunView, tid: int, most: int | None = None) -> list[int]:
    """What a task run waits for: item by item where a map goes along with another."""
    node = view.node[tid]
    follows = view.shape.follows(node)
    return [_beside(view, tid, u) if u in follows else u
            for u in view.shape.upstream(node)[:most]]


def below_of(view: RunView, tid: int, most: int | None = None) -> list[int]:
    """What waits for a task run."""
    node = view.node[tid]
    return [_beside(view, tid, d) if node in view.shape.follows(d) else d
            for d in view.shape.downstream(node)[:most]]


def _beside(view: RunView, tid: int, other: int) -> int:
    """The item of another map that goes with an item; the map where there is none."""
    own, spread = view.spread.get(view.node[tid]), view.spread.get(other)
    if own is None or spread is None or tid == view.node[tid]:
        return other
    index = tid - own[0]
    return spread[0] + index if 0 <= index < spread[1] else other


# -- code -------------------------------------------------------------------------------------


def _around(error: ErrorInfo) -> tuple[list[CodeLine], bool]:
    """The lines around the user's own that failed; and whether that is another one now."""
    lines = read_lines(error.file) if error.file and error.line else []
    if not 0 < error.line <= len(lines):
        return [], bool(lines)
    first = max(1, error.line - BEFORE)
    part = lines[first - 1:error.line + BEHIND]
    then = _told_line(error)
    changed = bool(then) and then != lines[error.line - 1].strip()
    return number(coloured("\n".join(part)), first), changed


def _told_line(error: ErrorInfo) -> str:
    """The source line that the traceback has for the place of the failure."""
    lines = error.traceback.splitlines()
    start = f'  File "{error.file}", line {error.line},'
    found = [i for i, line in enumerate(lines) if line.startswith(start)]
    after = lines[found[-1] + 1] if found and found[-1] + 1 < len(lines) else ""
    return after.strip() if after.startswith("    ") else ""


def _code(place: Place) -> list[CodeLine]:
    lines = place.source.splitlines()[:_MOST_CODE]
    above = next((i for i, line in enumerate(lines) if _DEFINITION.match(line)), 0)
    return number(coloured("\n".join(lines)), place.line - above) if lines else []


def number(lines: Sequence[list[tuple[str, Style]]], first: int) -> list[CodeLine]:
    """Lines with their numbers."""
    return list(enumerate(lines, first))


def read_lines(file: str) -> list[str]:
    """The lines of a source file; none if it cannot be read, or is no plain file."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return []
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_size > _LARGEST_FILE:
            return []
        return os.read(fd, _LARGEST_FILE).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    finally:
        os.close(fd)


@lru_cache(64)
def _coloured(source: str) -> tuple[list[tuple[str, Style]], ...]:
    from pygments.lexers.python import PythonLexer  # type: ignore[import-untyped]

    lines: list[list[tuple[str, Style]]] = [[]]
    for token, text in PythonLexer(stripnl=False).get_tokens(source):
        style = _style(str(token))
        first, *more = text.split("\n")
        lines[-1].append((first, style))
        lines += [[(part, style)] for part in more]
    return tuple(lines[:-1] if not any(text for text, _ in lines[-1]) else lines)


def coloured(source: str) -> tuple[list[tuple[str, Style]], ...]:
    """Python source, made safe, as lines of pieces with styles."""
    return _coloured(safe(source).expandtabs(4))


_STYLES = (
    ("Token.Keyword", ACCENT), ("Token.Operator.Word", ACCENT), ("Token.Literal.String", GOOD),
    ("Token.Literal.Number", WARN), ("Token.Comment", DIM), ("Token.Name.Decorator", WARN),
    ("Token.Name.Function", BOLD), ("Token.Name.Class", BOLD),
)


@lru_cache(256)
def _style(token: str) -> Style:
    return next((style for name, style in _STYLES if token.startswith(name)), PLAIN)
