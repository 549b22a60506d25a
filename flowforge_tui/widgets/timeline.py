"""The timeline: a lane a worker, a segment an attempt, coloured by how it ended.

Rule 1: a frame costs the cells in sight, however many attempts there are (`tracks`).
Rule 2: where lanes do not fit, a row stands for several (`lanes`).
Rule 3: until told otherwise it shows the whole session, and from then on what was asked for.
"""

from __future__ import annotations

from math import ceil
from typing import Any, ClassVar

from textual import events
from textual.binding import BindingType
from textual.strip import Strip

from engine import TaskState
from flowforge_tui.amounts import brief_seconds
from flowforge_tui.keys import TIMELINE_KEYS, bindings
from flowforge_tui.lanes import LABEL, Lanes, Sight, moment_words
from flowforge_tui.look import ACCENT, BAD, BOLD, DIM, GOOD, WARN, Look, word
from flowforge_tui.model import RunView
from flowforge_tui.strips import Line
from flowforge_tui.tracks import FAILED, RETRIED, Running, Tracks, width_of
from flowforge_tui.widgets.messages import Jump
from flowforge_tui.widgets.panel import Panel

#: The level of the finest cells: 1/1024 s.
_CLOSEST = -20


class Timeline(Panel, can_focus=True):
    """One run's attempts over time."""

    DEFAULT_CSS = """
    Timeline { height: 1fr; width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(TIMELINE_KEYS)]

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self._lanes = Lanes(self.look)
        self._tracks: Tracks | None = None
        self._now = 0.0
        self._level: int | None = None
        """How wide cells are (`width_of`); None: as the whole session fits."""
        self._left: int | None = None
        """The first cell in sight, from the session's begin; None: the last ones are in sight."""
        self._at: float | None = None
        """The cursor's moment, in seconds from the session's begin; None: now."""
        self._marked: float | None = None
        """The moment that the rest of the screen shows, if that is not the present."""
        self._row = 0
        """The row that the cursor is in."""
        self._apart = 1
        """2: an empty row between lanes, where there is room."""

    # -- what is shown ------------------------------------------------------------------------

    def mark(self, moment: float | None) -> None:
        """Somebody travels: show where a moment (seconds since the epoch) is; None: no more."""
        self._marked = moment

    def show(self, view: RunView) -> None:
        """Another view, of the same run or another; what is in sight stays."""
        if self._tracks is None or self._tracks.view is not view:
            self._tracks = Tracks(view)

    @property
    def behind(self) -> bool:
        """True if it has not taken in all attempts yet."""
        return self._tracks is not None and self._tracks.behind

    def frame(self, now: float) -> None:
        """Paint what changed by `now`, seconds since the epoch."""
        if self._tracks is None:
            return
        if self._tracks.stale:
            self._tracks = Tracks(self._tracks.view)
        self._now = self._tracks.view.ended or now
        self._tracks.look()
        self.paint()

    @property
    def _room(self) -> int:
        """Cells of time in sight."""
        return max(1, self.size.width - LABEL)

    @property
    def _rows(self) -> int:
        """Rows of lanes in sight."""
        return max(1, self.size.height - 1 - (1 if self._tells else 0))

    @property
    def _tells(self) -> bool:
        """True if there is a line about what is under the cursor."""
        return self.has_focus and self.size.height >= 4

    def _level_shown(self) -> int:
        assert self._tracks is not None
        whole = max(_CLOSEST, self._tracks.fitting(self._now, self._room))
        return whole if self._level is None else min(self._level, whole)

    def _first(self, level: int) -> int:
        """The first cell in sight."""
        assert self._tracks is not None
        size = width_of(level)
        last = int(max(0.0, self._now - self._tracks.origin) / size)
        live = max(0, last - self._room + 1)
        return live if self._left is None else max(0, min(self._left, live))

    def lines(self, width: int, height: int) -> list[Strip]:
        """As in `Panel`."""
        tracks = self._tracks
        if tracks is None or not tracks.origin:
            return [Line().add(" nothing has run yet", DIM).strip(width)]
        level, rows = self._level_shown(), self._rows
        sight = Sight(tracks.origin, width_of(level), self._first(level), self._room)
        grid, at = tracks.seen(level, sight.first, sight.room)
        running = tracks.running()
        groups = self._groups(running)
        self._row = min(self._row, max(0, min(rows, len(groups)) - 1))
        cursor = self._column(level, sight.first) if self.has_focus else None
        self._apart = 2 if 2 * len(groups) - 1 <= rows else 1
        made = []
        for row, lanes in enumerate(groups):
            if row and self._apart == 2:
                made.append(Strip.blank(width))
            cells = self._lanes.cells(grid, at, sight.room, lanes)
            self._lanes.overlay(cells, lanes, running, sight, self._now)
            under = cursor if row == self._row else None
            made.append(self._lanes.strip(lanes, tracks.workers, cells, under, width))
        made += [Strip.blank(width)] * (rows - len(made))
        made.append(self._lanes.axis(sight, cursor, self._marked, width))
        if self._tells:
            made.append(self._told(groups, level).strip(width))
        return made[:height]

    def _groups(self, running: list[Running]) -> list[list[int]]:
        """The lanes of each row: one, or, where lanes do not fit by far, several."""
        assert self._tracks is not None
        order, rows = self._tracks.order(), self._rows
        order += range(len(order), max((r.lane for r in running), default=-1) + 1)
        each = ceil(len(order) / rows)
        if each <= 1:
            return [[lane] for lane in order]
        return [order[i:i + each] for i in range(0, len(order), each)]

    # -- what is under the cursor -------------------------------------------------

    def _moment_at(self) -> float:
        """The cursor's moment, in seconds from the session's begin."""
        assert self._tracks is not None
        return max(0.0, self._now - self._tracks.origin) if self._at is None else self._at

    def _column(self, level: int, first: int) -> int:
        """The cursor's column among the cells in sight."""
        return max(0, min(self._room - 1, int(self._moment_at() / width_of(level)) - first))

    def _told(self, groups: list[list[int]], level: int) -> Line:
        """What is under the cursor, in words."""
        assert self._tracks is not None
        view, size = self._tracks.view, width_of(level)
        at = int(self._moment_at() / size) * size
        line = Line().add(f" {moment_words(at, size)}  ", BOLD)
        found = self._under_cursor(groups, level)
        if found is None:
            return line.add("nothing ran here", DIM)
        tid, state, seconds, number = found
        style = {FAILED: BAD, RETRIED: WARN}.get(_rank(state), GOOD)
        if state is TaskState.RUNNING:
            style = ACCENT
        line.add(f"{self.look.glyph(state)} ", style).put(view.name_of(tid), limit=80)
        took = brief_seconds(seconds)
        line.add(f"  {word(state)}", style)
        line.add(f"  {took if self.look.unicode else took.replace('µ', 'u')}")
        return line.add(f"  try {number}", DIM) if number > 1 else line

    def _under_cursor(
        self, groups: list[list[int]], level: int
    ) -> tuple[int, TaskState, float, int] | None:
        """(task run, state, seconds, number) of the attempt under the cursor."""
        tracks = self._tracks
        if tracks is None or self._row >= len(groups):
            return None
        view, log, size = tracks.view, tracks.view.attempts, width_of(level)
        start = tracks.origin + int(self._moment_at() / size) * size
        lanes = groups[self._row]
        found = [i for lane in lanes
                 if (i := tracks.attempt_at(lane, start, start + size)) is not None]
        if found:
            i = max(found, key=lambda i: _rank(TaskState(log.state[i])))
            took = max(0.0, log.end[i] - (log.start[i] or log.end[i]))
            return log.tid[i], TaskState(log.state[i]), took, log.number[i]
        for attempt in tracks.running():
            if attempt.lane in lanes and attempt.start < start + size:
                return (attempt.tid, TaskState.RUNNING, self._now - attempt.start,
                        view.number[attempt.tid])
        return None

    # -- keys -----------------------------------------------------------------------------------

    def _move(self, cells: int) -> None:
        if self._tracks is None:
            return
        level = self._level_shown()
        size = width_of(level)
        end = max(0.0, self._now - self._tracks.origin)
        at = int(self._moment_at() / size) + cells
        self._at = None if at * size > end else max(0.0, (at + 0.5) * size)
        self._bring_in(level, max(0, min(at, int(end / size))))

    def _bring_in(self, level: int, cell: int) -> None:
        """Have a cell in sight."""
        first = self._first(level)
        if cell < first:
            self._left = cell
        elif cell >= first + self._room:
            self._left = cell - self._room + 1
        self.paint()

    def action_earlier(self) -> None:
        """The cursor goes a cell back in time."""
        self._move(-1)

    def action_later(self) -> None:
        """The cursor goes a cell on in time."""
        self._move(1)

    def action_page_earlier(self) -> None:
        """Half a screen back."""
        self._move(-max(1, self._room // 2))

    def action_page_later(self) -> None:
        """Half a screen on."""
        self._move(max(1, self._room // 2))

    def action_lane_up(self) -> None:
        """To the lane above."""
        self._row = max(0, self._row - 1)
        self.paint()

    def action_lane_down(self) -> None:
        """To the lane below."""
        self._row += 1  # as far as there are lanes: `lines` sees to that
        self.paint()

    def action_time_in(self) -> None:
        """Less time in sight, around the cursor."""
        self._zoom(-1)

    def action_time_out(self) -> None:
        """More time in sight."""
        self._zoom(1)

    def _zoom(self, by: int) -> None:
        if self._tracks is None:
            return
        before = self._level_shown()
        column = self._column(before, self._first(before))
        wanted = max(_CLOSEST, before + by)
        whole = max(_CLOSEST, self._tracks.fitting(self._now, self._room))
        self._level = None if wanted >= whole else wanted
        if self._at is None or self._level is None:
            self._left = None
        else:
            after = self._level_shown()
            self._left = max(0, int(self._at / width_of(after)) - column)
        self.paint()

    def action_time_all(self) -> None:
        """The whole session."""
        self._level = self._left = None
        self.paint()

    def action_time_now(self) -> None:
        """Follow the present."""
        self._at = self._left = None
        self.paint()

    def action_worse(self, step: int) -> None:
        """The cursor goes to the next attempt that failed, or the one before."""
        tracks = self._tracks
        if tracks is None:
            return
        size = width_of(self._level_shown())
        cell = int(self._moment_at() / size) + (step > 0)
        found = tracks.failure_from(tracks.origin + cell * size, step)
        if found is None:
            self.app.bell()
            return
        lane, at = found
        groups = self._groups(tracks.running())
        self._row = next((i for i, lanes in enumerate(groups) if lane in lanes), self._row)
        self._at = max(0.0, at - tracks.origin)
        level = self._level_shown()
        self._bring_in(level, int(self._at / width_of(level)))

    def action_choose(self) -> None:
        """Tell which task run's attempt is under the cursor."""
        if self._tracks is None:
            return
        found = self._under_cursor(self._groups(self._tracks.running()), self._level_shown())
        if found is not None:
            self.post_message(Jump(found[0]))

    # -- the mouse, and the focus -----------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        """Put the cursor there; a second click chooses."""
        if self._tracks is None or event.x < LABEL or event.y >= self._rows:
            return
        level = self._level_shown()
        self._row = event.y // self._apart
        self._at = (self._first(level) + event.x - LABEL + 0.5) * width_of(level)
        self.paint()
        if event.chain == 2:
            self.action_choose()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Later."""
        event.stop()
        self._move(max(1, self._room // 10))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Earlier."""
        event.stop()
        self._move(-max(1, self._room // 10))

    def on_focus(self) -> None:
        """The cursor shows."""
        self.paint()

    def on_blur(self) -> None:
        """The cursor goes."""
        self.paint()


def _rank(state: TaskState) -> int:
    if state is TaskState.FAILED:
        return FAILED
    return RETRIED if state is TaskState.UP_FOR_RETRY else 0


