"""The graph: the stages of the run in a few rows, and what is around the task under the cursor.

Rule 1: a run of 100,000 task runs has its depths computed once, on a thread of the app's
        (`wants`, `take`).
Rule 2: where lines are dense, the heading tells in words what the chosen task run waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical

from flowforge_tui.graph_parts import stages
from flowforge_tui.look import DIM, PLAIN, Look
from flowforge_tui.model import RunView
from flowforge_tui.shape import Section, Shape
from flowforge_tui.widgets.detail import Subject
from flowforge_tui.widgets.heading import Heading, title
from flowforge_tui.widgets.neighbourhood import Neighbourhood
from flowforge_tui.widgets.stages import StageMap

Stages = tuple[Shape, list[list[int]]]
"""A graph, and the places of each of its stages' sections."""


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
