"""What rows of the detail pane are made of: a canvas, text in it, and the row of a task run. Pure.

Rule 1: text from outside is made safe when it enters a line.
Rule 2: a list of task runs is a list of ids (`TaskRow`): the row of one is made when it is
        painted, so that ten thousand dependencies cost those in sight.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.style import Style

from engine import TaskState
from engine.front import wording
from flowforge_tui.amounts import brief_seconds
from flowforge_tui.graph_parts import counts_of
from flowforge_tui.logbook import breaks
from flowforge_tui.look import BAD, BOLD, DIM, PLAIN, Look, state_style, word
from flowforge_tui.safe_text import safe
from flowforge_tui.strips import Line

if TYPE_CHECKING:
    from flowforge_tui.model import RunView

FAILED = (TaskState.FAILED, TaskState.UP_FOR_RETRY)
ACTIVE = (TaskState.RUNNING, TaskState.CANCELLING)


class Row(NamedTuple):
    """One row. `task`: where Enter leads; `attempt`: whose log it opens (generation, number)."""

    line: Line
    task: int = -1
    attempt: tuple[int, int] | None = None


class TaskRow(NamedTuple):
    """A task run, or a map as a whole: its row is made when it is painted."""

    task: int


class Canvas(NamedTuple):
    """What rows are made for."""

    view: RunView
    look: Look
    width: int
    now: float
    height: int = 24

    def text(self, text: str, style: Style = PLAIN, *, lead: int = 1, most: int = 1_000
             ) -> Iterator[Row]:
        """Rows of text from outside, of any length, behind `lead` cells."""
        pad, count = " " * lead, 0
        for raw in safe(text).splitlines() or [""]:
            part = raw.expandtabs(4)
            for start, end in pieces(part, max(10, self.width - lead - 1)):
                count += 1
                if count > most:
                    yield Row(Line().add(f"{pad}{self.look.marks.more}", DIM))
                    return
                yield Row(Line().add(pad).add(part[start:end], style))

    def span(self, seconds: float) -> str:
        """A duration in few cells."""
        text = brief_seconds(seconds)
        return text if self.look.unicode else text.replace("µ", "u")

    def title(self, text: str, more: str = "") -> Iterator[Row]:
        """An empty row, and a heading of our own."""
        yield Row(Line())
        yield Row(Line().add(f" {text}", BOLD).add(f"  {more}" if more else "", DIM))


def pieces(text: str, width: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each row that a text takes."""
    starts = [0, *breaks(text, width)]
    yield from zip(starts, [*starts[1:], len(text)], strict=True)


def task_line(canvas: Canvas, tid: int) -> Line:
    """` ✓ name             0.4s  what went wrong`: in lists of task runs."""
    view, look = canvas.view, canvas.look
    if view.is_group(tid):
        return _group_line(canvas, tid)
    state = view.state_of(tid)
    line = Line().add(f" {look.glyph(state)} ", state_style(state))
    line.put(view.name_of(tid), width=name_width(canvas.width))
    line.add(f" {word(state):<13}", state_style(state))
    took = view.seconds(tid, canvas.now)
    line.add(f"{canvas.span(took) if took else '':>7}  ", DIM)
    error = view.errors.get(tid)
    if error is not None and state in FAILED:
        line.put(wording.error_line(error[1]), BAD)
    return line


def name_width(width: int) -> int:
    """Cells of the column of names."""
    return max(12, min(44, width - 36))


def _group_line(canvas: Canvas, node: int) -> Line:
    """A map as a whole, with its counts."""
    view = canvas.view
    counts = counts_of(view, node)
    size = sum(counts)
    line = Line().add(f" {canvas.look.marks.shut} ", DIM)
    line.put(view.shape.names[node], width=name_width(canvas.width)).add(f" {size:,} ", DIM)
    return count_words(line, canvas.look, counts, short=True)


def count_words(line: Line, look: Look, counts: Sequence[int], *, short: bool = False) -> Line:
    """`✓ 990 succeeded  ✗ 2 failed`, or `✓990 ✗2`."""
    for state in TaskState:
        number = counts[state]
        if number and short:
            line.add(f" {look.glyph(state)}{number:,}", state_style(state))
        elif number:
            line.add(f" {look.glyph(state)} {number:,} {word(state)} ", state_style(state))
    return line


def task_key(view: RunView, tid: int, now: float) -> Hashable:
    """Changes when `task_line` does."""
    if view.is_group(tid):
        return view.version
    tick = int(now) if view.state[tid] in ACTIVE else 0
    return view.state[tid], view.number[tid], view.end[tid], tick
