"""From an exception to an `ErrorInfo`: what is stored of a failure, and shown.

Rule 1: `describe` never raises, whatever the exception's own methods do.
Rule 2: the reader wrote the task, not the engine: the engine's frames are left out, and
        `file` and `line` point into the user's own code.
Rule 3: no locals, secrets masked, length bounded: a failure is shown on screens and in
        reports that travel.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from functools import cache
from os import sep
from pathlib import Path
from types import TracebackType

from engine.core.events import ErrorInfo
from engine.errors import TaskFailed
from engine.worker.secrets import holds_secret, mask

#: Characters kept of a message, and of a traceback (a third of its head, the rest its end:
#: the cause of a chain stands first, the failure itself last).
MESSAGE_LIMIT = 4_000
TRACEBACK_LIMIT = 16_000

#: Not resolved: code objects carry the path that the import system was given.
_ENGINE = str(Path(__file__).parent.parent) + sep


def describe(exc: BaseException) -> ErrorInfo:
    """The failure as plain strings, fit to be stored. Never raises."""
    try:
        message = _message(exc)
        file, line = _place(exc.__traceback__)
        return ErrorInfo(
            type=_plain(type(exc).__name__),
            message=shorten(_plain(mask(message)), MESSAGE_LIMIT),
            traceback=shorten(_plain(mask(_formatted(exc))), TRACEBACK_LIMIT),
            file=file,
            line=line,
        )
    except Exception as failure:
        return ErrorInfo(
            type=_plain(type(exc).__name__),
            message=f"(the error could not be described: {type(failure).__name__})",
        )


def masked(exc: BaseException) -> BaseException:
    """The exception, to be raised or printed; one that would show a secret as a TaskFailed."""
    if not holds_secret(exc):
        return exc
    told = describe(exc)
    return TaskFailed(f"{told.type}: {told.message}\n{told.traceback}".rstrip())


def shorten(text: str, limit: int) -> str:
    """`text`, its middle cut out if it is longer than `limit` characters, and marked so."""
    if len(text) <= limit:
        return text
    head = limit // 3
    tail = limit - head
    return f"{text[:head]}\n… [{len(text) - limit:,} characters cut] …\n{text[-tail:]}"


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except BaseException as failure:  # a hostile __str__ may raise SystemExit as well
        return f"(its message cannot be shown: __str__ raised {type(failure).__name__})"


def _plain(text: str) -> str:
    """Without lone surrogates, which no file, pipe or msgpack string takes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# -- where it happened --------------------------------------------------------------------


def _place(tb: TracebackType | None) -> tuple[str, int]:
    """The deepest frame in the user's own code; failing that, the deepest outside the engine."""
    own, other = ("", 0), ("", 0)
    while tb is not None:
        file = tb.tb_frame.f_code.co_filename
        if not is_engine(file):
            other = (file, tb.tb_lineno or 0)
            if is_own(file):
                own = other
        tb = tb.tb_next
    file, line = own if own[0] else other
    return _plain(file), line


def is_engine(file: str) -> bool:
    """True for the engine's own source files."""
    return file.startswith(_ENGINE)


def is_own(file: str) -> bool:
    """True for a user's file: not the standard library's, nor an installed package's."""
    return not file.startswith(_foreign()) and "site-packages" not in file


@cache
def _foreign() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    roots = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    # In a virtual environment the standard library is not below its own prefix.
    roots.add(str(Path(traceback.__file__).parent))
    return ("<frozen", _ENGINE, *(root + sep for root in roots))


# -- the traceback's text ---------------------------------------------------------------------


def _formatted(exc: BaseException) -> str:
    """The traceback as Python prints it, causes included, without the engine's frames."""
    # Source lines are looked up when the text is made, so dropped frames cost no file access.
    tree = traceback.TracebackException(
        type(exc), exc, exc.__traceback__, lookup_lines=False, compact=True
    )
    for node in _chain(tree):
        _drop_engine(node)
    return "".join(tree.format())


def _chain(tree: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        todo += [n for n in (node.__cause__, node.__context__) if n is not None]
        todo += node.exceptions or []


def _drop_engine(node: traceback.TracebackException) -> None:
    kept = [frame for frame in node.stack if not is_engine(frame.filename)]
    if len(kept) < len(node.stack):
        node.stack = traceback.StackSummary.from_list(kept)
