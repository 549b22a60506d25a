"""The lines of a log that a screen has at hand, and the rows that they make: pure.

Rule 1: memory is bounded: the newest lines are kept, each up to a length; what was dropped is
        counted, so that it can be said where it is.
Rule 2: a line is made safe and cut once, when it comes in; rows are offsets into it.
Rule 3: a line has a serial number that never changes, so that a cursor stays on its line
        whatever comes behind it or is dropped before it.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len, chop_cells

from flowforge_tui.safe_text import safe

if TYPE_CHECKING:
    from engine.front import LogLine

#: Lines kept, and characters of all of them: 50,000 long lines would be 200 MB otherwise.
MOST_LINES = 50_000
MOST_CHARS = 16_000_000

#: Characters kept of one line; the engine's own limit is 65,536.
LINE_CHARS = 4_000

TAB = 8

#: Level → letter, from the highest; and what `v` goes round.
LETTERS = ((50, "C"), (40, "E"), (30, "W"), (20, "I"), (0, "D"))
THRESHOLDS = (0, 20, 30, 40)
THRESHOLD_WORDS = {0: "all", 20: "info+", 30: "warnings+", 40: "errors"}

#: Stands in `Row.start` for the heading of a try.
_HEADING = -1


class Row(NamedTuple):
    """One row of the view."""

    serial: int
    line: LogLine
    start: int
    """Where in the line's text it begins."""
    end: int
    heading: bool
    """It announces the try that `line` is the first of."""


