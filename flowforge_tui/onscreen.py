"""Opening the screen for a command, and what is told and returned when it has closed.

Rule 1: Textual is imported here and behind, so that a headless command never pays for it.
Rule 2: an error from before the run began looks as it does without a screen.
Rule 3: should the screen itself break, a run that it hosts goes on without it, in lines.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import RunState
from engine.front import Request, start, takes_unicode
from flowforge_tui import exits
from flowforge_tui.running import fit_for_display, output_of, tell_result

if TYPE_CHECKING:
    from textual.screen import Screen

    from engine import Run
    from engine.front import Found, RunSummary
    from flowforge_tui.feed import Feed, LiveFeed
    from flowforge_tui.hosting import Host
    from flowforge_tui.terminal import Terminal

Values = Callable[[], Mapping[str, Any]]


# -- whether there is to be a screen ------------------------------------------------------------


def on_a_terminal() -> bool:
    """True if a person sits at a terminal, or a browser, that can show a screen."""
    if in_a_browser():
        return True
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return os.name == "posix" and all(map(fit_for_display, streams))


@cache
def in_a_browser() -> bool:
    """True if `flowforge serve`, or a server like it, shows this program in a browser.

    The mark of that is taken out of the environment: programs that tasks start are not shown.
    """
    return os.environ.pop("TEXTUAL_DRIVER", "").endswith("web_driver:WebDriver")


def wants_screen(request: Request) -> bool:
    """Whether a run that is asked for by a command is to be shown on the screen.

    `--tui` and `--headless` (or their like in the environment and pyproject.toml) decide; else
    it is shown where there is a terminal, no CI, and no other output asked for.
    Raises ConfigError, UsageError where a screen is insisted on and cannot be.
    """
    from engine.front import from_environment, from_pyproject

    asked = request.options.screen
    if asked is None and in_a_browser():
        asked = True
    if asked is None:
        settings = from_environment(os.environ).over(from_pyproject(Path.cwd()))
        asked = settings.screen
    if asked is False or request.dry_run:
        return False
    if asked and not on_a_terminal():
        import click

        raise click.UsageError("--tui needs a terminal; leave it out to run headless.")
    return bool(asked) or (
        on_a_terminal() and output_of(request) == "auto" and not os.environ.get("CI"))


# -- a run of this process ------------------------------------------------------------------------


def run_on_screen(
    request: Request,
    file: str | Path,
    *,
    workflow: str | None = None,
    written: Mapping[str, str] | None = None,
    values: Values | None = None,
) -> int:
    """As `running.carry_out`, on the screen."""
    return open_host(_host_of(request, file, workflow=workflow, written=written, values=values))


def _host_of(request: Request, file: str | Path, **more: Any) -> Host:
    from flowforge_tui.hosting import Host

    def work(feed: LiveFeed) -> Run | None:
        feed.prepare(request)
        return start(request, file, **more)

    return Host(work)


def open_host(host: Host) -> int:
    """Show a run that this process hosts until the person leaves; returns the exit code."""
    from flowforge_tui.screens.run import RunScreen

    return _show(lambda: RunScreen(host.feed, host, carry_on_here), host)


def run_in_python(work: Callable[[Callable[[Request], None]], Run | None]) -> Run:
    """`screen=True` from Python: run `work` on a screen. The engine's entry point.

    Raises what the run raises, KeyboardInterrupt if the person stopped it or did not want it.
    """
    from flowforge_tui.hosting import Host

    host = Host(lambda feed: work(feed.prepare))
    open_host(host)
    if host.error is not None:
        raise host.error
    if host.run is None or host.run.state is RunState.INTERRUPTED:
        raise KeyboardInterrupt
    return host.run


def carry_on_here(run_id: str, home: str | None, command: str, tasks: Sequence[str]) -> Host:
    """What hosts a resume, retry or rerun of a run that nobody runs now."""
    from engine.front import open_stored, state_directory
    from flowforge_tui.commands.carry_on import how_to_go_on

    stored = open_stored(Path(home) if home else state_directory(), run_id)
    how = how_to_go_on(stored, command, tasks)
    return _host_of(how.request, how.file, workflow=how.workflow, values=how.values)


# -- another process's run, and the launcher ----------------------------------------


def attach_on_screen(home: Path, name: str) -> int:
    """Show a run of another process, or one long ended. Raises RunNotFound."""
    from flowforge_tui.attached import StoredFeed
    from flowforge_tui.screens.run import RunScreen

    feed = StoredFeed(home, name)
    return _show(lambda: RunScreen(feed, None, carry_on_here), feed=feed)


def launcher() -> int:
    """`flowforge` alone."""
    from flowforge_tui.screens.launcher import LauncherScreen

    code = _show(lambda: LauncherScreen(_host_found, _feed_of, _host_past, carry_on_here))
    # How each of the runs that were started there ended was told there.
    return exits.SUCCESS if code in (exits.RUN_FAILED, exits.USAGE, exits.OWNED) else code


def _host_found(found: Found, parameters: str) -> Host:
    """What hosts a workflow that was found. Raises UsageError, ValueError for the parameters."""
    from flowforge_tui.flags import parameters_of

    written = parameters_of(tuple(shlex.split(parameters)))
    name = found.name if found.form == "function" else None
    return _host_of(Request(), found.file, workflow=name, written=written)


def _feed_of(run: RunSummary) -> Feed:
    from engine.front import state_directory
    from flowforge_tui.attached import StoredFeed

    return StoredFeed(state_directory(), run.run_id)


def _host_past(run: RunSummary) -> Host:
    again = run.state in (RunState.FAILED, RunState.CANCELLED)
    return carry_on_here(run.run_id, None, "retry" if again else "resume", ())


# -- the screen itself ----------------------------------------------------------------------------


def _show(
    first: Callable[[], Screen[Any]], host: Host | None = None, feed: Feed | None = None
) -> int:
    from engine.front import wants_ascii
    from flowforge_tui.app import FlowForgeApp
    from flowforge_tui.look import Look

    browser = in_a_browser()
    unicode = (browser or takes_unicode(sys.stdout)) and not wants_ascii(
        os.environ, Path.cwd())
    app: FlowForgeApp | None = None

    def hear(stream: str, text: str) -> None:
        if app is not None:  # other threads may print while it is being made
            app.hear(stream, text)

    with _terminal(browser)(hear) as terminal:
        app = FlowForgeApp(first, look=Look(unicode=unicode), terminal=terminal, host=host)
        app.feed = feed or app.feed
        app.run()
    return _after(app.host, app.feed, app.fault, app.signal, unicode=unicode)


def _terminal(browser: bool) -> type[Terminal]:
    if browser:
        from flowforge_tui.browser.terminal import BrowserTerminal

        return BrowserTerminal
    from flowforge_tui.terminal import Terminal

    return Terminal


def _after(
    host: Host | None, feed: Feed | None, fault: Exception | None, signal: int | None, *,
    unicode: bool,
) -> int:
    """See a hosted run to its end, tell how it stands, and find the exit code."""
    from flowforge_tui.summary import summary_lines

    code = exits.tell(fault) if fault is not None else exits.SUCCESS
    if host is not None:
        _see_through(host, goes_on=fault is not None and signal is None)
        if host.error is not None and not isinstance(host.error, KeyboardInterrupt):
            return exits.tell(host.error)
    if feed is not None:
        feed.poll()
        for line in summary_lines(feed, unicode=unicode):
            exits.say(line)
    if signal is not None:
        return 128 + signal
    if host is not None and host.feed.refused:
        exits.say("nothing was run: the run is as it was, to be carried on another time")
    if host is None or host.run is None:
        # Left at once, with work still in hand: the run is as interrupted as if it had ended so.
        return code or (exits.INTERRUPTED if host is not None and host.level else exits.SUCCESS)
    if host.run.state is RunState.SUCCESS:
        tell_result(host.run)
    return exits.code_of_run(host.run.state, host.run.signal) or code


def _see_through(host: Host, *, goes_on: bool) -> None:
    """Wait for a hosted run's end: stopped now, or going on after the screen broke."""
    if host.ended or not host.started:
        return
    if goes_on:
        exits.say("the screen is gone; the run goes on (Ctrl-C stops it, to be resumed)")
        host.feed.tell_on_in_lines()
    elif not host.level and host.feed.unfinished:
        host.stop(2)
    host.close()
    while True:
        try:
            if host.join(1.0):
                return
            if host.level >= 3:
                return
        except KeyboardInterrupt:
            host.stop(host.level + 1)
