"""The rows of a log as a widget: which line is in sight, and what keys do to them.

Rule 1: it follows the end until somebody moves up; then nothing moves, and nothing that is
        being read is dropped, until they go to the end again.
Rule 2: a line keeps its place in sight when lines are laid out anew, or older ones come.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.strip import Strip

from flowforge_tui.keys import LOG_KEYS, MOVE_KEYS, bindings
from flowforge_tui.log_rows import NARROWEST, LogRows, under_cursor
from flowforge_tui.logbook import THRESHOLDS, LogBook, Row
from flowforge_tui.look import Look
from flowforge_tui.widgets.lines import LineView
from flowforge_tui.widgets.messages import Left

if TYPE_CHECKING:
    from engine.front import LogLine
    from flowforge_tui.logsource import Wanted

#: Cells that ← and → move by.
_STEP = 16

#: Rows that are looked at for the one under the cursor, when more of a log was read.
_PUSHED = 2_000


def _same(row: Row, other: Row | None) -> bool:
    return other is not None and (row.line, row.start, row.heading) == (
        other.line, other.start, other.heading)


class LogLines(LineView):
    """The rows of a log."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(MOVE_KEYS + LOG_KEYS)]

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self.book = LogBook()
        self.wanted: Wanted | None = None
        self.drawing = LogRows(self.look)
        self.following = True
        self.missed = False
        """True if the last search found nothing."""
        self.said = ""
        """What to say where there are no lines."""
        self.told: Callable[[], None] = lambda: None
        """Called when the heading may have to say something else."""
        self._drawn_anew = 0
        """Counts up when every row looks different."""

    # -- lines -------------------------------------------------------------------------------

    def count(self) -> int:
        """As in `LineView`."""
        return len(self.book)

    def key(self, index: int) -> Hashable:
        """As in `LineView`."""
        row = self.book.row(index)
        return row.serial, row.start, row.heading, row.line.text, self._drawn_anew

    def empty(self) -> str:
        """As in `LineView`."""
        return self.said

    @property
    def shows_cursor(self) -> bool:
        """As in `LineView`."""
        return self.has_focus and not self.following

    def build(self, index: int, width: int) -> Strip:
        """As in `LineView`."""
        strip = self.drawing.strip(self.book.row(index), width)
        return under_cursor(strip) if self.shows_cursor and index == self.cursor else strip

    # -- keeping place -------------------------------------------------------------------------

    def _widen(self, lines: Iterable[LogLine]) -> bool:
        return self.drawing.widen(lines, self.size.width)

    @property
    def text_width(self) -> int:
        """Cells of text that a wrapped row has; 0: lines are not wrapped."""
        return self.drawing.text_width(self.size.width)

    def lay_out(self, threshold: int | None = None) -> None:
        """Lay the lines out anew, with the cursor on the line that it is on."""
        book = self.book
        least = book.threshold if threshold is None else threshold
        serial, offset = self._serial(self.cursor), self.cursor - self.top
        book.arrange(width=self.text_width, threshold=least)
        self._drawn_anew += 1
        if self.following or serial < 0:
            self.to_end()
        else:
            self.cursor = max(0, min(book.place_of(serial), len(book) - 1))
            self.scroll_lines_to(self.cursor - offset)
        self.repaint()
        self.told()

    def _serial(self, index: int) -> int:
        return self.book.row(index).serial if 0 <= index < len(self.book) else -1

    def to_end(self) -> None:
        """Put the cursor on the last line and that in sight."""
        self.cursor = max(0, len(self.book) - 1)
        self.scroll_lines_to(len(self.book) - self.rows)

    def take(self, book: LogBook) -> None:
        """Show another log from its end on."""
        self.book = book
        self.following, self.drawing.shift = True, 0
        self.drawing.begin_names()
        self._widen(book.lines())
        self.lay_out()

    def deepen(self, book: LogBook) -> None:
        """Show more of the same log: what is in sight stays, counted from the end."""
        if self.following:
            self.take(book)
            return
        old, offset = self.book, self.cursor - self.top
        self._widen(book.lines())
        for each in (old, book):
            each.arrange(width=self.text_width, threshold=old.threshold)
        here = old.row(min(self.cursor, len(old) - 1)) if len(old) else None
        self.book, book.held = book, True
        at = len(book) - (len(old) - self.cursor)
        # Lines that came in between push it up a little.
        self.cursor = next((i for i in range(at, max(-1, at - _PUSHED), -1)
                            if _same(book.row(i), here)), max(0, at))
        self.scroll_lines_to(self.cursor - offset)
        self._drawn_anew += 1
        self.repaint()
        self.told()

    def grown(self, lines: Sequence[LogLine]) -> None:
        """Lines came, and old ones may have gone."""
        if self._widen(lines):
            self.lay_out()
        if self.following:
            self.to_end()

    def move_to(self, index: int) -> None:
        """As in `LineView`; a move up ends following."""
        if index < self.cursor:
            self.pause()
        super().move_to(index)
        self.told()

    def scroll_lines_to(self, top: int) -> None:
        """As in `LineView`; a scroll up ends following."""
        if self.following and top < len(self.book) - self.rows and top < self.top:
            self.pause()
        super().scroll_lines_to(top)

    def pause(self) -> None:
        """Follow no more."""
        if self.following and len(self.book):
            self.following, self.book.held = False, True
            self._painted.clear()

    def action_bottom(self) -> None:
        """To the end, and follow."""
        self.following, self.book.held = True, False
        self.to_end()
        self.repaint()
        self.told()

    def on_resize(self, event: events.Resize) -> None:
        """Another width: wrapped lines break elsewhere."""
        super().on_resize(event)
        self.drawing.begin_names()
        self._widen(self.book.lines())
        self.lay_out()

    def on_focus(self) -> None:
        """The cursor shows."""
        self._painted.clear()

    def on_blur(self) -> None:
        """The cursor hides."""
        self._painted.clear()

    # -- keys ------------------------------------------------------------------------------------

    def action_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self.drawing.wrapped, self.drawing.shift = not self.drawing.wrapped, 0
        self.lay_out()

    def action_timestamps(self) -> None:
        """Show times, or do not."""
        self.drawing.times = not self.drawing.times
        self.lay_out()

    def action_level(self) -> None:
        """The next threshold."""
        at = THRESHOLDS.index(self.book.threshold)
        self.lay_out(THRESHOLDS[(at + 1) % len(THRESHOLDS)])

    def action_left(self) -> None:
        """Towards the beginning of long lines."""
        self._shift_by(-_STEP)

    def action_right(self) -> None:
        """Towards the end of long lines."""
        if not self.drawing.wrapped:
            self._shift_by(_STEP)

    def _shift_by(self, cells: int) -> None:
        bottom = min(len(self.book), self.top + self.rows)
        longest = max((len(self.book.row(i).line.text) for i in range(self.top, bottom)), default=0)
        shift = self.drawing.shift + cells
        self.drawing.shift = max(0, min(shift, 2 * longest - NARROWEST))
        self._drawn_anew += 1
        self.frame()

    class ThisTry(Message):
        """The try under the cursor alone is wanted, or all again."""

    def action_this_try(self) -> None:
        """One try alone, and all again."""
        self.post_message(self.ThisTry())

    class Search(Message):
        """A search is to be typed."""

    def action_search(self) -> None:
        """Type what to search for."""
        self.post_message(self.Search())

    def search(self, needle: str) -> None:
        """Mark what matches, and go to the last match up from the cursor."""
        self.drawing.seek(needle)
        self.missed = False
        self._drawn_anew += 1
        if needle:
            self._go(len(self.book) if self.following else self.cursor + 1, -1)
        self.repaint()
        self.told()

    def action_next_match(self) -> None:
        """Down to the next match."""
        self._go(self.cursor, 1)

    def action_previous_match(self) -> None:
        """Up to the next match."""
        self._go(self.cursor, -1)

    def action_end_search(self) -> None:
        """Forget the search."""
        if self.drawing.needle:
            self.search("")
        else:
            self.post_message(Left())

    def _go(self, start: int, step: int) -> None:
        if not self.drawing.needle:
            self.action_search()
            return
        found = self.book.find(self.drawing.needle, start, step) if len(self.book) else None
        self.missed = found is None
        if found is not None:
            self.pause()
            self.move_to(found)
        self.told()
