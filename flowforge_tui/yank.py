"""What can be copied from the screen: an id, a name, a traceback, a log, the same as a command.

Rule 1: what is copied is plain text, made safe: pasted into a shell, it drives no terminal, and
        a command in it is one line, quoted.
Rule 2: a clipboard takes only so much through a terminal; what is longer goes to a file.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engine import RunState, TaskState
from engine.front import wording
from flowforge_tui.safe_text import safe, safe_line

if TYPE_CHECKING:
    from flowforge_tui.details import Details
    from flowforge_tui.model import RunView

#: Bytes that terminals take to a clipboard at once: many give up on a sequence of 100,000
#: characters, which is 74,994 bytes in base64 and the frame around it.
CLIPBOARD_BYTES = 74_994

#: Task runs that a command names at most; for more, it is the run's as a whole.
_MOST_NAMED = 50

_REDOABLE = (TaskState.SUCCESS, TaskState.CACHED, TaskState.SKIPPED)


class Yank(NamedTuple):
    """One thing to copy."""

    key: str
    """The key that takes it, in the list of them."""
    title: str
    get: Callable[[], str]


def of_task(
    view: RunView, tid: int, run_id: str, home: str | None,
    log: Callable[[], str], details: Details | None = None,
) -> list[Yank]:
    """What there is of a task run. `log`: gives the end of what it printed."""
    name = view.name_of(tid)
    found = [
        Yank("n", "name", lambda: safe_line(name)),
        Yank("i", "run's id", lambda: safe_line(run_id)),
    ]
    error = view.errors.get(tid, ("", None))[1]
    if error is not None:
        found.append(Yank("t", "traceback", lambda: safe(error.traceback) or str(error)))
        found.append(Yank("e", "error", lambda: safe(str(error))))
        if error.file:
            found.append(Yank("p", "place", lambda: safe_line(f"{error.file}:{error.line}")))
    elif details is not None and details.file:
        found.append(Yank("p", "place", lambda: safe_line(f"{details.file}:{details.line}")))
    if details is not None and details.output:
        found.append(Yank("o", "result, as shown", lambda: safe(details.output)))
    found.append(Yank("l", "log", lambda: safe(log())))
    return [*found, *_commands(view, [tid], run_id, home)]


def of_tasks(view: RunView, tids: Sequence[int], run_id: str, home: str | None) -> list[Yank]:
    """What there is of several task runs."""
    return [
        Yank("n", "names", lambda: "".join(f"{safe_line(view.name_of(t))}\n" for t in tids)),
        Yank("i", "run's id", lambda: safe_line(run_id)),
        *_commands(view, tids, run_id, home),
    ]


def of_run(view: RunView, run_id: str, home: str | None, *, live: bool) -> list[Yank]:
    """What there is of the run itself."""
    found = [Yank("i", "run's id", lambda: safe_line(run_id))]
    if home is None:
        return found
    words = [("a", "attach")]
    step = "resume" if view.run_state in (RunState.INTERRUPTED, RunState.PAUSED) else "retry"
    if not live and view.run_state is not RunState.SUCCESS:
        words.append(("r", step))
    words += [("s", "show"), ("g", "logs")]
    return found + [_command(key, word, [run_id], home) for key, word in words]


def _commands(
    view: RunView, tids: Sequence[int], run_id: str, home: str | None
) -> list[Yank]:
    """The command lines that do what keys do; none for a run that nothing is kept of."""
    if home is None:
        return []
    names = [view.name_of(t) for t in tids] if len(tids) <= _MOST_NAMED else []
    done = any(view.state[t] in _REDOABLE for t in tids)
    again = ("r", "rerun") if done and names else ("r", "retry")
    found = [_command(*again, [run_id, *names], home)]
    if len(names) == 1:
        found += [_command(key, word, [run_id, *names], home)
                  for key, word in (("g", "logs"), ("s", "show"))]
    return found


def _command(key: str, word: str, words: Sequence[str], home: str) -> Yank:
    return Yank(key, f"flowforge {word} …", lambda: wording.command(word, *words, home=home))


def fits(text: str) -> bool:
    """True if a terminal takes it to the clipboard whole."""
    return len(text.encode("utf-8", "replace")) <= CLIPBOARD_BYTES


def to_file(text: str) -> Path:
    """Write what the clipboard does not take to a new file of the user's alone. Raises OSError."""
    fd, name = tempfile.mkstemp(prefix="flowforge-", suffix=".txt")
    with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
    return Path(name)
