"""The rows of a run's task runs in sight, around `rows`, `cells` and `tree_columns`.

Rule 1: the cursor stays on its task run, section or group, whatever comes and goes around it;
        if a person folds that away, it goes to what it is folded into.
Rule 2: the widget knows nothing of the engine: what a QUEUED task run waits for, and how far
        a running one is, the app tells it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from time import perf_counter
from typing import Any

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.strip import Strip

from engine import TaskState
from flowforge_tui import finding
from flowforge_tui.blocks import GROUP, REST, TASK
from flowforge_tui.cells import Cells, Teller
from flowforge_tui.filtering import FilterError, parse
from flowforge_tui.look import Look
from flowforge_tui.marking import Marked
from flowforge_tui.model import RunView
from flowforge_tui.ordering import Sort
from flowforge_tui.rows import Caps, Row, Rows
from flowforge_tui.shape import Section, Shape
from flowforge_tui.tree_columns import Columns, bar_style, paint
from flowforge_tui.widgets.lines import LineView

Place = tuple[str, int]

#: Places that `[` remembers.
_REMEMBERED = 200

#: The filter looks again at what changed when so many times what that costs has passed: it
#: takes a tenth of the time at most. In seconds, at least.
_REFILTER, _REFILTER_LEAST = 10, 0.1

SORTED = {
    Sort.DEFINITION: "in order of definition", Sort.ATTENTION: "what asks for attention first",
    Sort.DURATION: "the longest first", Sort.NAME: "by name",
}


class TaskRows(LineView):
    """Groups, sections and task runs, of which the visible ones alone exist."""

    class Highlighted(Message):
        """The cursor stands on another row."""

        def can_replace(self, message: Message) -> bool:
            """Once is enough."""
            return isinstance(message, TaskRows.Highlighted)

    class Changed(Message):
        """Marks, filter, order or following are others: what a status line tells."""

        def can_replace(self, message: Message) -> bool:
            """Once is enough."""
            return isinstance(message, TaskRows.Changed)

    def __init__(
        self, view: RunView | None = None, look: Look | None = None, **kwargs: Any
    ) -> None:
        super().__init__(look, **kwargs)
        self.tree_rows = Rows(view if view is not None else RunView(Shape.empty()))
        self.teller = Teller(self.tree_rows, self.look)
        self.marked = Marked()
        self.follows = False
        """True while the cursor goes along with what runs."""
        self.filter_text = ""
        self._at: Place | None = None
        self._told: Place | None = None
        """The row that `Highlighted` was last sent for."""
        self._anchor: Place | None = None
        """Where a range begins, while one is drawn."""
        self._back: list[Place] = []
        self._forth: list[Place] = []
        self._next_filter = 0.0
        self._next_sort = 0.0

    # -- what the app calls -----------------------------------------------------------------------

    @property
    def view(self) -> RunView:
        """The run that is shown."""
        return self.tree_rows.view

    def show(self, view: RunView) -> None:
        """Another view: another run, or another moment of this one. Choices stay where they fit."""
        before = self.tree_rows
        same = before.view.shape.names == view.shape.names
        self.tree_rows = before.moved_to(view) if same else Rows(view, before.caps)
        self.teller.rows = self.tree_rows
        if not same:
            self._forget()
        self._find_cursor()
        self.repaint()

    def _forget(self) -> None:
        self.marked.clear()
        self._at = self._anchor = None
        self._back.clear()
        self._forth.clear()
        self.filter_text = ""
        self.cursor = self.top = 0

    def frame(
        self, now: float | None = None,
        progress: Mapping[int, tuple[float, float | None]] | None = None,
    ) -> None:
        """Follow the view, and repaint what looks different. `now`: seconds since the epoch."""
        if now is not None:
            self.teller.now = now
        if progress is not None:
            self.teller.progress = progress
        if self._refresh():
            self._find_cursor()
        super().frame()
        self._tell()

    def set_reason(self, tid: int, text: str) -> None:
        """What the QUEUED task run under the cursor waits for: `a worker`, `limit gpu`."""
        self.teller.reason = (tid, text)

    def selection(self) -> list[int]:
        """The task runs that a command is for: the marked ones, else those of the cursor's row."""
        if self.marked.tids:
            return sorted(t for t in self.marked.tids if self.view.is_live(t))
        return self.current()

    def current(self) -> list[int]:
        """The task runs of the row under the cursor, whatever is marked."""
        row = self.row
        return [] if row is None else list(self.tree_rows.tasks_of(row.kind, row.id))

    @property
    def status(self) -> str:
        """What a person has set here and may forget: marks, filter, order; "" if nothing."""
        told = []
        if self.marked.tids:
            told.append(f"{len(self.selection()):,} marked")
        if self._anchor is not None:
            told.append("range")
        if self.filter_text:
            told.append(f"/{self.filter_text}")
        if self.tree_rows.sort is not Sort.DEFINITION:
            told.append(SORTED[self.tree_rows.sort])
        if self.follows:
            told.append("following")
        return f" {self.look.marks.dot} ".join(told)

    def clear_marks(self) -> bool:
        """Take all marks off; False if there were none."""
        drawing, self._anchor = self._anchor is not None, None
        if not self.marked.clear() and not drawing:
            return False
        self._marks_changed()
        return True

    @property
    def row(self) -> Row | None:
        """The row under the cursor."""
        return self.tree_rows.row(self.cursor) if self.cursor < len(self.tree_rows) else None

    @property
    def tid(self) -> int | None:
        """The task run under the cursor, if it is one."""
        row = self.row
        return row.id if row is not None and row.kind == TASK else None

    def highlighted(self) -> int | Section | None:
        """The task run under the cursor, or the section, of a chain the first; None: neither."""
        row = self.row
        if row is None or row.kind == GROUP:
            return None
        return row.id if row.kind == TASK else self.view.shape.sections[row.id]

    def reveal(self, tid: int) -> bool:
        """Put the cursor on a task run, opening what hides it; False if there is none."""
        if not 0 <= tid < len(self.view.state) or not self.view.is_live(tid):
            return False
        at = self.tree_rows.reveal(tid)
        if at < 0 and self.tree_rows.filter is not None:
            self.set_filter("")
            at = self.tree_rows.reveal(tid)
        if at < 0:
            return False
        self.repaint()
        self.jump_to(at)
        return True

    def set_filter(self, text: str) -> str:
        """Show only what a filter keeps. What is wrong with it, and then nothing changes."""
        try:
            wanted = parse(text)
        except FilterError as error:
            return str(error)
        self.filter_text = text.strip()
        began = perf_counter()
        self.tree_rows.set_filter(wanted, self.teller.now)
        self._after_filter(began)
        self._find_cursor()
        self.repaint()
        self._show_cursor()
        self.post_message(self.Changed())
        self._tell()
        return ""

    def _after_filter(self, began: float) -> None:
        at = perf_counter()
        self._next_filter = at + max(_REFILTER_LEAST, _REFILTER * (at - began))

    # -- as LineView asks -------------------------------------------------------------------------

    def count(self) -> int:
        """As in `LineView`."""
        return len(self.tree_rows)

    def key(self, index: int) -> Hashable:
        """As in `LineView`."""
        return self._cells(index)

    def build(self, index: int, width: int) -> Strip:
        """As in `LineView`."""
        at_cursor = index == self.cursor
        columns = Columns.at(width, self.view.size)
        cells = self._cells(index)
        strip = paint(cells, columns, self.look, cursor=at_cursor).strip(width)
        if at_cursor and self.has_focus:
            return Strip([Segment(strip.text, bar_style(cells))], width)
        return strip

    def empty(self) -> str:
        """As in `LineView`."""
        if self.tree_rows.filter is not None:
            return "no task run matches the filter (Esc: show all)"
        return "waiting for the run to begin"

    def _cells(self, index: int) -> Cells:
        row = self.tree_rows.row(index)
        cells = self.teller.cells(row)
        return cells._replace(marked=True) if self._is_marked(row) else cells

    def _is_marked(self, row: Row) -> bool:
        if not self.marked.tids and not self.marked.range:
            return False
        if row.kind == TASK:
            return row.id in self.marked
        return row.kind != REST and self.marked.all_of(self.tree_rows.tasks_of(row.kind, row.id))

    # -- following the view -----------------------------------------------------------------------

    def _refresh(self) -> bool:
        rows, now = self.tree_rows, self.teller.now
        rows.pinned = self._at[1] if self._at is not None and self._at[0] == TASK else -1
        self.view.pace.read()
        changed = rows.refresh(now)
        if rows.is_stale and perf_counter() >= self._next_filter:
            began = perf_counter()
            rows.refilter(now)
            self._after_filter(began)
            changed = True
        if rows.sort is Sort.DURATION and now >= self._next_sort:
            self._next_sort = now + 1.0
            rows.resort(now)
            changed = True
        if self.follows:
            changed = self._go_along() or changed
        return changed

    def _go_along(self) -> bool:
        """Leave a task run that ended for one that runs."""
        kind, id = self._at if self._at is not None else (GROUP, -1)
        running = (TaskState.RUNNING, TaskState.CANCELLING)
        if kind == TASK and self.view.state_of(id) in running:
            return False
        at = finding.running(self.tree_rows)
        if at < 0:
            return False
        row = self.tree_rows.row(at)
        self._at = (row.kind, row.id)
        return True

    def _find_cursor(self) -> None:
        """Put the cursor where its row is now, at the same height of the screen if it can be."""
        if self._at is None:
            row = self.row
            self._at = (row.kind, row.id) if row is not None else None
            return
        at = self._nearest(self._at)
        moved = at - self.cursor
        in_sight = self.top <= self.cursor < self.top + self.rows
        self.cursor = at
        if moved and in_sight and (self.top or at >= self.rows):
            self.scroll_lines_to(self.top + moved)
        if in_sight:
            self._show_cursor()

    def _nearest(self, key: Place) -> int:
        """Where a row is, or else the nearest that it is folded into."""
        wanted: Place | None = key
        while wanted is not None:
            at = self.tree_rows.index_of(*wanted)
            if at >= 0:
                self._at = wanted
                return at
            wanted = self.tree_rows.parent_of(*wanted)
        at = max(0, min(self.cursor, len(self.tree_rows) - 1))
        row = self.tree_rows.row(at) if len(self.tree_rows) else None
        self._at = (row.kind, row.id) if row is not None else None
        return at

    def _tell(self) -> None:
        if self._at != self._told:
            self._told = self._at
            self.post_message(self.Highlighted())

    # -- the cursor, and what depends on it -------------------------------------------------------

    def move_to(self, index: int) -> None:
        """As in `LineView`; a move by hand ends the following."""
        if self.follows:
            self.follows = False
            self.post_message(self.Changed())
        self._put_cursor(index)

    def _put_cursor(self, index: int) -> None:
        index = max(0, min(index, len(self.tree_rows) - 1))
        row = self.tree_rows.row(index) if len(self.tree_rows) else None
        self._at = (row.kind, row.id) if row is not None else None
        if self._anchor is not None:
            self._draw_range(index)
        super().move_to(index)
        self._tell()

    def jump_to(self, index: int) -> None:
        """Move, and remember for `[` where that was."""
        if self._at is not None:
            self._remember(self._back, self._at)
            self._forth.clear()
        self.move_to(index)

    def _remember(self, places: list[Place], key: Place) -> None:
        if not places or places[-1] != key:
            places.append(key)
            del places[:-_REMEMBERED]

    def _draw_range(self, upto: int) -> None:
        assert self._anchor is not None
        start = self.tree_rows.index_of(*self._anchor)
        if start < 0:
            start = upto
        first, last = sorted((start, upto))
        rows = (self.tree_rows.row(i) for i in range(first, last + 1))
        self.marked.range = {row.id for row in rows if row.kind == TASK}
        self.repaint()

    def _marks_changed(self) -> None:
        self.post_message(self.Changed())
        self.frame()

    def _rows_changed(self) -> None:
        self._find_cursor()
        self.repaint()
        self.frame()

    def _say(self, text: str) -> None:
        self.notify(text, timeout=3, markup=False)

    # -- a new size, and the focus ----------------------------------------------------------------

    def on_resize(self, event: events.Resize) -> None:
        """Another height: another number of rows that float up."""
        self.tree_rows.set_caps(Caps.for_height(event.size.height))
        self._find_cursor()
        super().on_resize(event)

    def on_focus(self) -> None:
        """The cursor's row looks different."""
        self.repaint()

    def on_blur(self) -> None:
        """The cursor's row looks different."""
        self.repaint()
