"""A question before something that cannot be taken back: the answer defaults to no."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from flowforge_tui.look import ACCENT, BOLD, DIM
from flowforge_tui.safe_text import safe_line

#: Characters of a line that are shown.
_WIDTH = 200


class Choice(NamedTuple):
    """One answer: a key, what it means, and what the screen then returns."""

    key: str
    text: str
    value: str


NO = Choice("n", "no", "")
YES = Choice("y", "yes", "yes")


class Ask(ModalScreen[str]):
    """Shows a question and returns the value of the choice; "" for Esc, Enter, and no."""

    DEFAULT_CSS = """
    Ask { align: center middle; }
    Ask > Vertical {
        width: auto; max-width: 90%; height: auto; max-height: 90%;
        padding: 1 3; background: $surface; border: round $warning;
    }
    Ask Static { width: auto; max-width: 100%; height: auto; }
    """

    def __init__(
        self, title: str, lines: Sequence[str] = (), choices: Sequence[Choice] = (YES, NO)
    ) -> None:
        """`lines` may hold text from outside."""
        super().__init__()
        self._title = title
        self._lines = lines
        self._choices = choices

    def compose(self) -> ComposeResult:
        """Title, lines, choices."""
        text = Text(safe_line(self._title, _WIDTH), style=BOLD)
        for line in self._lines:
            text.append(f"\n{safe_line(line, _WIDTH)}", style=DIM)
        text.append("\n")
        for choice in self._choices:
            text.append(f"\n {choice.key} ", style=ACCENT + BOLD)
            text.append(f" {choice.text}", style="default")
            if not choice.value:
                text.append("  (Enter, Esc)", style=DIM)
        with Vertical():
            yield Static(text)

    def on_key(self, event: events.Key) -> None:
        """A choice by its key; anything else is no answer."""
        event.stop()
        if event.key in ("escape", "enter", "q"):
            self.dismiss("")
            return
        for choice in self._choices:
            if event.character == choice.key:
                self.dismiss(choice.value)
                return