class LogBook:
    """Lines in order, those that are shown, and the rows that these make at a width."""

    def __init__(self, *, splits: bool = True, most: int = MOST_LINES) -> None:
        """`splits`: announce each try; for the log of a single task run."""
        self.dropped = 0
        """How many lines came and were dropped again; the serial number of the first at hand."""
        self.threshold = 0
        """Lines below this level are not shown."""
        self.width = 0
        """Cells a row of text has; 0: lines are not wrapped."""
        self.held = False
        """Nothing is dropped while somebody reads; see `full`."""
        self._most = most
        self.splits = splits
        self.loose = 0
        """So many of the last lines are begun only, and will be replaced."""
        self._lines: list[LogLine] = []
        self._chars = 0
        self._serials = array("q")
        self._starts = array("i")
        self._try: tuple[int, int] | None = None
        """(generation, attempt) of the last line shown."""

    # -- lines ------------------------------------------------------------------------------

    def extend(self, lines: Iterable[LogLine], begun: Sequence[LogLine] = ()) -> None:
        """Add cleaned lines (see `clean`), and those which are not complete yet."""
        self._take_back()
        self._add(lines)
        before = len(self._lines)
        self._add(begun)
        self.loose = len(self._lines) - before
        if not self.held:
            self._trim()

    def _add(self, lines: Iterable[LogLine]) -> None:
        kept, serial = self._lines, self.dropped + len(self._lines)
        for line in lines:
            kept.append(line)
            self._chars += len(line.text)
            self._lay_out(serial, line)
            serial += 1

    def _take_back(self) -> None:
        """Drop the lines that were begun only."""
        if not self.loose:
            return
        first = self.dropped + len(self._lines) - self.loose
        row = bisect_left(self._serials, first)
        del self._serials[row:], self._starts[row:]
        self._chars -= sum(len(line.text) for line in self._lines[-self.loose:])
        del self._lines[-self.loose:]
        self.loose = 0
        last = self._lines[self._serials[-1] - self.dropped] if self._serials else None
        self._try = (last.generation, last.attempt) if last is not None else None

    def _trim(self) -> None:
        """Drop the oldest, a tenth more than needed, so that it is seldom done."""
        lines = self._lines
        if len(lines) <= self._most and self._chars <= MOST_CHARS:
            return
        count = max(0, len(lines) - self._most * 9 // 10)
        chars = self._chars - sum(len(line.text) for line in lines[:count])
        while chars > MOST_CHARS * 9 // 10 and count < len(lines) - 1:
            chars -= len(lines[count].text)
            count += 1
        del lines[:count]
        self._chars = chars
        self.dropped += count
        row = bisect_left(self._serials, self.dropped)
        del self._serials[:row], self._starts[:row]

    @property
    def full(self) -> bool:
        """True if lines are to be dropped before more are taken in."""
        return len(self._lines) >= 2 * self._most or self._chars >= 2 * MOST_CHARS

    @property
    def size(self) -> int:
        """How many lines are at hand."""
        return len(self._lines)

    def lines(self) -> Iterator[LogLine]:
        """Those that are shown, in order."""
        return (line for line in self._lines if line.level >= self.threshold)

    # -- rows -------------------------------------------------------------------------------

    def _lay_out(self, serial: int, line: LogLine) -> None:
        if line.level < self.threshold:
            return
        if self.splits:
            this = (line.generation, line.attempt)
            if this != self._try and (self._try is not None or this[0] > 1 or this[1] > 1):
                self._serials.append(serial)
                self._starts.append(_HEADING)
            self._try = this
        self._serials.append(serial)
        self._starts.append(0)
        text, width = line.text, self.width
        if width and 2 * len(text) > width:
            for start in breaks(text, width):
                self._serials.append(serial)
                self._starts.append(start)

    def arrange(self, *, width: int, threshold: int) -> None:
        """Wrap at `width` cells (0: not), and show the lines of at least a level."""
        if (width, threshold) == (self.width, self.threshold):
            return
        self.width, self.threshold = width, threshold
        self._serials, self._starts, self._try = array("q"), array("i"), None
        for serial, line in enumerate(self._lines, self.dropped):
            self._lay_out(serial, line)

    def __len__(self) -> int:
        return len(self._serials)

    def row(self, index: int) -> Row:
        """The row at a place."""
        serial, start = self._serials[index], self._starts[index]
        line = self._lines[serial - self.dropped]
        if start == _HEADING:
            return Row(serial, line, 0, 0, True)
        after = index + 1
        same = after < len(self._serials) and self._serials[after] == serial
        return Row(serial, line, start, self._starts[after] if same else len(line.text), False)

    def place_of(self, serial: int) -> int:
        """The first row of a line, or of the next one that is shown."""
        return bisect_left(self._serials, serial)

    # -- searching --------------------------------------------------------------------------

    def find(self, needle: str, start: int, step: int) -> int | None:
        """The row of the next line that holds `needle`, after row `start` (or before, with
        `step` -1), going round at the end; None if there is none."""
        total, holds = len(self._serials), matcher(needle)
        here = self._serials[start] if 0 <= start < total else -1
        for i in range(1, total):
            at = (start + step * i) % total
            if not self._starts[at] and self._serials[at] != here and holds(self._text(at)):
                return at
        return self._body_of(here) if here >= 0 and holds(self._text(start)) else None

    def _text(self, index: int) -> str:
        return self._lines[self._serials[index] - self.dropped].text

    def _body_of(self, serial: int) -> int:
        """The row in which a line begins, its heading apart."""
        row = self.place_of(serial)
        return row + (self._starts[row] == _HEADING)


class matcher:  # noqa: N801 - called like a function
    """Whether and where a text holds a needle; upper case counts if the needle has any."""

    def __init__(self, needle: str) -> None:
        flags = 0 if needle != needle.lower() else re.IGNORECASE
        self._pattern = re.compile(re.escape(needle), flags) if needle else None

    def __call__(self, text: str) -> bool:
        return self._pattern is not None and self._pattern.search(text) is not None

    def spans(self, text: str, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of text[start:end] that belong to a match, counted from `start`."""
        if self._pattern is None:
            return []
        found = (match.span() for match in self._pattern.finditer(text))
        return [(max(a, start) - start, min(b, end) - start)
                for a, b in found if a < end and b > start]


# -- text -----------------------------------------------------------------------------------


def clean(line: LogLine) -> LogLine:
    """The line with its text made safe, tabs as spaces, and cut at `LINE_CHARS`."""
    text = line.text
    if "\b" in text:
        text = _rubbed_out(text[:16 * LINE_CHARS])
    text = safe(text)
    if "\n" in text:
        text = text.replace("\n", " ")
    if "\t" in text:
        text = text[:LINE_CHARS + 1].expandtabs(TAB)
    if len(text) > LINE_CHARS:
        text = f"{text[:LINE_CHARS]}… [{len(line.text):,} characters; the file has the rest]"
    return line if text is line.text else line._replace(text=text)


def _rubbed_out(text: str) -> str:
    """What a terminal shows of a text with backspaces: a spinner's last state."""
    kept: list[str] = []
    for character in text:
        if character != "\b":
            kept.append(character)
        elif kept:
            kept.pop()
    return "".join(kept)


def breaks(text: str, width: int) -> Sequence[int]:
    """Where a text is broken that is to stand in rows of `width` cells; none if it fits."""
    if text.isascii():
        return range(width, len(text), width)
    if cell_len(text) <= width:
        return []
    found, at = [], 0
    for piece in chop_cells(text, width)[:-1]:
        at += len(piece)
        if piece:  # a character wider than the row would never end
            found.append(at)
    return found


def letter(level: int) -> str:
    """D, I, W, E or C."""
    return next((sign for least, sign in LETTERS if level >= least), "D")


def try_words(generation: int, attempt: int) -> str:
    """`try 3`; of a task run that was rerun, `try 1 (generation 2)`."""
    return f"try {attempt}" + (f" (generation {generation})" if generation > 1 else "")
