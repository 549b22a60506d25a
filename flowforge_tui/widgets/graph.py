"""The graph: the stages of the run in a few rows, and what is around the task under the cursor.

Rule 1: only the neighbourhood is laid out, forty task runs at most; a run of 100,000 has its
        depths computed once, on a thread of the app's (`wants`, `take`).
Rule 2: where lines are dense, the heading tells in words what the chosen task run waits for.
Rule 3: states are painted when they change; lines are laid out when the graph does.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.strip import Strip

from engine import TaskState
from flowforge_tui.graph_layout import Drawing, Place, draw
from flowforge_tui.graph_parts import Part, Vertex, around, counts_of, stages
from flowforge_tui.keys import DETAIL_KEYS, GRAPH_KEYS, MOVE_KEYS, bindings
from flowforge_tui.look import BAD, BOLD, CURSOR, DIM, FAINT, GOOD, PLAIN, Look, state_style
from flowforge_tui.model import RunView
from flowforge_tui.ordering import foremost
from flowforge_tui.run_columns import STATES
from flowforge_tui.safe_text import safe_line
from flowforge_tui.shape import Section, Shape
from flowforge_tui.strips import Line, fit
from flowforge_tui.widgets.detail import Subject
from flowforge_tui.widgets.heading import Heading, title
from flowforge_tui.widgets.lines import LineView

Stages = tuple[Shape, list[list[int]]]
"""A graph, and the places of each of its stages' sections."""

#: Cells of a vertex's name at most.
_NAME = 24

_S = TaskState
#: What a stage's bar is made of, in order: states, the one whose glyph stands for all of them.
_BAR = (
    ((_S.SUCCESS, _S.CACHED, _S.SKIPPED), None, GOOD),
    ((_S.FAILED,), _S.FAILED, BAD),
    ((_S.UPSTREAM_FAILED, _S.CANCELLED), _S.UPSTREAM_FAILED, DIM),
    ((_S.RUNNING, _S.CANCELLING, _S.UP_FOR_RETRY), _S.RUNNING, state_style(_S.RUNNING)),
    ((_S.PENDING, _S.QUEUED), None, FAINT),
)


class Jump(Message):
    """The cursor of the tree is to go to a task run, or to a map as a whole."""

    def __init__(self, tid: int) -> None:
        super().__init__()
        self.tid = tid


class GraphLeave(Message):
    """Esc: the focus may go where it was.

    Not `Leave`: its handler's name, `on_leave`, is that of the mouse's event.
    """


# -- stages -----------------------------------------------------------------------------------


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
        self.post_message(GraphLeave())


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


# -- the neighbourhood --------------------------------------------------------------------------


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
        self.post_message(GraphLeave())

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


class GraphPane(Vertical):
    """The neighbourhood, and the stages below it."""

    DEFAULT_CSS = """
    GraphPane { height: 1fr; width: 1fr; }
    GraphPane StageMap { height: 1; }
    """

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.look = look if look is not None else Look()
        self.heading = Heading(self.look)
        self.near = Neighbourhood(self.look)
        self.near.told = self._tell
        self.below = Heading(self.look)
        self.map = StageMap(self.look)
        self._view = RunView(Shape.empty())
        self._subject: Subject = None
        self._ready = False
        self._asked = False

    def compose(self) -> ComposeResult:
        """As Textual asks for it."""
        yield self.heading
        yield self.near
        yield self.below
        yield self.map

    # -- what the app calls --------------------------------------------------------------------

    def show(self, view: RunView) -> None:
        """Another run, or the same with another graph."""
        self._view, self._subject = view, None
        self._ready = self._asked = False
        self.near.said = "the graph is being laid out"
        self.near.around(view, None)
        self.map.show(view, ())

    def wants(self) -> Callable[[], Stages] | None:
        """What to call on a thread, and to give to `take`; None if nothing is wanted."""
        if self._asked:
            return None
        self._asked, shape = True, self._view.shape
        return lambda: (shape, stages(shape))

    def take(self, found: Stages) -> None:
        """The stages that were wanted have come."""
        shape, places = found
        if shape is self._view.shape:
            self._ready = True
            self.near.said = "no task is chosen"
            self.map.show(self._view, places)
            self.map.styles.height = min(8, max(1, len(places)))
            self._draw()

    def select(self, subject: Subject) -> None:
        """Draw what is around what is under the tree's cursor."""
        if subject != self._subject:
            self._subject = subject
            self._draw()

    def _draw(self) -> None:
        if not self._ready:
            return
        subject = self._subject
        tid = subject.nodes[0] if isinstance(subject, Section) else subject
        known = tid is not None and 0 <= tid < len(self._view.node)
        self.near.around(self._view, tid if known else None)
        if tid is not None and known:
            self.map.point(self._view.section[tid])

    def frame(self) -> None:
        """Show what is new."""
        self.near.frame()
        self.map.frame()
        self._tell()

    def focus(self, scroll_visible: bool = True) -> GraphPane:
        """The neighbourhood takes the focus."""
        self.near.focus(scroll_visible)
        return self

    # -- headings ------------------------------------------------------------------------------

    def _tell(self) -> None:
        near = self.near
        left = [title("GRAPH")]
        if near.part.vertices:
            left.append((self._view.name_of(near.part.vertices[near.chosen].task), PLAIN))
            left += [(words, DIM) for words in self._links() if words]
        self.heading.say(left, [(f"{len(near.part.vertices):,} of {self._view.size:,}", DIM)])
        self.below.say([title("STAGES"), (f"{self.map.count():,}", DIM)])

    def _links(self) -> tuple[str, str]:
        """What the chosen vertex waits for, and what waits for it, in words."""
        near = self.near
        vertex, edges = near.part.vertices[near.chosen], near.part.edges
        above = [a for a, b in edges if b == near.chosen]
        below = [b for a, b in edges if a == near.chosen]
        after, before = ("←", "→") if self.look.unicode else ("<-", "->")
        return self._named(after, above, vertex.above), self._named(before, below, vertex.below)

    def _named(self, mark: str, vertices: Sequence[int], more: int) -> str:
        view, shown = self._view, vertices[:4]
        names = ", ".join(view.name_of(self.near.part.vertices[v].task) for v in shown)
        more += len(vertices) - len(shown)
        return f"{mark} {names}{f' and {more:,} more' if more else ''}" if names else ""
