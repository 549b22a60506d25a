"""The columns of the tree: which there are at a width, and a row's cells painted into them.

Rule 1: columns stand still while rows change: they depend on the width and on how many digits
        the run's totals have, on nothing else. A name that is too long for its own takes what
        is empty behind it.
Rule 2: what goes first where room is short: throughput, worker, tries, duration.
"""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len
from rich.style import Style

from engine import TaskState
from engine.front import IS_TERMINAL
from flowforge_tui.blocks import GROUP, REST, TASK
from flowforge_tui.cells import SPARK, Cells
from flowforge_tui.look import ACCENT, BOLD, DIM, FAINT, PLAIN, WARN, Look, state_style
from flowforge_tui.safe_text import safe_line
from flowforge_tui.strips import Line, fit

#: Cells before a row's name, but for its depth: cursor, mark, fold sign, glyph.
_LEAD = 6

_SPARK = Style(color=ACCENT.color, dim=True)

_TRIES, _WORKER, _BEGAN, _TOOK = 8, 5, 10, 8


class Columns(NamedTuple):
    """Widths in cells; 0: not there."""

    name: int
    """With all that stands before it."""
    info: int
    done: int
    """Of a section's done and total, within `info`."""
    tries: int
    worker: int
    began: int
    took: int
    spark: int

    @property
    def all_right_of_name(self) -> int:
        """Cells behind the name."""
        return self.info + self.tries + self.worker + self.began + self.took + self.spark

    @classmethod
    def at(cls, width: int, total: int) -> Columns:
        """For a view of `width` cells, of a run of `total` task runs."""
        spark = SPARK + 3 if width >= 72 else 0
        began = _BEGAN if width >= 110 else 0
        worker = _WORKER if width >= 90 else 0
        tries = _TRIES if width >= 60 else 0
        took = _TOOK if width >= 44 else 0
        name = max(16, min(48, width * 36 // 100))
        info = max(0, width - name - tries - worker - began - took - spark)
        done = min(info, 2 * len(f"{total:,}") + 1)
        return cls(name, info, done, tries, worker, began, took, spark)


def bar_style(cells: Cells) -> Style:
    """Of the row under the cursor: all of it in the colour of its state, reversed."""
    colour = state_style(cells.state).color if cells.state is not None else DIM.color
    return Style(color=colour, reverse=True)


def paint(cells: Cells, columns: Columns, look: Look, *, cursor: bool) -> Line:
    """A row as a line of `columns`."""
    line = Line()
    row, marks = cells.row, look.marks
    line.add(marks.cursor if cursor else " ", ACCENT)
    line.add(marks.marked if cells.marked else " ", WARN)
    sign = {"open": marks.open, "shut": marks.shut}.get(cells.sign, " ")
    line.add("  " * row.depth + sign + " ", DIM)
    room = columns.name - _LEAD - 2 * row.depth
    if row.kind == REST:
        return _rest(line, cells, columns, look)
    if cells.state is not None:
        line.add(look.glyph(cells.state) + " ", state_style(cells.state))
    name = safe_line(cells.name)
    more = max(0, min(cell_len(name) + 1 - room, _free(cells, columns)))
    line.add(fit(name, max(1, room - 1) + more), _name_style(cells)).add(" ")
    if row.kind == TASK:
        _task(line, cells, columns, more)
    else:
        _section(line, cells, columns, look, more)
    return line


def _free(cells: Cells, columns: Columns) -> int:
    """Cells that a long name may have of what is behind it: what is empty there."""
    if cells.row.kind != TASK:
        return max(0, columns.done - len(cells.done) - 1)
    info = safe_line(_info(cells, columns))
    return max(0, _info_room(cells, columns) - (cell_len(info) + 2 if info else 1))


def _rest(line: Line, cells: Cells, columns: Columns, look: Look) -> Line:
    room = columns.name + columns.info + columns.tries - line.used
    hint = f"  {cells.info}"
    text = cells.name
    if len(text) + len(hint) <= room:
        return line.add(text, DIM).add(hint, FAINT)
    return line.column(text, room, DIM)


def _name_style(cells: Cells) -> Style:
    if cells.row.kind != TASK:
        return BOLD if cells.row.kind == GROUP or _is_alive(cells.state) else PLAIN
    if cells.state in (TaskState.PENDING, TaskState.QUEUED):
        return DIM
    return PLAIN


def _is_alive(state: TaskState | None) -> bool:
    return state is TaskState.FAILED or (
        state is not None and not IS_TERMINAL[state] and state is not TaskState.PENDING)


def _info(cells: Cells, columns: Columns) -> str:
    return cells.info or ("" if columns.worker else cells.worker)


def _info_room(cells: Cells, columns: Columns) -> int:
    """The room of columns that are empty here is the info's."""
    if cells.tries:
        return columns.info
    if cells.took or cells.worker:
        return columns.info + columns.tries
    return columns.all_right_of_name


def _task(line: Line, cells: Cells, columns: Columns, less: int) -> None:
    """`less`: cells that the name has taken."""
    room = _info_room(cells, columns)
    tone = state_style(cells.tone) if cells.tone is not None else DIM
    line.put(_info(cells, columns), Style(color=tone.color, dim=tone.dim),
             width=max(0, room - less - 1)).add(" ")
    if room == columns.all_right_of_name:
        return
    if cells.tries and columns.tries:
        line.column(cells.tries, columns.tries, DIM)
    _right(line, cells, columns, DIM)


def _section(line: Line, cells: Cells, columns: Columns, look: Look, less: int) -> None:
    """`less`: cells that the name has taken."""
    room = columns.info + columns.tries
    if not (cells.took or cells.spark):
        room = columns.all_right_of_name
    line.column(cells.done, columns.done - less, DIM if _is_idle(cells) else PLAIN, right=True)
    room -= columns.done
    for state, number in cells.counted:
        text = f" {look.glyph(state)}{number:,}"
        if len(text) > room:
            break
        line.add(text, state_style(state))
        room -= len(text)
    if cells.info and room > 2:
        tone = state_style(cells.tone) if cells.tone is not None else DIM
        line.add("  ").put(cells.info, tone, width=room - 2)
    else:
        line.add(" " * room)
    if cells.took or cells.spark:
        _right(line, cells, columns, DIM if _is_idle(cells) else PLAIN)


def _is_idle(cells: Cells) -> bool:
    return cells.state in (TaskState.PENDING, TaskState.UPSTREAM_FAILED, TaskState.SKIPPED,
                           TaskState.CANCELLED)


def _right(line: Line, cells: Cells, columns: Columns, style: Style) -> None:
    if columns.worker:
        line.column(cells.worker, columns.worker, DIM)
    if columns.began:
        line.column(cells.began, columns.began, FAINT, right=True)
    if columns.took:
        line.column(cells.took, columns.took, style, right=True)
    if columns.spark:
        line.add("  " + fit(cells.spark, SPARK, right=True) + " ", _SPARK)
