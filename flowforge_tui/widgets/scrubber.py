"""The bar that shows while somebody travels through a run's time: where, and how to go on.

Rule: nobody takes the past for the present: the bar says so in words, and the moment in two
      ways, by the clock and from the run's beginning.
"""

from __future__ import annotations

import time
from typing import Any

from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip

from engine.front import wording
from flowforge_tui.history import Travel
from flowforge_tui.look import ACCENT, BAD, BOLD, DIM, FAINT, WARN, Look
from flowforge_tui.strips import Line
from flowforge_tui.widgets.panel import Panel

_WORD = Style(color="#f0c742", bold=True, reverse=True)
#: What the keys do, the most telling first; as many as there is room for.
_KEYS = (("t", "live"), (", .", "step"), ("< >", "5 %"), ("0-9", "jump"))


class Scrubber(Panel):
    """Two lines: where this is in words, and as a bar with the failures on it."""

    DEFAULT_CSS = """
    Scrubber { height: 2; width: 1fr; }
    """

    class Wanted(Message):
        """Somebody pointed at a moment."""

        def __init__(self, fraction: float) -> None:
            super().__init__()
            self.fraction = fraction

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self._travel: Travel | None = None

    def frame(self, travel: Travel | None) -> None:
        """Show where a traveller is."""
        self._travel = travel
        self.paint()

    def lines(self, width: int, height: int) -> list[Strip]:
        """As in `Panel`."""
        if self._travel is None:
            return []
        made = [self._words(self._travel, width).strip(width)]
        return [*made, self._bar(self._travel, width).strip(width)][:height]

    def _words(self, travel: Travel, width: int) -> Line:
        past = travel.past
        dot = f" {self.look.marks.dot} "
        line = Line().add(" ").add(" PAST ", _WORD).add(" ")
        line.add(wording.clock(travel.moment - past.first), BOLD)
        line.add(f" of {wording.clock(past.last - past.first)}", DIM)
        at = time.strftime("%H:%M:%S", time.localtime(travel.moment))
        step = f"change {travel.step + 1:,} of {len(past):,}"
        keys = [piece for key, does in _KEYS for piece in ((f"  {key} ", ACCENT), (does, DIM))]
        for text in (f"{dot}{at}", f"{dot}{step}"):
            if line.used + len(text) + 10 <= width:  # the way back stays in sight
                line.add(text, DIM)
        room = width - line.used - 1
        for i in range(0, len(keys), 2):
            room -= len(keys[i][0]) + len(keys[i + 1][0])
            if room < 0:
                break
            line.end(*keys[i]).end(*keys[i + 1])
        return line.end(" ")

    def _bar(self, travel: Travel, width: int) -> Line:
        """What has passed, what is still to come, and where task runs failed."""
        past, marks, cells = travel.past, self.look.marks, max(1, width - 2)
        here = min(cells - 1, int(travel.fraction * cells))
        each = (past.last - past.first) / cells
        line = Line().add(" ")
        for i in range(cells):
            start = past.first + i * each
            failed = past.failures(start, start + each if i < cells - 1 else start + each + 1.0)
            if i == here:
                line.add(marks.marked, WARN)
            elif failed:
                line.add("╳" if self.look.unicode else "X", BAD)
            else:
                line.add("━" if self.look.unicode else "=", ACCENT if i < here else FAINT)
        return line

    def on_click(self, event: events.Click) -> None:
        """Go there."""
        event.stop()
        self.post_message(self.Wanted(max(0.0, min(1.0, (event.x - 1) / max(1, self._room - 1)))))

    @property
    def _room(self) -> int:
        return max(1, self.size.width - 2)
