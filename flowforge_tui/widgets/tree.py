"""The tree of a run's task runs: what its keys do to the rows.

Rule 1: a key that does nothing here says why.
Rule 2: `[` goes back over jumps, however far; single steps it does not remember.
"""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.actions import SkipAction
from textual.binding import BindingType
from textual.message import Message

from flowforge_tui import finding
from flowforge_tui.blocks import GROUP, REST, TASK
from flowforge_tui.filtering import FAILED_ONLY
from flowforge_tui.keys import MOVE_KEYS, RUN_KEYS, TREE_OWN_KEYS, Key, bindings
from flowforge_tui.marking import same_error
from flowforge_tui.ordering import Sort
from flowforge_tui.rows import Row
from flowforge_tui.widgets.task_rows import SORTED, Place, TaskRows

#: Enter is the screen's key too, but what is folded opens here.
TREE_KEYS: tuple[Key, ...] = (*MOVE_KEYS, *TREE_OWN_KEYS, *[k for k in RUN_KEYS if k.id == "open"])


class TaskTree(TaskRows):
    """Rows, and keys that move, fold, filter, order and mark them."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(TREE_KEYS)]

    class Opened(Message):
        """Enter on a task run."""

    # -- moving -----------------------------------------------------------------------------------

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
            self.post_message(self.Opened())
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
        self.post_message(self.Changed())
        self.frame()

    def action_failed_only(self) -> None:
        """Only what failed or is up for retry; once more: everything."""
        self.set_filter("" if self.filter_text == FAILED_ONLY else FAILED_ONLY)

    def action_sort(self) -> None:
        """The next order."""
        rows = self.tree_rows
        rows.set_sort(Sort((rows.sort + 1) % len(Sort)), self.teller.now)
        self._say(SORTED[rows.sort])
        self.post_message(self.Changed())
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

    def _end_range(self) -> None:
        self.marked.keep_range()
        self._anchor = None

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
