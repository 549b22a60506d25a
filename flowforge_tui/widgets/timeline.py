"""The timeline: a lane a worker, a segment an attempt, coloured by how it ended.

Rule 1: a frame costs the cells in sight, however many attempts there are (`tracks`).
Rule 2: failures are painted last, with their own sign, so that they never vanish; where lanes
        do not fit, a row stands for several and is darker the busier they were.
Rule 3: until told otherwise it shows the whole session, and from then on what was asked for.
"""

from __future__ import annotations

from math import ceil
from typing import Any, ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.strip import Strip

from engine import TaskState
from flowforge_tui.amounts import brief_seconds
from flowforge_tui.keys import TIMELINE_KEYS, bindings
from flowforge_tui.look import ACCENT, BAD, BOLD, DIM, FAINT, GOOD, PLAIN, WARN, Look, word
from flowforge_tui.model import RunView
from flowforge_tui.strips import Line
from flowforge_tui.tracks import FAILED, RETRIED, STOPPED, Cells, Grid, Running, Tracks, width_of
from flowforge_tui.widgets.panel import Panel

#: Cells of the lanes' names at the left.
_LABEL = 8
#: The level of the finest cells: 1/1024 s.
_CLOSEST = -20
#: Cells between two times on the axis at least.
_APART = 10
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120,
          300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400)
_NONE = Style.null()
_STYLES = (PLAIN, GOOD, DIM, WARN, BAD)
_UNDER_CURSOR = Style(reverse=True)
_THEN = WARN + BOLD


class _Signs(NamedTuple):
    whole: str
    begins: str
    ends: str
    heat: str
    goes_on: str
    failed: str
    retried: str
    tick: str
    here: str
    now: str


_UNICODE = _Signs("█", "▐", "▌", "░▒▓█", "▶", "✗", "↻", "│", "▲", "◆")
_ASCII = _Signs("=", "[", "=", ".:=#", ">", "X", "~", "|", "^", "@")


