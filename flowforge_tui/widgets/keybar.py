"""The last line: what a person has set here, and the keys that matter most."""

from __future__ import annotations

from typing import Any

from textual.strip import Strip
from textual.widget import Widget

from flowforge_tui.keys import Key
from flowforge_tui.look import ACCENT, DIM, WARN
from flowforge_tui.strips import Line


class KeyBar(Widget):
    """Keys and their words, as many as there is room for."""

    DEFAULT_CSS = """
    KeyBar { height: 1; }
    """

    def __init__(self, keys: tuple[Key, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._keys = tuple(key for key in keys if key.bar)
        self._status = ""

    def tell(self, status: str) -> None:
        """Show before the keys what is set. May hold what was typed."""
        if status != self._status:
            self._status = status
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """As Textual asks for it."""
        width, line = self.size.width, Line().add(" ")
        if self._status:
            line.put(self._status, WARN, limit=max(8, width // 2)).add("  ")
        for key in self._keys:
            shown = "⏎" if key.shown == "Enter" and not self.app.ascii else key.shown  # type: ignore[attr-defined]
            if line.used + len(shown) + len(key.bar) + 3 > width:
                break
            line.add(shown, ACCENT).add(f" {key.bar}  ", DIM)
        return line.strip(width).apply_style(self.rich_style)
