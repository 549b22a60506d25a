"""`screen=True`: a run from Python on a screen, if one is installed.

The engine draws nothing and imports nothing that does: who can show a run says so by an entry
point of the group `flowforge.screens`. It is called with the work: a function that runs the
workflow, and takes what fills in the `Request` that the run has to meet.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from engine.errors import ConfigError
from engine.runtime.options import RunOptions
from engine.runtime.request import PlanRefused, Request, awaited, requested
from engine.runtime.run import Run
from engine.runtime.settings import settle

GROUP = "flowforge.screens"

Work = Callable[[Callable[[Request], None]], Run | None]
Screen = Callable[[Work], Run]
"""Raises what the run raises."""


def shown(options: RunOptions, run: Callable[[], Run]) -> Run:
    """Run `run`, on a screen if its options say so. Raises ConfigError if there is none."""
    return _on_screen(run) if _wants_screen(options) else run()


def _wants_screen(options: RunOptions) -> bool:
    """It is asked for, nobody shows the run already, and this is the main thread of a program
    at a terminal."""
    if awaited() or threading.current_thread() is not threading.main_thread():
        return False
    return settle(options, RunOptions()).screen is True and _at_a_terminal()


def _at_a_terminal() -> bool:
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return all(stream is not None and stream.isatty() for stream in streams)


def _on_screen(run: Callable[[], Run]) -> Run:
    def work(prepare: Callable[[Request], None]) -> Run | None:
        request = Request()
        prepare(request)
        with requested(request):
            try:
                return run()
            except PlanRefused:
                return None

    return _screen()(work)


def _screen() -> Screen:
    from importlib.metadata import entry_points  # 16 ms

    for point in entry_points(group=GROUP):
        found: Any = point.load()
        screen: Screen = found
        return screen
    raise ConfigError("screen=True needs FlowForge's screen, which is not installed here; "
                      "`pip install flowforge` brings it")
