"""`screen=True`: a run from Python on a screen, if one is installed.

The engine draws nothing and imports nothing that does: who can show a run says so by an entry
point of the group `flowforge.screens`. It is called with the work: a function that takes what
makes the run's reporter, and runs the workflow.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from engine.errors import ConfigError
from engine.runtime.options import RunOptions
from engine.runtime.reporting import Reporter
from engine.runtime.request import Request, awaited, requested
from engine.runtime.run import Run
from engine.runtime.settings import settle

GROUP = "flowforge.screens"

Work = Callable[[Callable[[str], Reporter]], Run]
Screen = Callable[[Work], Run]


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
    def work(reporter: Callable[[str], Reporter]) -> Run:
        with requested(Request(reporter=reporter, linger=True)):
            return run()

    return _screen()(work)


def _screen() -> Screen:
    from importlib.metadata import entry_points  # 16 ms

    for point in entry_points(group=GROUP):
        found: Any = point.load()
        screen: Screen = found
        return screen
    raise ConfigError("screen=True needs FlowForge's screen, which is not installed here; "
                      "`pip install flowforge` brings it")
