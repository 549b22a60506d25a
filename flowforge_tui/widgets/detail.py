"""The detail pane: all about what is under the cursor, in six tabs, the log among them.

Rule 1: what the view knows is shown at once. What takes time is fetched by the app on a thread
        (`wants` says what), and shown when it comes (`take`), if it is still wanted.
Rule 2: rows are made anew when what they show may differ, never because a frame is due.
Rule 3: nothing is found by trial: a tab that has nothing to show says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.strip import Strip

from flowforge_tui.detail_canvas import Canvas, Row, TaskRow, task_key, task_line
from flowforge_tui.detail_rows import (
    attempt_rows,
    data_rows,
    dependency_rows,
    error_rows,
    source_rows,
)
from flowforge_tui.details import Details, Facts, load, stamp_of
from flowforge_tui.keys import DETAIL_KEYS, MOVE_KEYS, bindings
from flowforge_tui.logbook import try_words
from flowforge_tui.look import ACCENT, CURSOR, DIM, PLAIN, Look, state_style, word
from flowforge_tui.model import RunView
from flowforge_tui.shape import Section, Shape
from flowforge_tui.summed_rows import run_rows, section_rows
from flowforge_tui.widgets.heading import Heading, Part, title
from flowforge_tui.widgets.lines import LineView
from flowforge_tui.widgets.log import LogPane
from flowforge_tui.widgets.messages import Jump, Left

if TYPE_CHECKING:
    from engine.front import Durations

#: Tab → its word in the heading.
TABS = {"error": "error", "log": "log", "data": "data", "dependencies": "deps",
        "attempts": "tries", "code": "code"}

#: Seconds that the cursor rests on a task run before its details are fetched.
REST = 0.08

#: Cells from which on the heading has the words of all tabs.
_WIDE = 88

#: Seconds between two makings of the rows of a section that changes all the time.
_SUMMARY = 0.5

Subject = int | Section | None
"""A task run (or an expanded map's own id), a section, or the run itself."""


class DetailRows(LineView):
    """The rows of one tab."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(MOVE_KEYS + DETAIL_KEYS)]

    class Chosen(Message):
        """Enter on a row that leads somewhere."""

        def __init__(self, row: Row | TaskRow) -> None:
            super().__init__()
            self.row = row

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self.shown: Sequence[Row | TaskRow] = ()
        self.view = RunView(Shape.empty())
        self.now = 0.0
        self.linked = False
        """Some rows lead somewhere: the cursor goes from one to the next. Else there is none, and
        keys scroll."""
        self._made = 0

    def put(self, rows: Sequence[Row | TaskRow], *, keep: bool) -> None:
        """Show other rows; `keep`: of the same thing, so the place stays."""
        self.shown = rows
        self._made += 1
        first = next((i for i in range(len(rows)) if self.leads(i)), -1)
        self.linked = first >= 0
        if not keep:
            self.top, self.cursor = 0, max(0, first)
        self.repaint()

    def leads(self, index: int) -> bool:
        """True if Enter on a row leads somewhere."""
        row = self.shown[index]
        return isinstance(row, TaskRow) or row.task >= 0 or row.attempt is not None

    def canvas(self) -> Canvas:
        """What rows are to be made for."""
        return Canvas(self.view, self.look, self.size.width, self.now, self.rows)

    def count(self) -> int:
        """As in `LineView`."""
        return len(self.shown)

    def key(self, index: int) -> Hashable:
        """As in `LineView`."""
        row = self.shown[index]
        of_task = isinstance(row, TaskRow)
        return self._made, task_key(self.view, row.task, self.now) if of_task else None

    @property
    def shows_cursor(self) -> bool:
        """As in `LineView`."""
        return self.has_focus and self.linked

    def build(self, index: int, width: int) -> Strip:
        """As in `LineView`."""
        row = self.shown[index]
        line = task_line(self.canvas(), row.task) if isinstance(row, TaskRow) else row.line
        strip = line.strip(width)
        if self.shows_cursor and index == self.cursor:
            return Strip([segment._replace(style=CURSOR) for segment in strip], width)
        return strip

    def on_focus(self) -> None:
        """The cursor shows."""
        self.repaint()

    def on_blur(self) -> None:
        """The cursor hides."""
        self.repaint()

    def move_by(self, lines: int) -> None:
        """To the next row that leads somewhere, in this direction; where there is none: scroll."""
        step = 1 if lines > 0 else -1
        last = len(self.shown) - 1
        at = max(0, min(self.cursor + lines, last)) if self.linked else -1
        while 0 <= at <= last and not self.leads(at):
            at += step
        if self.linked and 0 <= at <= last and at != self.cursor:
            super().move_to(at)
        else:
            self.scroll_lines_to(self.top + lines)

    def move_to(self, index: int) -> None:
        """As in `LineView`, if the row leads somewhere."""
        if 0 <= index < len(self.shown) and self.leads(index):
            super().move_to(index)

    def action_top(self) -> None:
        """To the first row."""
        self.scroll_lines_to(0)
        self.move_by(-len(self.shown))

    def action_bottom(self) -> None:
        """To the last row."""
        self.move_by(len(self.shown))
        self.scroll_lines_to(len(self.shown))

    def action_follow_link(self) -> None:
        """Go where the row leads."""
        if self.linked and self.cursor < len(self.shown):
            self.post_message(self.Chosen(self.shown[self.cursor]))

    def action_leave(self) -> None:
        """Give the focus back."""
        self.post_message(Left())


class DetailPane(Vertical):
    """The tabs of what is under the cursor."""

    DEFAULT_CSS = """
    DetailPane { height: 1fr; width: 1fr; }
    DetailPane > Vertical { height: 1fr; width: 1fr; }
    DetailPane .-away { display: none; }
    """

    def __init__(
        self, look: Look | None = None, *, executor: Executor | None = None, **kwargs: Any
    ) -> None:
        """`executor`: where logs are read; else a thread of its own."""
        super().__init__(**kwargs)
        self.look = look if look is not None else Look()
        self.log_pane = LogPane(self.look, executor=executor, classes="-away")
        self.heading = Heading(self.look)
        self.rows = DetailRows(self.look)
        self.body = Vertical(self.heading, self.rows)
        self.tab = "error"
        self.facts: Sequence[tuple[str, str]] = ()
        """Of the run, as (name, value): what it was started with. Untrusted text."""
        self.durations: Callable[[int], Durations | None] = lambda place: None
        """Section's place → how long its attempts took."""
        self._view = self.rows.view
        self._subject: Subject = None
        self._details: Details | None = None
        self._logs: Path | None = None
        self._since = 0.0
        self._asked: tuple[int, ...] | None = None
        self._stamp: Hashable = None
        self._made = 0.0
        self._pointed: Hashable = None

    def compose(self) -> ComposeResult:
        """As Textual asks for it."""
        yield self.body
        yield self.log_pane

    # -- what the app calls -------------------------------------------------------------------

    def show(self, view: RunView) -> None:
        """Another run, or the same with another graph."""
        self._view = self.rows.view = view
        self._subject, self._details, self._asked, self._stamp = None, None, None, None
        self._point_log()

    def open_logs(self, directory: Path | None) -> None:
        """Where the run's output is; None if it is not kept."""
        self._logs = directory
        self._point_log()

    def select(self, subject: Subject) -> None:
        """Show what is under the cursor: a task run, a section, or (None) the run itself."""
        if subject != self._subject:
            self._subject, self._since = subject, time.monotonic()
            self._asked = None
            self._point_log()

    @property
    def behind(self) -> bool:
        """True while it shows less than there is."""
        return self.tab == "log" and self.log_pane.behind

    @property
    def subject(self) -> Subject:
        """What is shown."""
        return self._subject

    @property
    def details(self) -> Details | None:
        """Of the task run that is shown, as far as they have come."""
        details = self._details
        return details if details is not None and details.tid == self._subject else None

    def action_tab(self, tab: str) -> None:
        """Show another tab."""
        self.tab = tab
        held = self.rows.has_focus or self.log_pane.lines.has_focus
        self.log_pane.set_class(tab != "log", "-away")
        self.body.set_class(tab == "log", "-away")
        if held:
            self.focus()

    def wants(self, now: float | None = None) -> Callable[[Facts], Details] | None:
        """What to call on a thread, and to give to `take`; None if nothing is wanted.

        `now`: seconds, monotonic.
        """
        tid = self._subject
        if not isinstance(tid, int) or self.tab == "log" or not self._exists(tid):
            return None
        stamp = stamp_of(self._view, tid)
        if stamp == self._asked or (time.monotonic() if now is None else now) < self._since + REST:
            return None
        self._asked, view = stamp, self._view
        return lambda facts: load(facts, view, tid)

    def take(self, details: Details) -> None:
        """Details that were wanted have come."""
        if details.tid == self._subject:
            self._details = details

    def frame(self, now: float, *, live: bool = True) -> None:
        """Show what is new. `now`: the feed's moment; `live`: more may come."""
        if self.tab == "log":
            if self._extent() != self._pointed:  # the items of a map have come, or others
                self._point_log()
            self.log_pane.frame(live=live)
            return
        self.rows.now = now
        stamp = self._needs(now)
        if stamp != self._stamp and self.rows.size.width:
            same = self._stamp is not None and stamp[:2] == self._stamp[:2]  # type: ignore[index]
            if not same or not self._waits():
                self._stamp, self._made = stamp, time.monotonic()
                self.rows.put(self._make(), keep=same)
        self._tell()
        self.rows.frame()

    def focus(self, scroll_visible: bool = True) -> DetailPane:
        """The tab in sight takes the focus."""
        (self.log_pane if self.tab == "log" else self.rows).focus(scroll_visible)
        return self

    # -- rows ---------------------------------------------------------------------------------

    def _exists(self, tid: int) -> bool:
        return 0 <= tid < len(self._view.node)

    def _waits(self) -> bool:
        """A summary that changes with every batch is made anew only now and then."""
        often = isinstance(self._subject, Section) or self._subject is None
        return often and time.monotonic() - self._made < _SUMMARY

    def _needs(self, now: float) -> tuple[Hashable, ...]:
        """Differs when the rows have to be made anew."""
        subject, view = self._subject, self._view
        common = (self.tab, self._key(), self.rows.size, id(self.details), id(view))
        if isinstance(subject, int) and self._exists(subject):
            ticks = int(now) if view.state[subject] in _TICKING and self.tab != "data" else 0
            return *common, *stamp_of(view, subject), view.end[subject], ticks
        return *common, view.version, tuple(self.facts)

    def _key(self) -> Hashable:
        return self._subject.place if isinstance(self._subject, Section) else (self._subject,)

    def _make(self) -> list[Row | TaskRow]:
        canvas, subject = self.rows.canvas(), self._subject
        if isinstance(subject, Section):
            return [*section_rows(canvas, subject, self.durations(subject.place))]
        if subject is None or not self._exists(subject):
            return [*run_rows(canvas, self.facts)]
        if self.tab == "attempts":
            return [*attempt_rows(canvas, subject)]
        make: Callable[..., Any] = _MAKERS[self.tab]
        return [*make(canvas, subject, self.details)]

    @on(DetailRows.Chosen)
    def _go(self, event: DetailRows.Chosen) -> None:
        event.stop()
        row = event.row
        if isinstance(row, Row) and row.attempt is not None:
            self.action_tab("log")
            self._point_log(row.attempt)
        elif row.task >= 0:
            self.post_message(Jump(row.task))

    # -- the log --------------------------------------------------------------------------------

    def _point_log(self, attempt: tuple[int, int] | None = None) -> None:
        """Have the log show what is under the cursor."""
        subject, view = self._subject, self._view
        self._pointed = self._extent()
        tids: Collection[int] | None = None
        label = ""
        if isinstance(subject, Section):
            tids, label = view.runs_of(subject), subject.name
        elif subject is not None and self._exists(subject):
            tids = view.items(subject) if view.is_group(subject) else (subject,)
            label = view.name_of(subject)
        self.log_pane.show(self._logs, tids, view.name_of, label, attempt)

    def _extent(self) -> Hashable:
        """Differs when the subject has other task runs than before."""
        subject, view = self._subject, self._view
        if isinstance(subject, Section):
            return sum(view.counts[subject.place])
        known = subject is not None and self._exists(subject)
        return view.spread.get(subject, ())[:2] if known else ()  # type: ignore[arg-type]

    # -- the heading ------------------------------------------------------------------------------

    def _tell(self) -> None:
        subject, view = self._subject, self._view
        if isinstance(subject, Section):
            left: list[Part] = [title("SECTION"), (subject.name, PLAIN)]
        elif subject is None or not self._exists(subject):
            left = [title("RUN"), (view.shape.workflow, PLAIN)]
        else:
            state = view.state_of(subject)
            fine = self.tab == "error" and subject not in view.errors
            left = [title("STATE" if fine else _TITLES[self.tab]), (view.name_of(subject), PLAIN),
                    (word(state), state_style(state))]
            if view.number[subject] > 1:
                words = try_words(view.generation_of(subject), view.number[subject])
                left.append((words, DIM))
        self.heading.say(left, self._tabs())

    def _tabs(self) -> list[Part]:
        subject = self._subject
        if isinstance(subject, Section) or subject is None:
            word_ = "run" if subject is None else "summary"
            return [(f"1 {word_}", ACCENT), ("2 log", DIM)]
        wide = self.heading.size.width >= _WIDE
        return [(f"{i} {text}" if wide or name == self.tab else f"{i}",
                 ACCENT if name == self.tab else DIM)
                for i, (name, text) in enumerate(TABS.items(), 1)]


_TITLES = {"error": "ERROR", "data": "DATA", "dependencies": "DEPENDENCIES",
           "attempts": "ATTEMPTS", "code": "CODE"}
_MAKERS = {"error": error_rows, "data": data_rows, "dependencies": dependency_rows,
           "code": source_rows}


def _ticking() -> frozenset[int]:
    from engine import TaskState

    return frozenset({TaskState.RUNNING, TaskState.CANCELLING, TaskState.UP_FOR_RETRY})


_TICKING = _ticking()
