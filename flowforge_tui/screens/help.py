"""Every key, by what it is for; made from the table that the bindings are made from."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from flowforge_tui.keys import ALL_KEYS, GROUPS, Key, keymap_file
from flowforge_tui.look import ACCENT, BOLD, DIM
from flowforge_tui.safe_text import safe_line

_TITLES = {
    "move": "Move", "find": "Find", "select": "Select", "act": "Act", "inspect": "Inspect",
    "log": "In the log", "detail": "In the details", "timeline": "In the timeline",
    "travel": "While travelling in time", "graph": "In the graph",
    "out": "Out of here", "view": "View", "run": "The run",
}


class HelpScreen(ModalScreen[None]):
    """Closes at any key that does not scroll."""

    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll {
        width: 90%; max-width: 110; height: 90%; padding: 1 2;
        background: $surface; border: round $primary;
    }
    HelpScreen Static { height: auto; }
    """

    def __init__(self, keys: Sequence[Key] = ALL_KEYS) -> None:
        """`keys`: those of the screen below."""
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        """The table."""
        with VerticalScroll():
            yield Static(_table(self._keys))
            yield Static(Text(
                f"\nOther keys: {safe_line(str(keymap_file()))}, a line each, such as "
                'retry = "ctrl+r,r"; the word on the right is the id.',
                style=DIM))

    def on_key(self, event: events.Key) -> None:
        """Scroll, or close."""
        if event.key in ("up", "down", "pageup", "pagedown", "home", "end"):
            return
        event.stop()
        if event.key in ("j", "k"):
            scroll = self.query_one(VerticalScroll)
            scroll.scroll_relative(y=1 if event.key == "j" else -1, animate=False)
            return
        self.dismiss(None)


def _table(keys: Sequence[Key]) -> Table:
    table = Table.grid(padding=(0, 2))
    for group in GROUPS:
        found = [key for key in keys if key.group == group and key.shown]
        if found:
            table.add_row(Text(_TITLES[group], style=BOLD))
        for key in found:
            table.add_row(Text(f"  {key.shown}", style=ACCENT), Text(key.text),
                          Text(key.id, style=DIM))
    return table
