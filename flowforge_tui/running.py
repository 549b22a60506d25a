"""Starting a run for a command: what shows it, and the exit code that it ends with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from engine.front import Request, start
from flowforge_tui import exits

if TYPE_CHECKING:
    from engine import Run
    from engine.front import Reporter

#: Runs of more task runs than this do not have their result shown: it may hold a value of each
#: of them, all of which would be read back for one line.
RESULT_SHOWN = 20_000

#: Characters of a result that are shown.
RESULT_WIDTH = 1_000


def output_of(request: Request) -> str:
    """The setting `output`, as far as it is known before the flow file is loaded."""
    from engine.front import from_environment, from_pyproject

    given = request.options.output or from_environment(os.environ).output
    return given or from_pyproject(Path.cwd()).output or "auto"


def carry_out(
    request: Request,
    file: str | Path,
    *,
    workflow: str | None = None,
    written: Mapping[str, str] | None = None,
    values: Callable[[], Mapping[str, Any]] | None = None,
) -> int:
    """Start what the file holds, have it shown, and return the exit code."""
    from engine.errors import LoadError

    events: IO[str] | None = None
    if output_of(request) == "json":
        from flowforge_tui.console_json import claim_stdout

        events = claim_stdout()
    made: list[Reporter] = []

    def reporter(output: str) -> Reporter:
        made.append(console(output, events))
        return made[-1]

    request.reporter = reporter
    try:
        run = start(request, file, workflow=workflow, written=written, values=values)
    except LoadError as error:
        if request.run is None:
            raise
        # The run is over; it is the code behind it that raised.
        exits.tell(error)
        return exits.code_of_run(request.run.state, request.run.signal) or exits.RUN_FAILED
    finally:
        for shown in made:
            if hasattr(shown, "close"):  # a display that an error left open
                shown.close()
    if run is None:
        return exits.SUCCESS
    code = exits.code_of_run(run.state, run.signal)
    if run.state == "SUCCESS" and output_of(request) not in ("json", "silent"):
        tell_result(run)
    return code


def tell_result(run: Run) -> None:
    """What the workflow returned, on one line of stderr; nothing if it returned nothing."""
    if sum(run.counts.values()) > RESULT_SHOWN:
        return
    import reprlib

    from engine.front import mask, safe_line

    short = reprlib.Repr()
    short.maxdict = short.maxlist = short.maxtuple = 12
    short.maxstring = short.maxother = 200
    result = run.result
    if result is not None:
        exits.say(f"result: {safe_line(mask(short.repr(result)), RESULT_WIDTH)}")


def console(output: str, events: IO[str] | None = None) -> Reporter:
    """What shows a run under a setting of `output`."""
    from engine.front import PlainConsole, Silent

    if output == "json" or events is not None:
        from flowforge_tui.console_json import JsonConsole, claim_stdout

        return JsonConsole(events or claim_stdout())
    if output == "silent":
        return Silent()
    if output in ("auto", "rich") and fit_for_display(sys.stderr):
        from flowforge_tui.console_rich import RichConsole

        return RichConsole()
    return PlainConsole()


def fit_for_display(stream: Any) -> bool:
    """True if a stream is a terminal that can redraw lines."""
    try:
        return bool(stream.isatty()) and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    except (AttributeError, ValueError):
        return False
