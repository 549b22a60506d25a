"""The stages of a run: a row each, with a bar of the states that its task runs are in.

Rule: what there is at all of a kind has a cell of the bar at least: one failure shows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

from textual.binding import BindingType
from textual.strip import Strip

from engine import TaskState
from flowforge_tui.keys import DETAIL_KEYS, MOVE_KEYS, bindings
from flowforge_tui.look import BAD, BOLD, CURSOR, DIM, FAINT, GOOD, PLAIN, Look, state_style
from flowforge_tui.model import RunView
from flowforge_tui.run_columns import STATES
from flowforge_tui.shape import Shape
from flowforge_tui.strips import Line
from flowforge_tui.widgets.lines import LineView
from flowforge_tui.widgets.messages import Jump, Left

_S = TaskState
#: What a stage's bar is made of, in order: states, the one whose glyph stands for all of them.
_BAR = (
    ((_S.SUCCESS, _S.CACHED, _S.SKIPPED), None, GOOD),
    ((_S.FAILED,), _S.FAILED, BAD),
    ((_S.UPSTREAM_FAILED, _S.CANCELLED), _S.UPSTREAM_FAILED, DIM),
    ((_S.RUNNING, _S.CANCELLING, _S.UP_FOR_RETRY), _S.RUNNING, state_style(_S.RUNNING)),
    ((_S.PENDING, _S.QUEUED), None, FAINT),
)


class StageMap(LineView):
    """A row a stage: how far it is, and which tasks it has."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(MOVE_KEYS + DETAIL_KEYS)]

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self.view = RunView(Shape.empty())
        self.stages: Sequence[Sequence[int]] = ()
        """The places of each stage's sections."""
        self.here = -1
        """The stage of what is under the tree's cursor."""

    def show(self, view: RunView, found: Sequence[Sequence[int]]) -> None:
        """Another run."""
        self.view, self.stages, self.here = view, found, -1
        self.repaint()

    def point(self, place: int) -> None:
        """Mark the stage that a section is in, and bring it in sight."""
        here = next((i for i, places in enumerate(self.stages) if place in places), -1)
        if here != self.here:
            self.here = here
            if not self.has_focus and here >= 0:
                self.move_to(here)

    def count(self) -> int:
        """As in `LineView`."""
        return len(self.stages)

    @property
    def shows_cursor(self) -> bool:
        """As in `LineView`."""
        return self.has_focus

    def counts(self, index: int) -> list[int]:
        """State → number of task runs in a stage."""
        rows = [self.view.counts[place] for place in self.stages[index]]
        return [sum(column) for column in zip(*rows, strict=True)] if rows else [0] * STATES

    def key(self, index: int) -> Hashable:
        """As in `LineView`."""
        return index == self.here, tuple(self.counts(index))

    def build(self, index: int, width: int) -> Strip:
        """As in `LineView`."""
        counts = self.counts(index)
        marked = index == self.here
        line = Line().add(self.look.marks.cursor if marked else " ", BAD)
        line.add(f"{index + 1:>3} ", BOLD if marked else DIM)
        for text, style in bar(counts, max(6, min(30, width // 4)), self.look):
            line.add(text, style)
        done = sum(counts[s] for s in _BAR[0][0])
        figures = f"  {done:,}/{sum(counts):,}"
        failed = counts[_S.FAILED]
        worst = f" {self.look.glyph(_S.FAILED)}{failed:,}" if failed else ""
        names = ", ".join(self.view.shape.sections[p].name for p in self.stages[index][:20])
        room = width - line.used - len(figures) - len(worst) - 2
        line.add(" ").put(names, BOLD if marked else PLAIN, width=max(4, room))
        line.add(figures, DIM).add(worst, BAD)
        strip = line.strip(width)
        if self.shows_cursor and index == self.cursor:
            return Strip([segment._replace(style=CURSOR) for segment in strip], width)
        return strip

    def action_follow_link(self) -> None:
        """Go to the first task of the stage."""
        if self.stages:
            section = self.view.shape.sections[self.stages[self.cursor][0]]
            self.post_message(Jump(section.nodes[0]))

    def action_leave(self) -> None:
        """Give the focus back."""
        self.post_message(Left())


def bar(counts: Sequence[int], width: int, look: Look) -> list[tuple[str, Any]]:
    """Counts as `width` cells: what there is at all has at least one."""
    sums = [sum(counts[s] for s in states) for states, _, _ in _BAR]
    total = sum(sums)
    cells = [max(int(n > 0), round(n * width / total)) if total else 0 for n in sums]
    while sum(cells) > width:  # rounding: the widest part gives
        cells[cells.index(max(cells))] -= 1
    while 0 < sum(cells) < width:
        cells[cells.index(max(cells))] += 1
    marks = [look.marks.bar, *(look.glyph(s) for _, s, _ in _BAR[1:4] if s is not None),
             look.marks.rest]
    return [(mark * n, style)
            for mark, n, (_, _, style) in zip(marks, cells, _BAR, strict=True) if n]