class Timeline(Panel, can_focus=True):
    """One run's attempts over time."""

    DEFAULT_CSS = """
    Timeline { height: 1fr; width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(TIMELINE_KEYS)]

    class Chosen(Message):
        """A person wants to see the task run of an attempt."""

        def __init__(self, tid: int) -> None:
            super().__init__()
            self.tid = tid

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self._signs = _UNICODE if self.look.unicode else _ASCII
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
        return max(1, self.size.width - _LABEL)

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
        level = self._level_shown()
        first, room, rows = self._first(level), self._room, self._rows
        grid, at = tracks.seen(level, first, room)
        running = tracks.running()
        groups = self._groups(running)
        self._row = min(self._row, max(0, min(rows, len(groups)) - 1))
        cursor = self._column(level, first) if self.has_focus else None
        self._apart = 2 if 2 * len(groups) - 1 <= rows else 1
        made = []
        for row, lanes in enumerate(groups):
            if row and self._apart == 2:
                made.append(Strip.blank(width))
            cells = self._cells(grid, at, room, lanes)
            self._overlay(cells, lanes, running, first, level)
            under = cursor if row == self._row else None
            made.append(self._lane_strip(lanes, cells, under, width))
        made += [Strip.blank(width)] * (rows - len(made))
        made.append(self._axis(first, level, cursor, width))
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

    # -- a row ---------------------------------------------------------------------------------

    def _cells(
        self, grid: Grid, at: int, room: int, lanes: list[int]
    ) -> list[tuple[str, Style]]:
        """What the lanes of one row did: a character and its style a cell."""
        shown = [grid.lanes[lane] for lane in lanes if lane < len(grid.lanes)]
        if len(shown) == 1:
            return self._single(shown[0], at, room, grid.width)
        return self._merged(shown, at, room, grid.width * max(1, len(shown)))

    def _single(
        self, cells: Cells, at: int, room: int, width: float
    ) -> list[tuple[str, Style]]:
        signs, heat = self._signs, self._signs.heat
        cut = slice(at, at + room)
        found = []
        for worst, mark, begins, busy in zip(
            cells.worst[cut], cells.mark[cut], cells.begins[cut], cells.busy[cut], strict=True
        ):
            if not worst:
                found.append((" ", _NONE))
                continue
            if mark >= RETRIED:
                sign = signs.failed if mark == FAILED else signs.retried
            elif begins > 1:
                sign = heat[min(3, int(busy / width * 4))]
            elif begins:
                sign = signs.begins
            else:
                sign = signs.whole if busy > width / 2 else signs.ends
            found.append((sign, _STYLES[worst]))
        return found + [(" ", _NONE)] * (room - len(found))

    def _merged(
        self, lanes: list[Cells], at: int, room: int, width: float
    ) -> list[tuple[str, Style]]:
        """Several lanes in one row: the darker the busier, in the colour of the worst."""
        worst, mark, busy = bytearray(room), bytearray(room), [0.0] * room
        cut = slice(at, at + room)
        for cells in lanes:
            for i, (w, m, b) in enumerate(zip(
                    cells.worst[cut], cells.mark[cut], cells.busy[cut], strict=True)):
                if w:
                    busy[i] += b
                    if w > worst[i]:
                        worst[i] = w
                    if m > mark[i]:
                        mark[i] = m
        signs, found = self._signs, []
        for w, m, b in zip(worst, mark, busy, strict=True):
            if not w:
                found.append((" ", _NONE))
            elif m >= RETRIED:
                found.append((signs.failed if m == FAILED else signs.retried, _STYLES[m]))
            else:
                # What ended well in part of the lanes is the rule, and its colour: else a row
                # of many lanes was all in the colour of one long attempt that failed.
                found.append((signs.heat[min(3, int(b / width * 4))], _STYLES[min(w, STOPPED)]))
        return found

    def _overlay(
        self, cells: list[tuple[str, Style]], lanes: list[int], running: list[Running],
        first: int, level: int,
    ) -> None:
        """Attempts in hand, from their start to now, where nothing worse is."""
        assert self._tracks is not None
        size, signs = width_of(level), self._signs
        last = int((self._now - self._tracks.origin) / size) - first
        for attempt in running:
            if attempt.lane not in lanes:
                continue
            begin = int((attempt.start - self._tracks.origin) / size) - first
            for i in range(max(0, begin), min(len(cells), last + 1)):
                if cells[i][1] in (BAD, WARN):
                    continue
                sign = signs.goes_on if i == last else signs.begins if i == begin else signs.whole
                if len(lanes) > 1:
                    sign = signs.goes_on if i == last else max(cells[i][0], signs.heat[0])
                cells[i] = sign, ACCENT

    def _lane_strip(
        self, lanes: list[int], cells: list[tuple[str, Style]], cursor: int | None, width: int
    ) -> Strip:
        style = DIM if cursor is None else BOLD
        label = Line().column(f" {self._label_of(lanes)}", _LABEL - 1, style)
        label.add(self.look.marks.cursor if cursor is not None else " ", ACCENT)
        return Strip([*label.strip(_LABEL), *_runs(cells, cursor)]).adjust_cell_length(width)

    def _label_of(self, lanes: list[int]) -> str:
        """`w03`, `w00–07`; attempts of no known worker have numbered lanes."""
        assert self._tracks is not None
        workers = self._tracks.workers
        known = [workers[lane] if lane < len(workers) else -1 for lane in lanes]
        dash = "–" if self.look.unicode else "-"
        if known[0] >= 0 and known[-1] >= 0:
            ends = f"w{known[0]:02}"
            return ends if len(lanes) == 1 else f"{ends}{dash}{known[-1]:02}"
        if len(lanes) == 1:
            return f"{lanes[0] + 1}"
        return f"{lanes[0] + 1}{dash}{lanes[-1] + 1}"

    # -- the axis, and what is under the cursor -------------------------------------------------

    def _axis(self, first: int, level: int, cursor: int | None, width: int) -> Strip:
        """Times from the session's begin."""
        size, signs = width_of(level), self._signs
        step = next((s for s in _STEPS if s / size >= _APART), _STEPS[-1])
        row = [" "] * self._room
        at = ceil(first * size / step)
        while (column := int(at * step / size) - first) < self._room:
            text = f"{signs.tick}{_moment(at * step, step)}"
            if column >= 0 and column + len(text) <= self._room:
                row[column:column + len(text)] = text
            at += 1
        told = brief_seconds(size * self._room)
        label = (told if self.look.unicode else told.replace("µ", "u")).rjust(_LABEL - 1)
        cells = [(c, FAINT) for c in row]
        if self._marked is not None:
            assert self._tracks is not None
            column = int((self._marked - self._tracks.origin) / size) - first
            if 0 <= column < self._room:
                cells[column] = (signs.now, _THEN)
        if cursor is not None:
            cells[cursor] = (signs.here, ACCENT)
        line = Line().add(f"{label} ", FAINT).strip(_LABEL)
        return Strip([*line, *_runs(cells, None)]).adjust_cell_length(width)

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
        line = Line().add(f" {_moment(at, size)}  ", BOLD)
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
            self.post_message(self.Chosen(found[0]))

    # -- the mouse, and the focus -----------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        """Put the cursor there; a second click chooses."""
        if self._tracks is None or event.x < _LABEL or event.y >= self._rows:
            return
        level = self._level_shown()
        self._row = event.y // self._apart
        self._at = (self._first(level) + event.x - _LABEL + 0.5) * width_of(level)
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


def _runs(cells: list[tuple[str, Style]], cursor: int | None) -> list[Segment]:
    """Neighbours of one style as one segment."""
    segments: list[Segment] = []
    text, style = "", _NONE
    for i, (sign, how) in enumerate(cells):
        if i == cursor:
            how = how + _UNDER_CURSOR
        if how is not style and text:
            segments.append(Segment(text, style))
            text = ""
        text, style = text + sign, how
    if text:
        segments.append(Segment(text, style))
    return segments


def _moment(seconds: float, step: float) -> str:
    """`0:07`, `12:41`, `2:05:00`, finer where steps are: `0:07.25`."""
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2 if step >= 0.01 else 3
    seconds = round(seconds, digits)
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    told = f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
    return f"{told}{f'{seconds - whole:.{digits}f}'[1:]}" if digits else told
