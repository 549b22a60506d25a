"""One line of a view, put together from pieces of text: the only maker of strips here.

Rule 1: text from outside enters through `put`, which makes it safe; `add` is for our own.
Rule 2: a line has a left part, which is cut where room ends, and a right part, which is not.
Rule 3: widths are cells: a wide character takes two.
"""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from flowforge_tui.look import PLAIN
from flowforge_tui.safe_text import safe_line

#: Characters of outside text that a line takes at most, before it is cut to its room.
_LONGEST = 2_000


class Line:
    """Pieces of one line. Every method returns the line, so that calls can follow each other."""

    __slots__ = ("_left", "_right")

    def __init__(self) -> None:
        self._left: list[Segment] = []
        self._right: list[Segment] = []

    def add(self, text: str, style: Style = PLAIN) -> Line:
        """Text of our own."""
        if text:
            self._left.append(Segment(text, style))
        return self

    def put(self, text: str, style: Style = PLAIN, *, width: int = 0, limit: int = 0) -> Line:
        """Text from outside, made safe; cut or filled up to `width` cells, or cut at `limit`."""
        clean = safe_line(text, limit or _LONGEST)
        if width:
            clean = fit(clean, width)
        return self.add(clean, style)

    def column(self, text: str, width: int, style: Style = PLAIN, *, right: bool = False) -> Line:
        """Text of our own in a column of `width` cells, cut with an ellipsis."""
        return self.add(fit(text, width, right=right), style)

    def join(self, other: Line) -> Line:
        """The left part of another line, as it is."""
        self._left += other._left
        return self

    def end(self, text: str, style: Style = PLAIN) -> Line:
        """Text of our own at the right edge, behind what is there already."""
        if text:
            self._right.append(Segment(text, style))
        return self

    @property
    def text(self) -> str:
        """The left part without its styles."""
        return "".join(segment.text for segment in self._left)

    @property
    def used(self) -> int:
        """Cells of the left part so far."""
        return sum(segment.cell_length for segment in self._left)

    def strip(self, width: int, style: Style = PLAIN) -> Strip:
        """The line in exactly `width` cells, all of it over `style`."""
        right = Strip(self._right)
        room = max(0, width - right.cell_length)
        left = Strip(self._left).adjust_cell_length(room)
        whole = Strip.join([left, right]) if self._right else left
        whole = whole.adjust_cell_length(width)
        return whole.apply_style(style) if style else whole


#: Signs of our own that stand in figures and at cuts, and what stands for them in ASCII.
_STAND_INS = str.maketrans({"…": "~", "–": "-", "µ": "u", "→": ">", "·": "."})


def in_ascii(strip: Strip) -> Strip:
    """The strip with our own signs in ASCII; what users wrote stays."""
    if strip.text.isascii():
        return strip
    return Strip([Segment(s.text.translate(_STAND_INS), s.style) for s in strip],
                 strip.cell_length)


def fit(text: str, width: int, *, right: bool = False, more: str = "…") -> str:
    """`text` in exactly `width` cells: cut with an ellipsis, or filled up with spaces."""
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, max(0, width - 1)) + more if width > 0 else ""
    pad = " " * (width - size)
    return pad + text if right else text + pad
