"""Exit codes, and how each kind of error is told on the way out.

Rule 1: an error of the engine's family is one clear message, never a traceback: it says what
        to do. The traceback of a user's own error is part of that message.
Rule 2: a closed stdout (`| head`) is no error and is not talked about.
Rule 3: anything else is a fault of FlowForge; its traceback is shown, and said to be that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from engine import RunState
from engine.errors import (
    FlowForgeError,
    RunFailed,
    RunInterrupted,
    RunOwned,
    StorageError,
)

SUCCESS = 0
RUN_FAILED = 1
USAGE = 2
ENGINE_FAILED = 3
OWNED = 4
INTERRUPTED = 130

_CODES: tuple[tuple[type[FlowForgeError], int], ...] = (
    (RunOwned, OWNED), (StorageError, ENGINE_FAILED), (RunFailed, RUN_FAILED),
    (RunInterrupted, INTERRUPTED),
)


def code_of_run(state: RunState, signal: int | None) -> int:
    """The exit code for a run that ended so; `signal`: the number of what stopped it.

    PAUSED is how a run ends of which all that --until and --only ask for is done.
    """
    if state in (RunState.SUCCESS, RunState.PAUSED):
        return SUCCESS
    if state is RunState.INTERRUPTED:
        return 128 + signal if signal else INTERRUPTED
    return RUN_FAILED


def code_of_error(error: FlowForgeError) -> int:
    """The exit code for an error of the engine's family."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), USAGE)


def tell(error: BaseException) -> int:
    """Tell an error on stderr, if there is something to tell; returns the exit code."""
    from flowforge_tui.safe_text import safe

    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, FlowForgeError):
        say(f"error: {safe(str(error))}")
        return code_of_error(error)
    hidden = _hidden_modules()
    if hidden:
        say(safe(f"error: {hidden[0]} has the name of one of Python's own modules, which is "
                 "imported in its place; rename it"))
        return USAGE
    import traceback

    say(safe("".join(traceback.format_exception(error))))
    say("This is a fault of FlowForge itself, not of your flow; please report it with the above.")
    return ENGINE_FAILED


def _hidden_modules() -> list[str]:
    """Files of the user's that were imported where Python's own module was meant."""
    import sysconfig

    own = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")} | {
        str(Path(os.__file__).parent)})
    files = (getattr(sys.modules.get(name), "__file__", None) for name in sys.stdlib_module_names)
    return [file for file in files if isinstance(file, str) and not file.startswith(own)]


def say(text: str) -> None:
    """A message on stderr, in whatever encoding that has; silent if it is closed."""
    if "engine.worker.secrets" in sys.modules:
        from engine.front import mask

        text = mask(text)
    stream = sys.stderr
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(f"{text}\n".encode(encoding, "replace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        pass


def let_go_of(stream: IO[str]) -> None:
    """After its reader closed it: keep what is left in it from being complained of at the end.

    The interpreter flushes every stream that it throws away, and says what failed: of stdout in
    each version, of any other from 3.13 on.
    """
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass
