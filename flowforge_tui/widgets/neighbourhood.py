"""What is around one task run: names in boxes' stead, and lines between them.

Rule 1: forty task runs at most are laid out, and laid out anew only when the graph differs;
        states are painted when they change.
Rule 2: the cursor is on a task run, and goes along lines: right is later.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.binding import BindingType
from textual.strip import Strip

from engine import TaskState
from flowforge_tui.graph_layout import Drawing, Place, draw
from flowforge_tui.graph_parts import Part, Vertex, around, counts_of
from flowforge_tui.keys import GRAPH_KEYS, MOVE_KEYS, bindings
from flowforge_tui.look import BAD, BOLD, CURSOR, DIM, PLAIN, Look, state_style
from flowforge_tui.model import RunView
from flowforge_tui.ordering import foremost
from flowforge_tui.safe_text import safe_line
from flowforge_tui.shape import Shape
from flowforge_tui.strips import fit
from flowforge_tui.widgets.lines import LineView
from flowforge_tui.widgets.messages import Jump, Left

#: Cells of a vertex's name at most.
_NAME = 24


class Neighbourhood(LineView):
    """What is around one task run, drawn with lines."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(MOVE_KEYS + GRAPH_KEYS)]

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self.view = RunView(Shape.empty())
        self.part = Part([], [], [])
        self.drawing = Drawing([], [])
        self.chosen = 0
        """The vertex that keys act on."""
        self.shift = 0
        """Cells left of what is in sight."""
        self.said = ""
        self.told: Callable[[], None] = lambda: None
        """Called when something else is chosen, or drawn."""
        self._on_row: dict[int, list[int]] = {}
        self._centre: int | None = None
        self._labels: list[str] = []
        self._made: Hashable = None
        self._drawn = 0

    def around(self, view: RunView, tid: int | None) -> None:
        """Draw what is around a task run; None: nothing."""
        self._centre, self.view = tid, view
        self.part = around(view, tid) if tid is not None else Part([], [], [])
        self._labels = [self._label(v) for v in self.part.vertices]
        widths = [cell_len(label) + 4 for label in self._labels]
        self.drawing = draw(widths, self.part.layers, self.part.edges, unicode=self.look.unicode)
        self._on_row = {}
        for vertex, place in enumerate(self.drawing.places):
            self._on_row.setdefault(place.row, []).append(vertex)
        self._made = self._extent()
        self._drawn += 1
        self.shift = 0
        self.choose(0)
        self.repaint()

    def _extent(self) -> Hashable:
        """Differs when the same task runs are to be drawn anew: a map has its items now."""
        spread = self.view.spread
        return tuple(spread.get(v.task, ())[:2] for v in self.part.vertices)

    def frame(self) -> None:
        """As in `LineView`."""
        if self._made != self._extent():
            self.around(self.view, self._centre)
        super().frame()

    def _label(self, vertex: Vertex) -> str:
        """Its name, and how many more it is linked to: `←2 extract ×30 →5`."""
        view, unicode = self.view, self.look.unicode
        name = safe_line(view.name_of(vertex.task), 200)
        if cell_len(name) > _NAME:
            name = fit(name, _NAME, more=self.look.marks.more)
        size = view.spread[vertex.task][1] if view.is_group(vertex.task) else 0
        return " ".join(part for part in (
            f"{'←' if unicode else '<'}{vertex.above:,}" if vertex.above else "", name,
            f"{'×' if unicode else 'x'}{size:,}" if size else "",
            f"{'→' if unicode else '>'}{vertex.below:,}" if vertex.below else "") if part)

    # -- rows --------------------------------------------------------------------------------

    def count(self) -> int:
        """As in `LineView`."""
        return len(self.drawing.rows)

    def empty(self) -> str:
        """As in `LineView`."""
        return self.said

    @property
    def shows_cursor(self) -> bool:
        """As in `LineView`."""
        return False  # the chosen vertex shows it

    def key(self, index: int) -> Hashable:
        """As in `LineView`."""
        here = self._on_row.get(index, ())
        states = tuple(self._state(self.part.vertices[v]) for v in here)
        chosen = self.chosen if self.chosen in here else -1
        return self._drawn, self.shift, states, chosen, self.has_focus

    def _state(self, vertex: Vertex) -> int:
        """The state that a vertex shows; of a map, what asks most for attention."""
        if not self.view.is_group(vertex.task):
            return self.view.state[vertex.task]
        return foremost(counts_of(self.view, vertex.task))

    def build(self, index: int, width: int) -> Strip:
        """As in `LineView`."""
        text, at = self.drawing.rows[index], 0
        segments: list[Segment] = []
        for vertex in sorted(self._on_row.get(index, ()), key=lambda v: self._place(v).column):
            place = self._place(vertex)
            segments += [Segment(text[at:place.column], DIM), *self._vertex(vertex)]
            at = place.column + place.width
        whole = Strip([*segments, Segment(text[at:], DIM)])
        return whole.crop(self.shift, self.shift + width).adjust_cell_length(width)

    def _place(self, vertex: int) -> Place:
        return self.drawing.places[vertex]

    def _vertex(self, vertex: int) -> list[Segment]:
        label, state = self._labels[vertex], TaskState(self._state(self.part.vertices[vertex]))
        chosen = vertex == self.chosen
        mark = self.look.marks.cursor if chosen else " "
        sign = self.look.glyph(state)
        if chosen and self.has_focus:
            return [Segment(f"{mark}{sign} {label} ", CURSOR)]
        return [Segment(mark, BAD), Segment(f"{sign} ", state_style(state)),
                Segment(f"{label} ", BOLD if chosen else PLAIN)]

    # -- choosing ------------------------------------------------------------------------------

    def choose(self, vertex: int) -> None:
        """Put the cursor on a vertex and that in sight."""
        if not 0 <= vertex < len(self.part.vertices):
            self.chosen = 0
            self.told()
            return
        self.chosen = vertex
        place = self._place(vertex)
        width = max(1, self.size.width)
        if not self.shift <= place.column <= place.column + place.width <= self.shift + width:
            longest = len(self.drawing.rows[0])
            middle = place.column + place.width // 2 - width // 2
            self.shift = max(0, min(middle, longest - width + 1))
        self.move_to(place.row)
        self.told()
        super().frame()

    def _nearest(self, cost: Callable[[Place, Place], float | None]) -> None:
        """Choose the vertex that costs least to go to; none where all are the wrong way."""
        here = self._place(self.chosen) if self.part.vertices else None
        if here is None:
            return
        ways = [(c, v) for v, place in enumerate(self.drawing.places)
                if v != self.chosen and (c := cost(here, place)) is not None]
        if ways:
            self.choose(min(ways)[1])

    def _beside(self, ahead: bool) -> None:
        """Along a line to the left or right; the one that is nearest in rows."""
        here = self.chosen
        ends = [(a, b) if ahead else (b, a) for a, b in self.part.edges]
        linked = {b for a, b in ends if a == here}
        if linked:
            row = self._place(here).row
            self.choose(min(linked, key=lambda v: (abs(self._place(v).row - row), v)))

    def action_up(self) -> None:
        """To the next vertex above."""
        self._nearest(lambda a, b: (a.row - b.row) + abs(a.column - b.column) / 4
                      if b.row < a.row else None)

    def action_down(self) -> None:
        """To the next vertex below."""
        self._nearest(lambda a, b: (b.row - a.row) + abs(a.column - b.column) / 4
                      if b.row > a.row else None)

    def action_graph_left(self) -> None:
        """To what the vertex waits for."""
        self._beside(False)

    def action_graph_right(self) -> None:
        """To what waits for the vertex."""
        self._beside(True)

    def action_follow_link(self) -> None:
        """Go to the task in the tree."""
        if self.part.vertices:
            self.post_message(Jump(self.part.vertices[self.chosen].task))

    def action_leave(self) -> None:
        """Give the focus back."""
        self.post_message(Left())

    def on_click(self, event: events.Click) -> None:
        """Choose what is clicked."""
        x, row = event.x + self.shift, self.top + event.y
        for vertex in self._on_row.get(row, ()):
            place = self._place(vertex)
            if place.column <= x < place.column + place.width:
                self.choose(vertex)

    def on_resize(self, event: events.Resize) -> None:
        """As in `LineView`; what is chosen stays in sight."""
        super().on_resize(event)
        self.choose(self.chosen)
