"""The tree of a run's task runs: the widget around `rows`, `cells` and `tree_columns`.

Rule 1: the cursor stays on its task run, section or group, whatever comes and goes around it;
        if a person folds that away, it goes to what it is folded into.
Rule 2: a key that does nothing here says why.
Rule 3: the widget knows nothing of the engine: what a QUEUED task run waits for, and how far
        a running one is, the app tells it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from time import perf_counter
from typing import Any, ClassVar

from rich.segment import Segment
from textual import events
from textual.actions import SkipAction
from textual.binding import BindingType
from textual.message import Message
from textual.strip import Strip

from engine import TaskState
from flowforge_tui import finding
from flowforge_tui.blocks import GROUP, REST, TASK
from flowforge_tui.cells import Cells, Teller
from flowforge_tui.filtering import FAILED_ONLY, FilterError, parse
from flowforge_tui.keys import MOVE_KEYS, RUN_KEYS, TREE_OWN_KEYS, Key, bindings
from flowforge_tui.look import Look
from flowforge_tui.marking import Marked, same_error
from flowforge_tui.model import RunView
from flowforge_tui.ordering import Sort
from flowforge_tui.rows import Caps, Row, Rows
from flowforge_tui.shape import Section, Shape
from flowforge_tui.tree_columns import Columns, bar_style, paint
from flowforge_tui.widgets.lines import LineView

Place = tuple[str, int]

#: Enter is the screen's key too, but what is folded opens here.
TREE_KEYS: tuple[Key, ...] = (*MOVE_KEYS, *TREE_OWN_KEYS, *[k for k in RUN_KEYS if k.id == "open"])

#: Places that `[` remembers.
_REMEMBERED = 200

#: The filter looks again at what changed when so many times what that costs has passed: it
#: takes a tenth of the time at most. In seconds, at least.
_REFILTER, _REFILTER_LEAST = 10, 0.1

_SORTED = {
    Sort.DEFINITION: "in order of definition", Sort.ATTENTION: "what asks for attention first",
    Sort.DURATION: "the longest first", Sort.NAME: "by name",
}


class TaskTree(LineView):
    """Groups, sections and task runs, of which the visible ones alone exist."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(TREE_KEYS)]

    class Highlighted(Message):
        """The cursor stands on another row."""

        def __init__(self, tree: TaskTree, row: Row | None) -> None:
            super().__init__()
            self.tree = tree
            self.row = row

        @property
        def control(self) -> TaskTree:
            """The tree."""
            return self.tree

        @property
        def tid(self) -> int | None:
            """The task run, if it is one."""
            return self.row.id if self.row is not None and self.row.kind == TASK else None

        @property
        def section(self) -> Section | None:
            """The section, if it is one, or what is folded of one; of a chain the first."""
            if self.row is None or self.row.kind in (TASK, GROUP):
                return None
            return self.tree.view.shape.sections[self.row.id]

        @property
        def group(self) -> str | None:
            """The path of the nested workflow, if it is one."""
            if self.row is None or self.row.kind != GROUP:
                return None
            return self.tree.tree_rows.blocks.groups[self.row.id]

        def can_replace(self, message: Message) -> bool:
            """Only the last place counts."""
            return isinstance(message, TaskTree.Highlighted) and message.tree is self.tree

    class Opened(Message):
        """Enter on a task run."""

        def __init__(self, tree: TaskTree, tid: int) -> None:
            super().__init__()
            self.tree = tree
            self.tid = tid

        @property
        def control(self) -> TaskTree:
            """The tree."""
            return self.tree

    class Changed(Message):
        """Marks, filter, order or following are others: what a status line tells."""

        def __init__(self, tree: TaskTree) -> None:
            super().__init__()
            self.tree = tree

        @property
        def control(self) -> TaskTree:
            """The tree."""
            return self.tree

        def can_replace(self, message: Message) -> bool:
            """Once is enough."""
            return isinstance(message, TaskTree.Changed) and message.tree is self.tree

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
        self._range: set[int] = set()
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
            told.append(_SORTED[self.tree_rows.sort])
        if self.follows:
            told.append("following")
        return f" {self.look.marks.dot} ".join(told)

    def clear_marks(self) -> bool:
        """Take all marks off; False if there were none."""
        had = self._anchor is not None
        self._anchor, self._range = None, set()
        if not self.marked.clear() and not had:
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
        """The task run, or the section, under the cursor; None: neither, or nothing."""
        told = self.Highlighted(self, self.row)
        return told.tid if told.tid is not None else told.section

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
        self.post_message(self.Changed(self))
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
        if not self.marked.tids and not self._range:
            return False
        if row.kind == TASK:
            return row.id in self.marked or row.id in self._range
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
            self.post_message(self.Highlighted(self, self.row))

    # -- moving -----------------------------------------------------------------------------------

    def move_to(self, index: int) -> None:
        """As in `LineView`; a move by hand ends the following."""
        if self.follows:
            self.follows = False
            self.post_message(self.Changed(self))
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

    def action_top(self) -> None:
        """To the first row."""
        self.jump_to(0)

    def action_bottom(self) -> None:
        """To the last row."""
        self.jump_to(len(self.tree_rows) - 1)

    def action_back(self) -> None:
        """To the row before the last jump."""
        self._travel(self._back, self._forth, "no row was visited before this one")

    def action_forth(self) -> None:
        """Undo `back`."""
        self._travel(self._forth, self._back, "no row was visited after this one")

    def _travel(self, there: list[Place], here: list[Place], nothing: str) -> None:
        while there:
            kind, id = there.pop()
            if (kind, id) == self._at:
                continue
            at = self.tree_rows.index_of(kind, id)
            if at < 0 and kind == TASK and self.view.is_live(id):
                at = self.tree_rows.reveal(id)
            if at < 0:
                continue
            if self._at is not None:
                self._remember(here, self._at)
            self.repaint()
            self.move_to(at)
            return
        self._say(nothing)

    def action_expand(self) -> None:
        """Open the row, or go on to the first row in it."""
        row = self.row
        if row is None:
            return
        if row.kind == REST:
            self.action_show_all()
            return
        block = self.tree_rows.block_of(row.kind, row.id)
        if row.kind == TASK or block is None:
            self._say("there is nothing folded here")
        elif block.open:
            self.move_by(1)
        else:
            self._set_open(row, True)

    def action_collapse(self) -> None:
        """Fold the row, or go to what it is folded into."""
        row = self.row
        if row is None:
            return
        block = self.tree_rows.block_of(row.kind, row.id)
        if block is not None and row.kind not in (TASK, REST) and block.open:
            self._set_open(row, False)
            return
        parent = self.tree_rows.parent_of(row.kind, row.id)
        if parent is None:
            self._say("this is at the top already")
        else:
            self.move_to(self.tree_rows.index_of(*parent))

    def _set_open(self, row: Row, opened: bool) -> None:
        self.tree_rows.set_open(row.kind, row.id, opened)
        self._rows_changed()

    def _rows_changed(self) -> None:
        self._find_cursor()
        self.repaint()
        self.frame()

    def action_expand_all(self) -> None:
        """Open everything; once more: leave it to what happens."""
        self.tree_rows.open_all(not self.tree_rows.all_open)
        self._rows_changed()

    def action_show_all(self) -> None:
        """Show all task runs of the section, or only what asks for attention."""
        row = self.row
        if row is None or self.tree_rows.filter is not None:
            self._say("the filter decides what is shown (Esc: show all)")
            return
        hidden = self.tree_rows.tasks_of(row.kind, row.id)[:1] if row.kind == REST else ()
        if not self.tree_rows.toggle_all_items(row.kind, row.id):
            self._say("only sections of many task runs can show all or some of them")
            return
        if hidden:
            self._at = (TASK, hidden[0])
        self._rows_changed()

    def action_open(self) -> None:
        """Open a task run's details; fold or unfold anything else."""
        row = self.row
        if row is None:
            return
        if row.kind == TASK:
            self.post_message(self.Opened(self, row.id))
        elif row.kind == REST:
            self.action_show_all()
        else:
            block = self.tree_rows.block_of(row.kind, row.id)
            self._set_open(row, block is None or not block.open)

    def on_click(self, event: events.Click) -> None:
        """The cursor goes there; a click on the cursor's row is like Enter."""
        index = self.top + event.y
        if index >= len(self.tree_rows):
            return
        if index == self.cursor and self.has_focus:
            self.action_open()
        else:
            self.move_to(index)

    # -- failures, what runs, order ---------------------------------------------------------------

    def action_next_failure(self) -> None:
        """To the next failed task run, opening what hides it."""
        self._to_failure(back=False)

    def action_previous_failure(self) -> None:
        """To the failed task run before."""
        self._to_failure(back=True)

    def _to_failure(self, *, back: bool) -> None:
        kind, id = self._at if self._at is not None else (GROUP, -1)
        tid = finding.failure(self.tree_rows, kind, id, back=back)
        if tid < 0:
            filtered = self.tree_rows.filter is not None
            self._say("no failed task run matches the filter" if filtered
                      else "no task run has failed")
            return
        if (TASK, tid) == self._at:
            self._say("this is the only failed task run")
        self.reveal(tid)

    def action_follow(self) -> None:
        """Have the cursor go along with what runs, until it is moved."""
        self.follows = not self.follows
        if self.follows and finding.running(self.tree_rows) < 0:
            self._say("nothing runs that has a row; the cursor goes there once something does")
        self.post_message(self.Changed(self))
        self.frame()

    def action_failed_only(self) -> None:
        """Only what failed or is up for retry; once more: everything."""
        self.set_filter("" if self.filter_text == FAILED_ONLY else FAILED_ONLY)

    def action_sort(self) -> None:
        """The next order."""
        rows = self.tree_rows
        rows.set_sort(Sort((rows.sort + 1) % len(Sort)), self.teller.now)
        self._say(_SORTED[rows.sort])
        self.post_message(self.Changed(self))
        self._rows_changed()

    # -- marks ------------------------------------------------------------------------------------

    def action_mark(self) -> None:
        """Mark the row's task runs, or take their marks off; then a row down."""
        row = self.row
        if row is None:
            return
        self._end_range()
        self.marked.toggle(self.tree_rows.tasks_of(row.kind, row.id))
        self._marks_changed()
        self.move_by(1)

    def action_mark_range(self) -> None:
        """Begin a range here; once more: keep it."""
        if self._anchor is not None:
            self._end_range()
        elif self._at is not None:
            self._anchor = self._at
            self._draw_range(self.cursor)
            self._say("move to the other end of the range; V keeps it, Esc drops it")
        self._marks_changed()

    def _draw_range(self, upto: int) -> None:
        assert self._anchor is not None
        start = self.tree_rows.index_of(*self._anchor)
        if start < 0:
            start = upto
        first, last = sorted((start, upto))
        rows = (self.tree_rows.row(i) for i in range(first, last + 1))
        self._range = {row.id for row in rows if row.kind == TASK}
        self.repaint()

    def _end_range(self) -> None:
        self.marked.add(self._range)
        self._anchor, self._range = None, set()

    def action_mark_same_error(self) -> None:
        """Mark all that failed of the same cause as the row's task run."""
        tid = self._failed_here()
        if tid is None:
            self._say("this has not failed; n goes to the next failure")
            return
        found = same_error(self.view, tid)
        self.marked.add(found)
        kind = self.view.errors[tid][1].type
        self._say(f"{len(found):,} failed of the same {kind}")
        self._marks_changed()

    def _failed_here(self) -> int | None:
        """The failed task run of the row, or the first one in it."""
        row = self.row
        if row is None:
            return None
        tids = self.tree_rows.tasks_of(row.kind, row.id)
        if row.kind != TASK:
            block = self.tree_rows.block_of(row.kind, row.id)
            tids = block.tids if block is not None else ()
        return next((tid for tid in tids if tid in self.view.errors), None)

    def action_mark_all(self) -> None:
        """Mark all that the filter shows."""
        if self.tree_rows.filter is None:
            self._say("A marks what a filter shows, and there is none: / or f first")
            return
        self.marked.add(self.tree_rows.matches())
        self._say(f"{self.tree_rows.hits:,} marked")
        self._marks_changed()

    def action_clear(self) -> None:
        """Drop the range and the marks, else the filter; else it is not for this view."""
        if self.clear_marks():
            return
        if not self.filter_text:
            raise SkipAction
        self.set_filter("")

    def _marks_changed(self) -> None:
        self.post_message(self.Changed(self))
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
