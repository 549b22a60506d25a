"""The first lines of a run's screen: what it is, how it stands, how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.strip import Strip

from flowforge_tui.headline import Title, bar, headline, percent
from flowforge_tui.look import BOLD, Look
from flowforge_tui.strips import Line
from flowforge_tui.widgets.panel import Panel

if TYPE_CHECKING:
    from flowforge_tui.feed import Feed
    from flowforge_tui.figures import Figures
    from flowforge_tui.model import RunView

#: Cells that the percentage takes behind the bar.
_PERCENT = 6


class Header(Panel):
    """One line of words and figures; with a second row of height, a bar below it."""

    DEFAULT_CSS = """
    Header { height: 2; width: 1fr; }
    """

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self._state: tuple[Title, RunView, Figures, float] | None = None
        self.note = ""
        """What is special about what is shown: `at 12:03:11`, a moment of the past."""

    def frame(self, feed: Feed, figures: Figures, now: float) -> None:
        """Show a run as it is at `now`, seconds since the epoch."""
        workflow = feed.workflow or feed.view.shape.workflow
        title = Title(workflow, feed.run_id, self.note)
        self._state = (title, figures.view, figures, now)
        self.paint()

    def lines(self, width: int, height: int) -> list[Strip]:
        """As in `Panel`."""
        if self._state is None:
            return []
        title, view, figures, now = self._state
        first = Line()
        for piece in headline(title, view, figures, now, width, self.look):
            first.add(piece.text, piece.style)
        return [first.strip(width), self._bar(view, width)][:height]

    def _bar(self, view: RunView, width: int) -> Strip:
        line = Line().add(" ")
        done = percent(view.totals)
        for text, style in bar(view.totals, max(0, width - 1 - _PERCENT), self.look):
            line.add(text, style)
        if done is not None:
            line.end(f"{done:>4}% ", BOLD)
        return line.strip(width)
