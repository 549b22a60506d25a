"""What a command line or a screen may use of the engine, gathered in one place.

Everything else below `engine`, the names of `engine` itself and `engine.errors` apart, is
the engine's own business and may change without notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.core.events import Attempt as Attempt
    from engine.core.events import Change as Change
    from engine.core.events import ErrorInfo as ErrorInfo
    from engine.core.events import Expanded as Expanded
    from engine.core.events import Failed as Failed
    from engine.core.events import Moved as Moved
    from engine.core.events import OutlineChanged as OutlineChanged
    from engine.core.events import Ran as Ran
    from engine.core.events import Reset as Reset
    from engine.core.events import Restored as Restored
    from engine.core.events import RunMoved as RunMoved
    from engine.core.events import Started as Started
    from engine.core.events import Succeeded as Succeeded
    from engine.core.graph import Graph as Graph
    from engine.core.overview import Overview as Overview
    from engine.core.overview import Section as Section
    from engine.core.overview import sections_of as sections_of
    from engine.core.record import RunRecord as RunRecord
    from engine.core.record import inherit as inherit
    from engine.core.record import rested_since as rested_since
    from engine.core.states import IS_TERMINAL as IS_TERMINAL
    from engine.runtime.checkup import Finding as Finding
    from engine.runtime.checkup import check_up as check_up
    from engine.runtime.find import Found as Found
    from engine.runtime.find import find_workflows as find_workflows
    from engine.runtime.gauges import Gauges as Gauges
    from engine.runtime.gauges import Lane as Lane
    from engine.runtime.gauges import Limit as Limit
    from engine.runtime.looking import Look as Look
    from engine.runtime.looking import preview as preview
    from engine.runtime.options import RunOptions as RunOptions
    from engine.runtime.options import options_from as options_from
    from engine.runtime.outline import Outline as Outline
    from engine.runtime.places import Place as Place
    from engine.runtime.plan import Plan as Plan
    from engine.runtime.plan import PlanEntry as PlanEntry
    from engine.runtime.plan import PlanRow as PlanRow
    from engine.runtime.plan import Wish as Wish
    from engine.runtime.replay import Damaged as Damaged
    from engine.runtime.replay import Figures as Figures
    from engine.runtime.replay import Follower as Follower
    from engine.runtime.replay import GraphChanged as GraphChanged
    from engine.runtime.replay import SessionBegan as SessionBegan
    from engine.runtime.replay import Step as Step
    from engine.runtime.replay import Told as Told
    from engine.runtime.reporting import Live as Live
    from engine.runtime.reporting import Reporter as Reporter
    from engine.runtime.reporting import Silent as Silent
    from engine.runtime.request import Request as Request
    from engine.runtime.settings import from_environment as from_environment
    from engine.runtime.settings import from_pyproject as from_pyproject
    from engine.runtime.settings import parse_option as parse_option
    from engine.runtime.settings import wants_ascii as wants_ascii
    from engine.runtime.start import start as start
    from engine.runtime.stored import Listing as Listing
    from engine.runtime.stored import RunSummary as RunSummary
    from engine.runtime.stored import StoredRun as StoredRun
    from engine.runtime.stored import follow_stored as follow_stored
    from engine.runtime.stored import list_runs as list_runs
    from engine.runtime.stored import open_stored as open_stored
    from engine.runtime.stored import state_directory as state_directory
    from engine.runtime.stored import unfinished_run as unfinished_run
    from engine.state.home import Home as Home
    from engine.telemetry import wording as wording
    from engine.telemetry.console import PlainConsole as PlainConsole
    from engine.telemetry.console import advice as advice
    from engine.telemetry.glyphs import LOOKS as LOOKS
    from engine.telemetry.glyphs import RUN_COLOURS as RUN_COLOURS
    from engine.telemetry.glyphs import glyph as glyph
    from engine.telemetry.glyphs import takes_unicode as takes_unicode
    from engine.telemetry.metrics import Sample as Sample
    from engine.telemetry.safe_text import safe as safe
    from engine.telemetry.safe_text import safe_line as safe_line
    from engine.telemetry.series import Durations as Durations
    from engine.telemetry.series import Series as Series
    from engine.telemetry.shown import failures_of as failures_of
    from engine.telemetry.shown import plan_lines as plan_lines
    from engine.telemetry.tasklog import LogLine as LogLine
    from engine.telemetry.tasklog import LogReader as LogReader
    from engine.telemetry.tasklog import LogTail as LogTail
    from engine.worker.capture import redirect_fds as redirect_fds
    from engine.worker.secrets import mask as mask
    from engine.worker.standard import hold_standard_streams as hold_standard_streams
    from engine.worker.standard import working_directory as working_directory

_MODULES = {
    "engine.core.graph": ("Graph",),
    "engine.core.events": (
        "Attempt", "Change", "ErrorInfo", "Expanded", "Failed", "Moved", "OutlineChanged",
        "Ran", "Reset", "Restored", "RunMoved", "Started", "Succeeded",
    ),
    "engine.core.overview": ("Overview", "Section", "sections_of"),
    "engine.core.record": ("RunRecord", "inherit", "rested_since"),
    "engine.core.states": ("IS_TERMINAL",),
    "engine.runtime.checkup": ("Finding", "check_up"),
    "engine.runtime.find": ("Found", "find_workflows"),
    "engine.runtime.gauges": ("Gauges", "Lane", "Limit"),
    "engine.runtime.looking": ("Look", "preview"),
    "engine.runtime.options": ("RunOptions", "options_from"),
    "engine.runtime.outline": ("Outline",),
    "engine.runtime.places": ("Place",),
    "engine.runtime.plan": ("Plan", "PlanEntry", "PlanRow", "Wish"),
    "engine.runtime.replay": (
        "Damaged", "Figures", "Follower", "GraphChanged", "SessionBegan", "Step", "Told",
    ),
    "engine.runtime.reporting": ("Live", "Reporter", "Silent"),
    "engine.runtime.request": ("Request",),
    "engine.runtime.settings": (
        "from_environment", "from_pyproject", "parse_option", "wants_ascii",
    ),
    "engine.runtime.start": ("start",),
    "engine.runtime.stored": (
        "Listing", "RunSummary", "StoredRun", "follow_stored", "list_runs", "open_stored",
        "state_directory", "unfinished_run",
    ),
    "engine.state.home": ("Home",),
    "engine.telemetry": ("wording",),
    "engine.telemetry.console": ("PlainConsole", "advice"),
    "engine.telemetry.glyphs": ("LOOKS", "RUN_COLOURS", "glyph", "takes_unicode"),
    "engine.telemetry.metrics": ("Sample",),
    "engine.telemetry.safe_text": ("safe", "safe_line"),
    "engine.telemetry.series": ("Durations", "Series"),
    "engine.telemetry.shown": ("failures_of", "plan_lines"),
    "engine.telemetry.tasklog": ("LogLine", "LogReader", "LogTail"),
    "engine.worker.capture": ("redirect_fds",),
    "engine.worker.secrets": ("mask",),
    "engine.worker.standard": ("hold_standard_streams", "working_directory"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'engine.front' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(home)
    value = getattr(module, name, None)
    if value is None:  # a module of the package
        value = import_module(f"{home}.{name}")
    globals()[name] = value
    return value
