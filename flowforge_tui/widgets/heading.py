"""The line above a pane: what it shows on the left, how on the right, a rule between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from flowforge_tui.look import BOLD, FAINT, Look
from flowforge_tui.safe_text import safe_line
from flowforge_tui.strips import Line, fit

#: Characters of one part at most, before it is cut to its room.
_LONGEST = 300

#: Cells that a part is cut to at least.
_SHORTEST = 8

Part = tuple[str, Style]
"""Text, which may be from outside, and its style."""


class Heading(Widget):
    """`─ LOG extract[17] · try 3 ─────────── FOLLOW · wrap off ─`"""

    DEFAULT_CSS = """
    Heading { height: 1; width: 1fr; }
    """

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.look = look if look is not None else Look()
        self._left: tuple[Part, ...] = ()
        self._right: tuple[Part, ...] = ()

    def say(self, left: Sequence[Part], right: Sequence[Part] = ()) -> None:
        """Show these, with a dot between them; painted anew only if they differ."""
        if (tuple(left), tuple(right)) != (self._left, self._right):
            self._left, self._right = tuple(left), tuple(right)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """As Textual asks for it."""
        width, rule = self.size.width, self.look.marks.rule
        right = self._parts(self._right)
        room = width - 6 - right.used
        left = self._parts(self._left, max(8, room))
        line = Line().add(f"{rule} ", FAINT).join(left).add(" ")
        tail = Line().add(" ").join(right).add(f" {rule}", FAINT) if self._right else Line()
        if line.used + tail.used > width:  # too narrow for both
            return line.strip(width)
        line.add(rule * (width - line.used - tail.used), FAINT).join(tail)
        return line.strip(width).apply_style(self.rich_style)

    def _parts(self, parts: Sequence[Part], room: int = 0) -> Line:
        line = Line()
        for i, (text, style) in enumerate(parts):
            dot = f" {self.look.marks.dot} " if i > 1 or parts[0][1] is not BOLD else " "
            clean = safe_line(text, _LONGEST)
            left = room - line.used - (len(dot) if i else 0)
            if room and cell_len(clean) > left:
                if left < _SHORTEST:  # too little to be told apart
                    break
                clean = fit(clean, left, more=self.look.marks.more)
            if i:
                line.add(dot, FAINT)
            line.add(clean, style)
        return line


def title(word: str) -> Part:
    """What kind of pane it is: `LOG`."""
    return word, BOLD
