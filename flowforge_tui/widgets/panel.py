"""A view of a few lines that are made anew at each frame; the terminal gets those that changed.

Rule: `lines` makes what the panel shows, in the cells that there are. It is called once a frame,
      so it has to cost cells, not tasks.
"""

from __future__ import annotations

from typing import Any

from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from flowforge_tui.look import Look
from flowforge_tui.strips import in_ascii


class Panel(Widget):
    """Subclasses say what the lines are; their `frame` takes the figures and calls `paint`."""

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.look = look if look is not None else Look()
        self._shown: list[Strip] = []
        self.lines_painted = 0
        """How many lines were ever given to the terminal: what a frame costs is gated on it."""

    def lines(self, width: int, height: int) -> list[Strip]:
        """At most `height` lines of exactly `width` cells."""
        raise NotImplementedError

    def paint(self) -> None:
        """Make the lines, and have those painted that differ from what is shown."""
        width, height = self.size
        if not self.is_attached or not width or not height:
            return
        made = self.lines(width, height)
        if not self.look.unicode:
            made = [in_ascii(strip) for strip in made]
        made += [Strip.blank(width)] * (height - len(made))
        if len(made) != len(self._shown):
            self._shown = made
            self.refresh()
            return
        for y, (new, old) in enumerate(zip(made, self._shown, strict=True)):
            if new != old:
                self.refresh(Region(0, y, width, 1))
        self._shown = made

    def render_line(self, y: int) -> Strip:
        """As Textual asks for it: one row of the screen."""
        if y >= len(self._shown):
            return Strip.blank(self.size.width, self.rich_style)
        self.lines_painted += 1
        return self._shown[y].apply_style(self.rich_style)

    def on_resize(self, event: events.Resize) -> None:
        """Another size: all is made anew."""
        self._shown = []
        self.paint()
