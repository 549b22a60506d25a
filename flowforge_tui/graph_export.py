"""A whole graph as text for other programs: lines for people, Mermaid, DOT, SVG. Pure.

Rule 1: a line at a time, so that a graph of any size is written as it is made.
Rule 2: names are untrusted: made safe for a terminal, then quoted as the format asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.front import LOOKS, wording
from flowforge_tui.graph_parts import counts_of, depths_of
from flowforge_tui.ordering import foremost
from flowforge_tui.tables import columns, shown

if TYPE_CHECKING:
    from engine.front import Graph
    from flowforge_tui.model import RunView

#: Pixels of a box and of the room around it.
_BOX, _HIGH, _ACROSS, _DOWN, _EDGE = 180, 28, 60, 14, 20
#: Characters of a name in a box.
_NAME = 24

#: Places of lines that pass columns; a graph that needs more has them straight.
_MOST_PASSING = 20_000

#: What XML takes in no form.
_NO_XML = re.compile("[\ufffe\uffff]")


class Picture(NamedTuple):
    """A graph that is to be written."""

    name: str
    names: Sequence[str]
    upstream: Callable[[int], Sequence[int]]
    mapped: Callable[[int], bool]
    colour: Callable[[int], str] = lambda node: ""
    """Node → #rrggbb of its border; empty: the usual one."""


def of_graph(graph: Graph) -> Picture:
    """A workflow that was not run."""
    nodes = graph.nodes
    return Picture(graph.name, [node.name for node in nodes], lambda i: [*nodes[i].upstream],
                   lambda i: nodes[i].mapped is not None)


def of_run(view: RunView) -> Picture:
    """A run, in the colours of its states."""
    shape = view.shape

    def colour(node: int) -> str:
        return LOOKS[foremost(counts_of(view, node))].colour

    return Picture(shape.workflow, shape.names, shape.upstream, shape.is_mapped, colour)


def as_text(picture: Picture) -> Iterator[str]:
    """A line a task: its name, and what it waits for."""
    names = picture.names
    yield f"{shown(picture.name)}: {wording.amount(len(names), 'task')}"
    rows = []
    for node, name in enumerate(names):
        above = picture.upstream(node)
        waits = ", ".join(shown(names[u]) for u in above[:10])
        more = f" … and {len(above) - 10:,} more" if len(above) > 10 else ""
        rows.append((f"  {shown(name)}{'[…]' if picture.mapped(node) else ''}",
                     f"← {waits}{more}" if above else ""))
    yield from columns(rows)


def as_mermaid(picture: Picture) -> Iterator[str]:
    """A Mermaid flowchart; a mapped task is drawn as several."""
    yield "flowchart TD"
    for node, name in enumerate(picture.names):
        left, right = ("[[", "]]") if picture.mapped(node) else ("[", "]")
        yield f'  n{node}{left}"{_mermaid_text(name)}"{right}'
    yield from (f"  n{u} --> n{k}" for u, k in _edges(picture))


def as_dot(picture: Picture) -> Iterator[str]:
    """A Graphviz digraph; a mapped task has a double border."""
    yield f'digraph "{_dot_text(picture.name)}" {{'
    yield '  node [shape=box, style=rounded, fontname="sans-serif"];'
    for node, name in enumerate(picture.names):
        more = ", peripheries=2" if picture.mapped(node) else ""
        colour = picture.colour(node)
        more += f', color="{colour}"' if colour else ""
        yield f'  n{node} [label="{_dot_text(name)}"{more}];'
    yield from (f"  n{u} -> n{k};" for u, k in _edges(picture))
    yield "}"


def as_svg(picture: Picture) -> Iterator[str]:
    """A drawing of its own, from left to right; a mapped task looks like a pile."""
    sheet = _Sheet(picture)
    width, height = sheet.size()
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">')
    yield f"<title>{_xml_text(picture.name, 200)}</title>"
    yield '<rect width="100%" height="100%" fill="#ffffff"/>'
    yield '<g fill="none" stroke="#8b949e">'
    for u, k in _edges(picture):
        yield f'<path d="{sheet.path(u, k)}"/>'
    yield "</g>"
    for node, name in enumerate(picture.names):
        yield _box(picture, node, name, sheet.corner(node))
    yield "</svg>"


