"""How the rows of a log look: time, level, name, text, and what a search found in it. Pure.

Rule 1: where several tasks are shown their names have a column, as wide as the first names that
        came need, so that text begins at one place.
Rule 2: where a line goes on, what stands before its text is blank.
Rule 3: a line that does not fit is cut with a mark, or wrapped if a person wants that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from flowforge_tui.logbook import Row, letter, matcher, try_words
from flowforge_tui.look import ACCENT, BAD, CURSOR, DIM, FAINT, MATCH, PLAIN, WARN, Look
from flowforge_tui.strips import Line, fit

if TYPE_CHECKING:
    from engine.front import LogLine

#: Cells of the column of names at most, where several tasks are shown, and how many of the
#: names that come are measured for it.
_NAMES = 24
_NAMES_SEEN = 200

#: Cells of text a row has at least, wrapped or not.
NARROWEST = 10

_FOUND = MATCH + CURSOR
_ERROR_TEXT = Style(color="#ff6b3d")
_LETTERS = {"C": BAD, "E": BAD, "W": WARN, "I": DIM, "D": FAINT}
_TEXTS = {"C": BAD, "E": _ERROR_TEXT, "W": PLAIN, "I": PLAIN, "D": DIM}


def _no_name(tid: int) -> str:
    return f"#{tid}"


class LogRows:
    """Draws rows, in the way that a person has set."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.name_of: Callable[[int], str] = _no_name
        self.many = False
        """True if several tasks are shown."""
        self.times = True
        self.wrapped = False
        self.shift = 0
        """Cells of text to the left of what is in sight, where lines are not wrapped."""
        self.needle = ""
        self._match = matcher("")
        self._columns: dict[int, str] = {}
        """Task run → its name, fitted to the column."""
        self._name_width = 0

    def seek(self, needle: str) -> None:
        """What is to be marked; empty: nothing."""
        self.needle, self._match = needle, matcher(needle)

    def strip(self, row: Row, width: int) -> Strip:
        """A row of so many cells."""
        if row.heading:
            rule = self.look.marks.rule * 2
            words = try_words(row.line.generation, row.line.attempt)
            return Line().add(f" {rule} {words} {rule}", ACCENT).strip(width)
        head = self._head(row)
        text = self._text(row)
        room = max(0, width - head.used)
        cut = not self.wrapped and text.cell_length > self.shift + room
        if self.shift or cut:
            text = text.crop(self.shift, self.shift + room - cut)
        parts = [head.strip(head.used), text]
        if cut:
            parts.append(Strip([Segment(self.look.marks.more, DIM)], 1))
        return Strip.join(parts).adjust_cell_length(width)

    def _head(self, row: Row) -> Line:
        """What stands before the text; blank where a line goes on."""
        line = Line().add(" ")
        goes_on, source = row.start > 0, row.line
        if self.times:
            at = time.strftime("%H:%M:%S", time.localtime(source.time))
            line.add(" " * 9 if goes_on else f"{at} ", FAINT)
        sign = letter(source.level)
        line.add("  " if goes_on else f"{sign} ", _LETTERS[sign])
        if self.many:
            name = self._column(source.tid)
            line.add(" " * len(name) if goes_on else name, ACCENT).add(" ")
        return line

    def _text(self, row: Row) -> Strip:
        text = row.line.text[row.start:row.end]
        style = _TEXTS[letter(row.line.level)]
        if not self.needle:
            return Strip([Segment(text, style)])
        segments, at = [], 0
        for start, end in self._match.spans(row.line.text, row.start, row.end):
            segments += [Segment(text[at:start], style), Segment(text[start:end], _FOUND)]
            at = end
        return Strip([*segments, Segment(text[at:], style)])

    def _column(self, tid: int) -> str:
        name = self._columns.get(tid)
        if name is None:
            if len(self._columns) > 1_000:
                self._columns.clear()
            name = self._columns[tid] = fit(
                Line().put(self.name_of(tid) if tid >= 0 else "").text, self._name_width,
                more=self.look.marks.more)
        return name

    def begin_names(self) -> None:
        """The names to come are others, or have other room."""
        self._columns.clear()
        self._name_width = 0

    def widen(self, lines: Iterable[LogLine], width: int) -> bool:
        """Make the column of names wide enough for lines that came; True if it was not.

        `width`: of a row, in cells.
        """
        most, before = min(_NAMES, max(8, width // 4)), self._name_width
        if self.many and before < most:
            for tid in islice({line.tid for line in lines}, _NAMES_SEEN):
                size = cell_len(Line().put(self.name_of(tid)).text) if tid >= 0 else 0
                self._name_width = min(most, max(self._name_width, size))
        if self._name_width == before:
            return False
        self._columns.clear()
        return True

    def text_width(self, width: int) -> int:
        """Cells of text that a wrapped row of so many cells has; 0: lines are not wrapped."""
        if not self.wrapped or not width:
            return 0
        taken = 3 + 9 * self.times + (self._name_width + 1) * self.many
        return max(NARROWEST, width - 1 - taken)  # the scroll bar takes one


def under_cursor(strip: Strip) -> Strip:
    """One style on the line under the cursor, its matches apart."""
    return Strip([
        Segment(s.text, CURSOR + MATCH if s.style is _FOUND else CURSOR) for s in strip])
