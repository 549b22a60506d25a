"""The launcher: what it asks for, what it tells of runs, and the toasts of all screens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine import RunState
from engine.front import Found, RunSummary
from flowforge_tui import app as app_module
from flowforge_tui.app import FlowForgeApp
from flowforge_tui.screens.launcher import LauncherScreen
from flowforge_tui.widgets.runs import RunList, WorkflowList
from tests.screens.made import BEGAN
from tests.screens.pilot import drive, picture, text_of, until

RUNS = [RunSummary(f"20330518-033320-{end}", "a_workflow_of_some_length", RunState.CANCELLED,
                   "made.py", BEGAN, BEGAN + 9_000, "", 3_000.0) for end in ("8f3a", "8f3b")]
ASKING = Found(Path("flow.py"), "asking", "function", ("path: str", "n: int = [/red]4"))
BARE = Found(Path("flow.py"), "bare", "function")


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LauncherScreen, "_find", lambda self: None)
    monkeypatch.setattr(LauncherScreen, "_list", lambda self: None)


def launched(act: Callable[[FlowForgeApp, Pilot[None]], Awaitable[None]]) -> list[tuple[str, str]]:
    """What was run, with which parameters as written: each is refused."""
    begun: list[tuple[str, str]] = []

    def begin(found: Found, parameters: str) -> Any:
        begun.append((found.name, parameters))
        raise ValueError("not here")

    async def run() -> None:
        app = FlowForgeApp(
            lambda: LauncherScreen(begin, None, None, None))  # type: ignore[arg-type]
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: isinstance(app.screen, LauncherScreen))
            app.screen.query_one(WorkflowList).show([ASKING, BARE])
            await act(app, pilot)

    asyncio.run(run())
    return begun


def test_it_tells_which_parameters_there_are_and_takes_them() -> None:
    async def act(app: FlowForgeApp, pilot: Pilot[None]) -> None:
        await pilot.press("enter")
        await until(pilot, lambda: "asking  path: str · n: int = [/red]4" in picture(pilot))
        assert app.screen.query_one(Input).has_focus
        await pilot.press("escape")
        await until(pilot, lambda: "path: str" not in picture(pilot))
        await pilot.press("enter", *"n=1", "enter")
        await until(pilot, lambda: any("not here" in n.message for n in app._notifications))

    assert launched(act) == [("asking", "n=1")]


def test_where_there_are_none_it_does_not_ask() -> None:
    async def act(app: FlowForgeApp, pilot: Pilot[None]) -> None:
        await pilot.press("j", "enter")
        await until(pilot, lambda: any("not here" in n.message for n in app._notifications))

    assert launched(act) == [("bare", "")]


@pytest.mark.parametrize("width", [40, 60, 76, 80, 120])
def test_the_end_of_an_id_is_shown_at_every_width(width: int) -> None:
    async def act(runs: RunList, pilot: Pilot[None]) -> None:
        runs.show(RUNS)
        await until(pilot, lambda: "8f3a" in picture(pilot) and "8f3b" in picture(pilot))
        if width >= 80:
            row = text_of(runs)[0]
            assert RUNS[0].run_id in row and "50 min 0 s" in row

    drive(RunList, act, size=(width, 10))


def test_the_last_few_toasts_stay_and_none_says_what_another_says() -> None:
    async def act(app: FlowForgeApp, pilot: Pilot[None]) -> None:
        for text in ("one", "two", "three", "two", "four", "five", "five"):
            app.tell(text)
        await until(pilot, lambda: [n.message for n in app._notifications] == [
            "two", "four", "five"])
        assert len(app._notifications) == app_module._TOASTS
        app.tell("two and three")  # says what one before says, and more
        await until(pilot, lambda: [n.message for n in app._notifications] == [
            "four", "five", "two and three"])
        app.tell("three")
        app.tell("six")
        await until(pilot, lambda: [n.message for n in app._notifications] == [
            "five", "two and three", "six"])

    launched(act)
