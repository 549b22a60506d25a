"""Draws a small graph with characters, in columns from left to right. Pure.

Rule 1: lines go to the right. They meet only where they lead to the same vertex, and a head says
        which one comes from the side; where two cross, the level one passes below.
Rule 2: a line from a vertex is drawn once, and branches; a long one passes between vertices.
Rule 3: vertices stand on every second row, or on every third where a line needs the room; the
        rows between are for lines that would meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_L, _R, _U, _D = 1, 2, 4, 8
_SIGNS = {
    0: " ", _L: "─", _R: "─", _L | _R: "─", _U: "│", _D: "│", _U | _D: "│",
    _L | _U: "┘", _R | _U: "└", _L | _R | _U: "┴", _L | _D: "┐", _R | _D: "┌",
    _L | _R | _D: "┬", _L | _U | _D: "┤", _R | _U | _D: "├", 15: "┼",
}
_ASCII = {"─": "-", "│": "|", " ": " ", "▸": ">", "▴": "^", "▾": "v"}

#: Passes over the columns that bring neighbours close to each other.
_SWEEPS = 6


class Place(NamedTuple):
    """Where a vertex stands, in cells."""

    row: int
    column: int
    width: int


class Drawing(NamedTuple):
    """The lines as text, all of one length, with room where vertices stand."""

    rows: list[str]
    places: list[Place]


def draw(
    widths: Sequence[int], layers: Sequence[int], edges: Sequence[tuple[int, int]],
    *, unicode: bool = True,
) -> Drawing:
    """Lay out vertices of these widths in these columns; edges go to columns further right."""
    sketch = _Sketch(widths, layers, edges)
    drawing = sketch.drawing(unicode=unicode)
    if drawing is None:
        sketch.pitch += 1
        drawing = sketch.drawing(unicode=unicode)
    assert drawing is not None  # a line over three rows has a cell for its head
    return drawing


class _Sketch:
    """A layout in the making. Vertices from `real` on are places that long lines pass."""

    def __init__(
        self, widths: Sequence[int], layers: Sequence[int], edges: Sequence[tuple[int, int]]
    ) -> None:
        self.real = len(widths)
        self.widths, self.layers = list(widths), list(layers)
        self.hops: list[tuple[int, int]] = []
        """Edges between neighbouring columns."""
        for one, other in edges:
            self._split(one, other)
        self.columns: list[list[int]] = [[] for _ in range(max(self.layers, default=-1) + 1)]
        for vertex, layer in enumerate(self.layers):
            self.columns[layer].append(vertex)
        self.above: list[list[int]] = [[] for _ in self.layers]
        self.below: list[list[int]] = [[] for _ in self.layers]
        for one, other in self.hops:
            self.above[other].append(one)
            self.below[one].append(other)
        self.slot = [0] * len(self.layers)
        self.pitch = 2
        self._order()
        self._align()

    def _split(self, one: int, other: int) -> None:
        """A long edge as hops from column to column."""
        last = one
        for layer in range(self.layers[one] + 1, self.layers[other]):
            self.widths.append(0)
            self.layers.append(layer)
            self.hops.append((last, len(self.layers) - 1))
            last = len(self.layers) - 1
        self.hops.append((last, other))

    # -- rows ---------------------------------------------------------------------------------

    def _order(self) -> None:
        """Put the vertices of each column in the order of their neighbours' mean places."""
        for column in self.columns:
            for i, vertex in enumerate(column):
                self.slot[vertex] = i
        for sweep in range(_SWEEPS):
            ahead = sweep % 2 == 0
            beside = self.above if ahead else self.below
            for column in self.columns if ahead else reversed(self.columns):
                column.sort(key=lambda v: self._mean(beside[v], self.slot[v]))
                for i, vertex in enumerate(column):
                    self.slot[vertex] = i

    def _mean(self, others: Sequence[int], instead: float) -> float:
        return sum(self.slot[o] for o in others) / len(others) if others else instead

    def _align(self) -> None:
        """Move columns up and down so that lines are straight where they can be."""
        for sweep in range(_SWEEPS):
            ahead = sweep % 2 == 0
            beside = self.above if ahead else self.below
            for column in self.columns if ahead else reversed(self.columns):
                wanted = [round(self._mean(beside[v], self.slot[v])) for v in column]
                for vertex, slot in zip(column, _apart(wanted), strict=True):
                    self.slot[vertex] = slot
        dense = {slot: i for i, slot in enumerate(sorted(set(self.slot)))}
        self.slot = [dense[slot] for slot in self.slot]

    def row(self, vertex: int) -> int:
        """The row of text that a vertex stands on."""
        return self.pitch * self.slot[vertex] + 1

    # -- columns --------------------------------------------------------------------------------

    def drawing(self, *, unicode: bool) -> Drawing | None:
        """The whole as text; None if there is no room for the head of a line."""
        grid = _Grid()
        places: dict[int, Place] = {}
        x = 0
        for column in self.columns:
            width = max((self.widths[v] for v in column), default=0)
            for vertex in column:
                places[vertex] = Place(self.row(vertex), x, self.widths[vertex])
                if vertex >= self.real:
                    grid.across(self.row(vertex), x - 1, x + width)
                elif self.below[vertex]:
                    grid.across(self.row(vertex), x + self.widths[vertex], x + width)
            x += width
            gutter = _Gutter(self, column)
            if gutter.hops:
                x = gutter.draw(grid, x)
        if not grid.mark_joins():
            return None
        height = max((p.row for p in places.values()), default=0) + 2
        return Drawing(grid.text(height, x, unicode), [places[v] for v in range(self.real)])


