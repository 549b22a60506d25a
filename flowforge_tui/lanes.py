"""How lanes of the timeline look: a sign and its style a cell of time, and the times below. Pure.

Rule 1: failures have their own sign and vanish behind nothing, neither behind what else was in
        their cell nor behind what runs.
Rule 2: a row that stands for several lanes is darker the busier they were.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from flowforge_tui.amounts import brief_seconds
from flowforge_tui.look import ACCENT, BAD, BOLD, DIM, FAINT, GOOD, PLAIN, WARN, Look
from flowforge_tui.strips import Line
from flowforge_tui.tracks import FAILED, RETRIED, STOPPED, Cells, Grid, Running

#: Cells of the lanes' names at the left.
LABEL = 8
#: Cells between two times on the axis at least.
_APART = 10
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120,
          300, 600, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400)
_NONE = Style.null()
_STYLES = (PLAIN, GOOD, DIM, WARN, BAD)
_UNDER_CURSOR = Style(reverse=True)
_THEN = WARN + BOLD

Signed = list[tuple[str, Style]]


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


class Sight(NamedTuple):
    """The time in sight."""

    origin: float
    """When the session began, in seconds since the epoch."""
    width: float
    """Of a cell, in seconds."""
    first: int
    """The first cell in sight, counted from the session's begin."""
    room: int
    """Cells in sight."""

    def column(self, moment: float) -> int:
        """Which cell in sight a moment (seconds since the epoch) is in; it may be none of them."""
        return int((moment - self.origin) / self.width) - self.first


class Lanes:
    """Draws lanes and the axis below them."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self._signs = _UNICODE if look.unicode else _ASCII

    def cells(self, grid: Grid, at: int, room: int, lanes: list[int]) -> Signed:
        """What the lanes of one row did: so many cells, from the grid's cell `at` on."""
        shown = [grid.lanes[lane] for lane in lanes if lane < len(grid.lanes)]
        if len(shown) == 1:
            return self._single(shown[0], at, room, grid.width)
        return self._merged(shown, at, room, grid.width * max(1, len(shown)))

    def _single(self, cells: Cells, at: int, room: int, width: float) -> Signed:
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

    def _merged(self, lanes: list[Cells], at: int, room: int, width: float) -> Signed:
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

    def overlay(
        self, cells: Signed, lanes: list[int], running: list[Running], sight: Sight, now: float
    ) -> None:
        """Attempts in hand, from their start to `now`, where nothing worse is."""
        signs, last = self._signs, sight.column(now)
        for attempt in running:
            if attempt.lane not in lanes:
                continue
            begin = sight.column(attempt.start)
            for i in range(max(0, begin), min(len(cells), last + 1)):
                if cells[i][1] in (BAD, WARN):
                    continue
                sign = signs.goes_on if i == last else signs.begins if i == begin else signs.whole
                if len(lanes) > 1:
                    sign = signs.goes_on if i == last else max(cells[i][0], signs.heat[0])
                cells[i] = sign, ACCENT

    def strip(
        self, lanes: list[int], workers: list[int], cells: Signed, cursor: int | None, width: int
    ) -> Strip:
        """A row of lanes. `cursor`: the column that it is in, if it is in this row."""
        style = DIM if cursor is None else BOLD
        label = Line().column(f" {self._label_of(lanes, workers)}", LABEL - 1, style)
        label.add(self.look.marks.cursor if cursor is not None else " ", ACCENT)
        return Strip([*label.strip(LABEL), *_runs(cells, cursor)]).adjust_cell_length(width)

    def _label_of(self, lanes: list[int], workers: list[int]) -> str:
        """`w03`, `w00–07`; attempts of no known worker have numbered lanes."""
        known = [workers[lane] if lane < len(workers) else -1 for lane in lanes]
        dash = "–" if self.look.unicode else "-"
        if known[0] >= 0 and known[-1] >= 0:
            ends = f"w{known[0]:02}"
            return ends if len(lanes) == 1 else f"{ends}{dash}{known[-1]:02}"
        if len(lanes) == 1:
            return f"{lanes[0] + 1}"
        return f"{lanes[0] + 1}{dash}{lanes[-1] + 1}"

    def axis(self, sight: Sight, cursor: int | None, mark: float | None, width: int) -> Strip:
        """Times from the session's begin. `mark`: a moment that has a sign, too."""
        size, first, room, signs = sight.width, sight.first, sight.room, self._signs
        step = next((s for s in _STEPS if s / size >= _APART), _STEPS[-1])
        row = [" "] * room
        at = ceil(first * size / step)
        while (column := int(at * step / size) - first) < room:
            text = f"{signs.tick}{moment_words(at * step, step)}"
            if column >= 0 and column + len(text) <= room:
                row[column:column + len(text)] = text
            at += 1
        told = brief_seconds(size * room)
        label = (told if self.look.unicode else told.replace("µ", "u")).rjust(LABEL - 1)
        cells = [(c, FAINT) for c in row]
        if mark is not None:
            column = sight.column(mark)
            if 0 <= column < room:
                cells[column] = (signs.now, _THEN)
        if cursor is not None:
            cells[cursor] = (signs.here, ACCENT)
        line = Line().add(f"{label} ", FAINT).strip(LABEL)
        return Strip([*line, *_runs(cells, None)]).adjust_cell_length(width)


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


def moment_words(seconds: float, step: float) -> str:
    """`0:07`, `12:41`, `2:05:00`, finer where steps are: `0:07.25`."""
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2 if step >= 0.01 else 3
    seconds = round(seconds, digits)
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    told = f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
    return f"{told}{f'{seconds - whole:.{digits}f}'[1:]}" if digits else told
