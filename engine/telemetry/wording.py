"""The words in which consoles, logs and commands tell the same things.

Everything returned is safe for a terminal and has no newline in it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from engine.core.events import ErrorInfo
from engine.core.states import IS_TERMINAL, RunState, TaskState
from engine.telemetry.glyphs import LOOKS
from engine.telemetry.safe_text import safe_line

#: Where the user stands. A resume enters the directory of its run; commands to copy, and paths,
#: are for the shell that it was called from.
_HERE = os.path.realpath(os.curdir)

#: Characters of an error that a line shows.
ERROR_WIDTH = 200

_SHOWN = (
    TaskState.SUCCESS, TaskState.CACHED, TaskState.FAILED, TaskState.UPSTREAM_FAILED,
    TaskState.SKIPPED, TaskState.CANCELLED,
)
_ACTIVE = (TaskState.RUNNING, TaskState.CANCELLING)
_WAITING = (TaskState.PENDING, TaskState.QUEUED)


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`; below a millisecond in µs."""
    if seconds < 0.001:
        return f"{max(seconds, 0.0) * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def clock(seconds: float) -> str:
    """`0:07`, `12:41`, `2:05:00`: for figures that change in place."""
    whole = int(max(seconds, 0.0))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def amount(number: int, noun: str) -> str:
    """`1 task`, `1,004 tasks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def next_try(seconds: float) -> str:
    """When a failed task is tried again: `the next try is in 2.0 s`."""
    return f"the next try is in {duration(seconds)}" if seconds >= 0.05 else "trying again at once"


def how_it_stands(counts: Mapping[TaskState, int]) -> str:
    """`1,204 of 3,000 done, 3 failed, 32 running, 1,765 waiting`."""
    total = sum(counts.values())
    done = sum(n for s, n in counts.items() if IS_TERMINAL[s])
    parts = [f"{done:,} of {total:,} done"]
    for words, states in (
        ("failed", (TaskState.FAILED,)), ("blocked", (TaskState.UPSTREAM_FAILED,)),
        ("running", _ACTIVE), ("up for retry", (TaskState.UP_FOR_RETRY,)), ("waiting", _WAITING),
    ):
        number = sum(counts.get(s, 0) for s in states)
        if number:
            parts.append(f"{number:,} {words}")
    return ", ".join(parts)


def how_it_ended(counts: Mapping[TaskState, int]) -> str:
    """`2,990 succeeded, 3 failed, 7 blocked`, and what has not ended."""
    parts = [f"{counts[s]:,} {LOOKS[s].word}" for s in _SHOWN if counts.get(s)]
    left = sum(n for s, n in counts.items() if not IS_TERMINAL[s])
    if left:
        parts.append(f"{left:,} not run yet")
    return ", ".join(parts) or "no tasks"


def states_of(named: Mapping[str, int]) -> dict[TaskState, int]:
    """Counts by state, from counts by the state's name."""
    return {TaskState[name]: number for name, number in named.items()}


def error_line(error: ErrorInfo | None) -> str:
    """The first line of a failure, and where in the user's code it arose."""
    if error is None:
        return "no details are known"
    told = safe_line(error_words(error), ERROR_WIDTH)
    where = place(error)
    return f"{told} ({where})" if where else told


def error_words(error: ErrorInfo) -> str:
    """`ValueError: bad row 17`: the type, and the first line of the message that says anything.

    Untrusted text.
    """
    message = next((line for line in error.message.splitlines() if line.strip()), "")
    return f"{error.type}: {message.strip()}" if message else error.type


def place(error: ErrorInfo) -> str:
    """`flows/etl.py:88`; empty if it is not known."""
    if not error.file:
        return ""
    path = error.file
    # By text alone: a stored path may be of another machine, and looking it up costs a call.
    path = path.removeprefix(f"{_HERE}{os.sep}")
    return safe_line(f"{path}:{error.line}" if error.line else path)


def command(*words: str, home: str | None = None) -> str:
    """A command line to copy: quoted for a shell, with the state directory where it is not here."""
    line = shlex.join(safe_line(w) for w in ("flowforge", *words))
    if home is None or Path(home) == Path(_HERE, ".flowforge"):
        return line
    return f"FLOWFORGE_HOME={shlex.quote(safe_line(home))} {line}"


def next_step(
    state: RunState, run_id: str, home: str | None, *, live: bool = False
) -> tuple[str, str] | None:
    """(what for, the command) after a run ended so; None where there is nothing to do.

    `live`: a process owns it still.
    """
    if live and state is RunState.PAUSED:
        return "go on", command("unpause", run_id, home=home)
    if state in (RunState.INTERRUPTED, RunState.PAUSED):
        return "carry on", command("resume", run_id, home=home)
    if state in (RunState.FAILED, RunState.CANCELLED):
        return "try again", command("retry", run_id, home=home)
    return None