def _apart(wanted: Sequence[int]) -> list[int]:
    """Ascending places, each close to the one that is wanted."""
    down, last = list[int](), -10**9
    for slot in wanted:
        last = max(slot, last + 1)
        down.append(last)
    up, last = list[int](), 10**9
    for slot in reversed(wanted):
        last = min(slot, last - 1)
        up.append(last)
    return [(a + b) // 2 for a, b in zip(down, reversed(up), strict=True)]


class _Channel(NamedTuple):
    """An upright line in a gutter, and the hops that it serves."""

    hops: tuple[tuple[int, int], ...]


class _Gutter:
    """The lines between a column and the next.

    Hops share a channel where nobody can take a wrong turn in it: from one source to targets
    that have no other line, or to one target from sources that have no other.
    """

    def __init__(self, sketch: _Sketch, column: Sequence[int]) -> None:
        self.sketch = sketch
        self.hops = [(v, t) for v in column for t in sketch.below[v]]
        self.channels = self._ordered(self._shared())
        self.number = {hop: i for i, c in enumerate(self.channels) for hop in c.hops}
        """Hop → its channel, from the left; none for a straight one."""
        self.source_on = {sketch.row(v): v for v in column if sketch.below[v]}
        self.step = 2 if len(self.channels) <= 5 else 1

    def _shared(self) -> list[_Channel]:
        sketch, groups = self.sketch, dict[tuple[str, int, int], list[tuple[int, int]]]()
        for one, other in self.hops:
            if sketch.row(one) == sketch.row(other):
                continue
            if len(sketch.above[other]) == 1:
                key = ("from", one, 0)
            elif len(sketch.below[one]) == 1:
                key = ("to", other, 0)
            else:
                key = ("hop", one, other)
            groups.setdefault(key, []).append((one, other))
        return [_Channel(tuple(hops)) for hops in groups.values()]

    def _ordered(self, left: list[_Channel]) -> list[_Channel]:
        """From left to right, such that as few lines as can be have to step aside: what ends on a
        row goes right of what another vertex on that row begins."""
        ordered: list[_Channel] = []
        while left:
            best = min(left, key=lambda c: sum(self._after(c, o) for o in left if o is not c))
            ordered.append(best)
            left.remove(best)
        return ordered

    def _after(self, one: _Channel, other: _Channel) -> bool:
        row = self.sketch.row
        begin = {(row(v), v) for v, _ in other.hops}
        return any(row(t) == r and v != w for v, t in one.hops for r, w in begin)

    def _steps_aside(self, hop: tuple[int, int]) -> bool:
        """True if a line would run into the one of a vertex that begins on the same row."""
        other = self.source_on.get(self.sketch.row(hop[1]))
        if other is None or other == hop[0]:
            return False
        return any(self.number.get((other, t), -1) > self.number[hop]
                   for t in self.sketch.below[other])

    def draw(self, grid: _Grid, x: int) -> int:
        """Draw the lines from cell `x` on; returns where the next column begins."""
        last = x + 1 + self.step * len(self.channels)
        end = last + 3
        for hop in self.hops:
            source, target = map(self.sketch.row, hop)
            stop = end  # a line that goes on joins what it becomes
            if hop[1] < self.sketch.real:
                stop = end - 1
                grid.heads[target, stop] = "▸"
            if hop not in self.number:
                grid.across(source, x, stop)
                continue
            at = x + 1 + self.step * self.number[hop]
            aside = self._steps_aside(hop)
            level = target - aside
            grid.across(source, x, at)
            grid.down(at, source, level)
            grid.across(level, at, last if aside else stop)
            if aside:
                grid.down(last, level, target)
                grid.across(target, last, stop)
            grid.joints |= {(source, at), (level, at)}
            if len(self.channels[self.number[hop]].hops) == 1:
                grid.joins.append((source, level, at))
        return end


class _Grid:
    """Cells with lines in them."""

    def __init__(self) -> None:
        self.mask: dict[tuple[int, int], int] = {}
        """Cell → the sides that a line leaves it by."""
        self.heads: dict[tuple[int, int], str] = {}
        self.joints: set[tuple[int, int]] = set()
        """Cells in which a level and an upright line are one."""
        self.joins: list[tuple[int, int, int]] = []
        """(from row, to row, cell) of upright lines that end in a level one."""

    def across(self, row: int, start: int, end: int) -> None:
        """A level line."""
        for x in range(start, end):
            self.mask[row, x] = self.mask.get((row, x), 0) | _R
            self.mask[row, x + 1] = self.mask.get((row, x + 1), 0) | _L

    def down(self, x: int, start: int, end: int) -> None:
        """An upright line from row to row."""
        for row in range(min(start, end), max(start, end)):
            self.mask[row, x] = self.mask.get((row, x), 0) | _D
            self.mask[row + 1, x] = self.mask.get((row + 1, x), 0) | _U

    def mark_joins(self) -> bool:
        """Where a line comes to another from the side, a head says which. False: there is no cell
        for it."""
        for start, end, x in self.joins:
            step = -1 if start < end else 1
            if self.mask[end, x] & _L:
                cells = [(row, x) for row in range(end + step, start, step)]
                plain = [cell for cell in cells if self._sign(*cell) == "│"]
                if not plain:
                    return False
                self.heads[plain[0]] = "▾" if step < 0 else "▴"
        return True

    def sign(self, row: int, x: int) -> str:
        """The character of a cell."""
        return self.heads.get((row, x)) or self._sign(row, x)

    def _sign(self, row: int, x: int) -> str:
        mask = self.mask.get((row, x), 0)
        # Where two lines cross, the level one passes below.
        return "│" if mask == 15 and (row, x) not in self.joints else _SIGNS[mask]

    def text(self, height: int, width: int, unicode: bool) -> list[str]:
        """All rows."""
        rows = ["".join(self.sign(row, x) for x in range(width)) for row in range(height)]
        if unicode:
            return rows
        return ["".join(_ASCII.get(sign, "+") for sign in row) for row in rows]