def _box(picture: Picture, node: int, name: str, place: tuple[int, int]) -> str:
    x, y = place
    look = f'rx="6" fill="#ffffff" stroke="{picture.colour(node) or "#30363d"}" stroke-width="1.5"'
    size = f'width="{_BOX}" height="{_HIGH}"'
    pile = f'<rect x="{x + 4}" y="{y + 4}" {size} {look}/>' if picture.mapped(node) else ""
    return (f'<g>{pile}<rect x="{x}" y="{y}" {size} {look}/>'
            f'<text x="{x + 10}" y="{y + 18}" fill="#1f2328">{_xml_text(name, _NAME)}'
            f"<title>{_xml_text(name, 500)}</title></text></g>")


class _Sheet:
    """Where boxes are: a column a depth, in each close to what they wait for. A long line has
    places of its own in the columns that it passes, so that it runs behind no box."""

    def __init__(self, picture: Picture) -> None:
        size = len(picture.names)
        self._depth = depths_of(size, picture.upstream)
        levels: list[list[int]] = [[] for _ in range(max(self._depth, default=-1) + 1)]
        self._above: list[Sequence[int]] = []
        for node in range(size):
            levels[self._depth[node]].append(node)
            self._above.append(picture.upstream(node))
        self._passing: dict[int, list[int]] = {}
        """Node → its places in the columns behind it, as far as lines from it go."""
        self._row = [0.0] * size
        self._add_passing(picture, levels)
        for level in levels:
            self._arrange(level)

    def _add_passing(self, picture: Picture, levels: list[list[int]]) -> None:
        """One line a source goes through a column, whatever it leads to."""
        reach: dict[int, int] = {}
        for u, k in _edges(picture):
            reach[u] = max(reach.get(u, 0), self._depth[k] - 1)
        if sum(far - self._depth[u] for u, far in reach.items()) > _MOST_PASSING:
            return
        for u, far in reach.items():
            last, chain = u, list[int]()
            for depth in range(self._depth[u] + 1, far + 1):
                chain.append(len(self._row))
                levels[depth].append(len(self._row))
                self._above.append((last,))
                last = len(self._row)
                self._row.append(0.0)
            self._passing[u] = chain

    def _arrange(self, level: list[int]) -> None:
        row = self._row
        wanted = {v: _mean([row[u] for u in self._above[v]], i) for i, v in enumerate(level)}
        level.sort(key=wanted.__getitem__)
        last = -1.0
        for v in level:
            last = row[v] = max(wanted[v], last + 1.0)

    def _y(self, place: int) -> int:
        return _EDGE + round(self._row[place] * (_HIGH + _DOWN))

    def corner(self, node: int) -> tuple[int, int]:
        """Where a node's box begins."""
        return _EDGE + self._depth[node] * (_BOX + _ACROSS), self._y(node)

    def size(self) -> tuple[int, int]:
        """Pixels across and down."""
        across = (max(self._depth, default=-1) + 1) * (_BOX + _ACROSS)
        down = max(map(self._y, range(len(self._row))), default=0) + _HIGH
        return across + 2 * _EDGE, down + 2 * _EDGE

    def path(self, u: int, k: int) -> str:
        """The line from one node to another."""
        x, y = self.corner(u)
        x, y = x + _BOX, y + _HIGH // 2
        parts = [f"M{x} {y}"]
        for place in self._passing.get(u, ())[:self._depth[k] - self._depth[u] - 1]:
            to = self._y(place) + _HIGH // 2
            parts.append(_curve(x, y, x + _ACROSS, to) + f"h{_BOX}")
            x, y = x + _ACROSS + _BOX, to
        to_x, to_y = self.corner(k)
        parts.append(_curve(x, y, to_x, to_y + _HIGH // 2))
        return "".join(parts)


def _curve(x: int, y: int, to_x: int, to_y: int) -> str:
    middle = (x + to_x) // 2
    return f"C{middle} {y} {middle} {to_y} {to_x} {to_y}"


def _mean(values: Sequence[float], instead: float) -> float:
    return sum(values) / len(values) if values else instead


def _edges(picture: Picture) -> Iterator[tuple[int, int]]:
    for node in range(len(picture.names)):
        for u in picture.upstream(node):
            yield u, node


def _mermaid_text(name: str) -> str:
    table: dict[str, Any] = {c: f"#{ord(c)};" for c in '"#<>&`'}
    return shown(name).translate(str.maketrans(table))


def _dot_text(name: str) -> str:
    return shown(name).replace("\\", "\\\\").replace('"', '\\"')


def _xml_text(name: str, limit: int) -> str:
    return escape(_NO_XML.sub("", shown(name, limit)))
