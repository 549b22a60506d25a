"""How states and figures look on the screen: styles made once, glyphs with an ASCII stand-in.

Rule 1: a state is told by glyph and word as well as by colour; colour alone says nothing.
Rule 2: only foregrounds are set. Backgrounds are the theme's, so that light, dark and ANSI
        themes all work.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from rich.style import Style

from engine import RunState, TaskState
from engine.front import LOOKS, RUN_COLOURS, glyph

PLAIN = Style.null()
DIM = Style(color="#8b949e")
FAINT = Style(color="#8b949e", dim=True)
BOLD = Style(bold=True)
ACCENT = Style(color="#56b4e9")
GOOD = Style(color="#2fbf8f")
BAD = Style(color="#ff6b3d", bold=True)
WARN = Style(color="#f0c742")
#: The row under the cursor; a marker stands beside it, for terminals that show neither.
CURSOR = Style(reverse=True)
#: Where a search or filter matched.
MATCH = Style(underline=True, bold=True)


class Marks(NamedTuple):
    """The signs of the screen that are not states'."""

    cursor: str
    open: str
    shut: str
    marked: str
    more: str
    bar: str
    half: str
    rest: str
    rule: str
    dot: str
    up: str
    down: str


_UNICODE = Marks("›", "▾", "▸", "◆", "…", "█", "▌", "░", "─", "·", "↑", "↓")
_ASCII = Marks(">", "v", ">", "*", "~", "#", "#", "-", "-", ".", "^", "v")


class Look:
    """The signs of one screen: Unicode, or ASCII alone."""

    def __init__(self, *, unicode: bool = True) -> None:
        self.unicode = unicode
        self.marks = _UNICODE if unicode else _ASCII

    def glyph(self, state: TaskState) -> str:
        """One cell that stands for a state."""
        return glyph(state, unicode=self.unicode)

    def bar(self, fraction: float, width: int) -> tuple[str, str]:
        """A progress bar in two parts: what is done, and the rest. Together `width` cells."""
        halves = round(max(0.0, min(1.0, fraction)) * width * 2)
        full, half = divmod(halves, 2)
        done = self.marks.bar * full + (self.marks.half if half else "")
        return done, self.marks.rest * (width - full - half)


@cache
def state_style(state: TaskState) -> Style:
    """The style of a state's glyph and word."""
    look = LOOKS[state]
    return Style(color=look.colour, bold=look.bold or None, dim=look.dim or None)


@cache
def run_style(state: RunState) -> Style:
    """The style of a run's state."""
    return Style(color=RUN_COLOURS[state], bold=True)


def word(state: TaskState) -> str:
    """A state as counts name it: `failed`, `up for retry`."""
    return LOOKS[state].word
