"""The last line: what a person has set here, and the keys that matter most."""

from __future__ import annotations

from typing import Any

from textual.strip import Strip
from textual.widget import Widget

from flowforge_tui.keys import Key
from flowforge_tui.look import ACCENT, DIM, WARN
from flowforge_tui.owned import Owned
from flowforge_tui.strips import Line


class KeyBar(Owned, Widget):
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
        for shown, word in self._fitting(width - line.used):
            line.add(shown, ACCENT).add(f" {word}  ", DIM)
        return line.strip(width).apply_style(self.rich_style)

    def _fitting(self, room: int) -> list[tuple[str, str]]:
        """Keys and words in `room` cells; without enough, those before the last two give way:
        how to get help, and how to get out, nobody can look up.
        """
        said = [("⏎" if key.shown == "Enter" and not self.own.ascii else key.shown, key.bar)
                for key in self._keys]
        while said and sum(len(shown) + len(word) + 3 for shown, word in said) > room:
            said.pop(max(0, len(said) - 3))
        return said
