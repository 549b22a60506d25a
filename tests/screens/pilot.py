"""What tests of widgets need: an app with one widget in it, and waiting without sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from rich.style import Style
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widget import Widget

PATIENCE = 20.0


class One(App[None]):
    """An app that holds one widget."""

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget
        self.heard: list[Any] = []

    def compose(self) -> ComposeResult:
        yield self.widget


def drive(
    make: Callable[[], Widget],
    act: Callable[[Any, Pilot[None]], Awaitable[None]],
    size: tuple[int, int] = (80, 24),
) -> None:
    """Run `act(widget, pilot)` in an app that shows the widget that `make` makes."""
    async def run() -> None:
        app = One(make())
        async with app.run_test(size=size) as pilot:
            await act(app.widget, pilot)

    asyncio.run(run())


async def until(pilot: Pilot[None], true: Callable[[], Any], what: str = "") -> None:
    """Let the app go on until something is true."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}\n{picture(pilot)}"
        await pilot.pause(0.005)


def picture(pilot: Pilot[None]) -> str:
    """The screen as text."""
    screen = pilot.app.screen
    strips = screen._compositor.render_strips()
    return "\n".join("".join(s.text for s in strip).rstrip() for strip in strips)


def styles_of(pilot: Pilot[None], text: str) -> list[Style]:
    """The styles of the segments that hold a text."""
    strips = pilot.app.screen._compositor.render_strips()
    return [s.style for strip in strips for s in strip if text in s.text and s.style]


def text_of(widget: Widget) -> list[str]:
    """The widget's rows as plain text, without spaces at their ends."""
    return [widget.render_line(y).text.rstrip() for y in range(widget.size.height)]
