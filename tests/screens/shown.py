"""Widgets on a screen of their own, without a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widget import Widget


class Bench(App[None]):
    """Shows one widget."""

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget

    def compose(self) -> ComposeResult:
        yield self.widget


def show(
    widget: Widget, size: tuple[int, int], act: Callable[[Pilot[None]], Awaitable[None]]
) -> None:
    """Mount a widget on a screen of `size` cells, focus it, and do things."""

    async def session() -> None:
        app = Bench(widget)
        async with app.run_test(size=size) as pilot:
            if widget.can_focus:
                widget.focus()
            await pilot.pause()
            await act(pilot)

    asyncio.run(session())


def text_of(widget: Widget) -> list[str]:
    """The widget's rows as plain text, without spaces at their ends."""
    return [widget.render_line(y).text.rstrip() for y in range(widget.size.height)]
