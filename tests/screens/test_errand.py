"""What takes time is done beside the loop: keys are heard meanwhile, and leaving calls it off."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
import pytest
from textual.pilot import Pilot

from engine import RunState
from engine.errors import RunError
from engine.front import RunSummary
from flowforge_tui import errand
from flowforge_tui.app import FlowForgeApp
from flowforge_tui.feed import Feed, LiveFeed
from flowforge_tui.screens.help import HelpScreen
from flowforge_tui.screens.launcher import LauncherScreen
from flowforge_tui.screens.run import RunScreen
from flowforge_tui.widgets.runs import RunList, WorkflowList
from tests.screens.made import BEGAN, begun
from tests.screens.pilot import PATIENCE, until

RUN = RunSummary("20330518-033320-8f3a", "made", RunState.FAILED, "made.py", BEGAN, BEGAN + 1, "")


class Slow:
    """What opens a run, once it is let."""

    def __init__(self, outcome: Any) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.loop = threading.get_ident()
        self.outcome = outcome

    def __call__(self, *_: Any) -> Any:
        assert threading.get_ident() != self.loop
        self.begun.set()
        assert self.go.wait(PATIENCE)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Made(LiveFeed):
    """A run that has failed, and that nobody runs any more."""

    live = False

    def __init__(self) -> None:
        super().__init__()
        self.view = begun(("work", 2))
        self.view.ended = BEGAN + 2.0


class NewHost:
    """What `carry_on` returns, as far as a screen needs it."""

    ended, error, level, started = False, None, 0, False

    def __init__(self) -> None:
        self.feed = Made()
        self.start = self.close = lambda: None


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWFORGE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(LauncherScreen, "_find", lambda self: None)
    monkeypatch.setattr(LauncherScreen, "_list", lambda self: None)


def launched(
    look_at: Callable[[RunSummary], Feed],
    act: Callable[[FlowForgeApp, Pilot[None]], Awaitable[None]],
) -> None:
    """With the launcher, the cursor on a run."""
    def never(*_: Any) -> Any:
        raise AssertionError("not asked for")

    async def run() -> None:
        app = FlowForgeApp(lambda: LauncherScreen(never, look_at, never, never))
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: isinstance(app.screen, LauncherScreen))
            app.screen.query_one(RunList).show([RUN])
            app.screen.query_one(RunList).focus()
            await pilot.press("enter")
            await act(app, pilot)

    asyncio.run(run())


def opened(app: FlowForgeApp) -> bool:
    """A run's screen is there, and has been drawn."""
    return isinstance(app.screen, RunScreen) and app.screen._shown is not None


def toasts(app: FlowForgeApp) -> str:
    return "\n".join(n.message for n in app._notifications)


def test_keys_are_heard_while_a_run_is_opened() -> None:
    slow = Slow(Made())

    async def act(app: FlowForgeApp, pilot: Pilot[None]) -> None:
        await until(pilot, slow.begun.is_set)
        await until(pilot, lambda: "opening the run…" in toasts(app), "what it does, to be told")
        await pilot.press("tab")
        await until(pilot, lambda: app.screen.query_one(WorkflowList).has_focus, "the other list")
        slow.go.set()
        await until(pilot, lambda: opened(app))
        assert app.feed is slow.outcome

    launched(slow, act)


def test_a_run_that_was_left_is_waited_for_beside_the_loop() -> None:
    slow, leaving = Slow(Made()), Slow(True)
    slow.go.set()

    async def act(app: FlowForgeApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: opened(app))
        host: Any = NewHost()
        host.join = leaving
        app.host = host
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, LauncherScreen))
        slow.begun.clear()
        await pilot.press("enter")
        await until(pilot, leaving.begun.is_set)
        assert not slow.begun.is_set()
        leaving.go.set()
        await until(pilot, lambda: opened(app))

    launched(slow, act)


def test_it_is_not_opened_over_what_the_person_looks_at_by_then() -> None:
    slow = Slow(Made())

    async def act(app: FlowForgeApp, pilot: Pilot[None]) -> None:
        await until(pilot, slow.begun.is_set)
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        slow.go.set()
        await until(pilot, lambda: "you went elsewhere" in toasts(app))
        assert isinstance(app.screen, HelpScreen) and app.feed is None

    launched(slow, act)


def test_pressed_again_it_says_that_it_is_at_it() -> None:
    slow = Slow(Made())

    async def act(app: FlowForgeApp, pilot: Pilot[None]) -> None:
        await until(pilot, slow.begun.is_set)
        await pilot.press("enter")
        await until(pilot, lambda: "still opening the run" in toasts(app))
        slow.go.set()
        await until(pilot, lambda: opened(app))
        assert len(app.screen_stack) == 3  # Textual's own, the launcher, the run: opened once

    launched(slow, act)


@pytest.mark.parametrize("error", [
    RunError("somebody runs it"), ValueError("not a number"), click.UsageError("no such option"),
])
def test_what_is_wrong_is_told_and_the_next_is_opened(error: Exception) -> None:
    slow = Slow(error)
    slow.go.set()

    async def act(app: FlowForgeApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: errand.told(error) in toasts(app))
        slow.outcome = Made()
        await pilot.press("enter")
        await until(pilot, lambda: opened(app))

    launched(slow, act)


def test_a_run_is_carried_on_from_its_screen_beside_the_loop() -> None:
    host = NewHost()
    slow, feed = Slow(host), Made()

    async def run() -> None:
        app = FlowForgeApp(lambda: RunScreen(feed, None, slow))
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: opened(app))
            screen: Any = app.screen
            screen._again_here("retry", ["work-0"])
            await until(pilot, slow.begun.is_set)
            assert screen.feed is feed
            slow.go.set()
            await until(pilot, lambda: screen.feed is host.feed, "the run to be carried on")

    asyncio.run(run())


def test_facts_that_come_after_the_run_was_changed_are_not_shown() -> None:
    async def run() -> None:
        app = FlowForgeApp(lambda: RunScreen(Made()))
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: opened(app))
            screen: Any = app.screen
            screen._take_facts(screen.feed, [("file", "now.py")])
            screen._take_facts(Made(), [("file", "before.py")])
            assert screen.pane.facts == [("file", "now.py")]

    asyncio.run(run())


