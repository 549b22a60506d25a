"""A view of many lines, of which only those in sight exist: the base of tree, log and lists.

Rule 1: a line is built when it is painted, and painted when its key differs from the one it
        was painted with; so a frame costs what changed in sight, whatever there is in all.
Rule 2: no layout happens when lines come or go: the view keeps its own place (`top`), where
        Textual's scroll view would lay out the whole screen for a new size.
Rule 3: nothing moves by itself but under `follow`: the cursor stays on its line.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from textual import events
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from flowforge_tui.keys import MOVE_KEYS, bindings
from flowforge_tui.look import DIM, Look
from flowforge_tui.strips import Line, in_ascii

#: Lines that a turn of the mouse's wheel moves.
_WHEEL = 3


class LineView(Widget, can_focus=True):
    """Subclasses say how many lines there are, what each looks like, and what it depends on."""

    DEFAULT_CSS = """
    LineView { height: 1fr; width: 1fr; }
    """

    BINDINGS = bindings(MOVE_KEYS)

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.look = look if look is not None else Look()
        self.top = 0
        """The first line in sight."""
        self.cursor = 0
        """The line that keys act on."""
        self._painted: dict[int, Hashable] = {}
        """Row on the screen → key of what was last painted there."""
        self._last_thumb = (0, 0)
        self.lines_built = 0
        """How many lines were ever built: what a frame costs is gated on in tests."""

    # -- for subclasses ---------------------------------------------------------------------

    def count(self) -> int:
        """How many lines there are."""
        raise NotImplementedError

    def key(self, index: int) -> Hashable:
        """Changes whenever line `index` has to look different. Cheap: called for every line in
        sight in every frame."""
        raise NotImplementedError

    def build(self, index: int, width: int) -> Strip:
        """Line `index` in exactly `width` cells."""
        raise NotImplementedError

    def empty(self) -> str:
        """What to say where there are no lines; our own text."""
        return ""

    # -- painting -----------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        """How many lines are in sight."""
        return max(1, self.size.height)

    def render_line(self, y: int) -> Strip:
        """As Textual asks for it: one row of the screen."""
        width = self.size.width
        index = self.top + y
        total = self.count()
        room = width - 1 if total > self.rows else width
        if index < total:
            self._painted[y] = self._full_key(index)
            self.lines_built += 1
            strip = self.build(index, room)
        else:
            self._painted[y] = None
            strip = self._blank(y, total, room)
        if room < width:
            strip = Strip.join([strip, self._scrollbar(y, total)])
        if not self.look.unicode:
            strip = in_ascii(strip)
        return strip.apply_style(self.rich_style)

    def _blank(self, y: int, total: int, room: int) -> Strip:
        line = Line()
        if y == 0 and total == 0:
            line.add(f" {self.empty()}", DIM)
        return line.strip(room)

    def _scrollbar(self, y: int, total: int) -> Strip:
        """A thumb in the last column: where in the whole this is."""
        first, size = self._thumb(total)
        inside = first <= y < first + size
        mark = ("▐" if self.look.unicode else "|") if inside else " "
        return Line().add(mark, DIM).strip(1)

    def _full_key(self, index: int) -> Hashable:
        return (index == self.cursor and self.shows_cursor, index, self.key(index))

    def _thumb(self, total: int) -> tuple[int, int]:
        """(first row, number of rows) of the scroll bar's thumb; (0, 0) if all is in sight."""
        rows = self.rows
        if total <= rows:
            return 0, 0
        size = max(1, rows * rows // total)
        return round((rows - size) * min(1.0, self.top / (total - rows))), size

    @property
    def shows_cursor(self) -> bool:
        """True if the line under the cursor is to look different."""
        return True

    def frame(self) -> None:
        """Repaint the lines in sight that look different now."""
        if not self.is_attached or not self.size.height:
            return
        self._settle()
        total = self.count()
        thumb = self._thumb(total)
        if thumb != self._last_thumb:
            self._last_thumb = thumb
            self._painted.clear()
        for y in range(self.size.height):
            index = self.top + y
            key = self._full_key(index) if index < total else None
            if self._painted.get(y, self) != key:
                self.refresh(Region(0, y, self.size.width, 1))

    def repaint(self) -> None:
        """Paint all anew: another run, another width, another order."""
        self._painted.clear()
        self._settle()
        self.refresh()

    def _settle(self) -> None:
        """Keep cursor and place within what there is."""
        total = self.count()
        self.cursor = max(0, min(self.cursor, total - 1))
        top = max(0, min(self.top, total - self.rows))
        if top != self.top:
            self.top = top
            self._painted.clear()
            self.refresh()

    # -- moving --------------------------------------------------------------------------------

    def move_to(self, index: int) -> None:
        """Put the cursor on a line and that in sight."""
        self.cursor = max(0, min(index, self.count() - 1))
        self._show_cursor()
        self.frame()

    def _show_cursor(self) -> None:
        top = self.top
        if self.cursor < top:
            top = self.cursor
        elif self.cursor >= top + self.rows:
            top = self.cursor - self.rows + 1
        self.scroll_lines_to(top)

    def scroll_lines_to(self, top: int) -> None:
        """Have the view begin at a line."""
        top = max(0, min(top, self.count() - self.rows))
        if top != self.top:
            self.top = top
            self._painted.clear()
            self.refresh()

    def move_by(self, lines: int) -> None:
        """Move the cursor down (or up) by some lines."""
        self.move_to(self.cursor + lines)

    def action_up(self) -> None:
        """One line up."""
        self.move_by(-1)

    def action_down(self) -> None:
        """One line down."""
        self.move_by(1)

    def action_page_up(self) -> None:
        """A page up."""
        self.move_by(-max(1, self.rows - 1))

    def action_page_down(self) -> None:
        """A page down."""
        self.move_by(max(1, self.rows - 1))

    def action_top(self) -> None:
        """To the first line."""
        self.move_to(0)

    def action_bottom(self) -> None:
        """To the last line."""
        self.move_to(self.count() - 1)

    # -- the mouse, and a new size --------------------------------------------------------------

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Lines go up; the cursor stays."""
        event.stop()
        self.scroll_lines_to(self.top + _WHEEL)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Lines go down; the cursor stays."""
        event.stop()
        self.scroll_lines_to(self.top - _WHEEL)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor on the line."""
        index = self.top + event.y
        if index < self.count():
            self.move_to(index)

    def on_resize(self, event: events.Resize) -> None:
        """Another width: everything is built anew."""
        self._painted.clear()
        self._show_cursor()
