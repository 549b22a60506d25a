"""Drawings of graphs: lines can be followed with a finger, and lead where the edges do."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from flowforge_tui.graph_layout import Drawing, draw
from flowforge_tui.graph_parts import _layers

Edges = list[tuple[int, int]]

#: Sign → the sides that a line leaves it by: left, right, up, down.
ARMS = {
    "─": "lr", "│": "ud", "┘": "lu", "└": "ru", "┴": "lru", "┐": "ld", "┌": "rd", "┬": "lrd",
    "┤": "lud", "├": "rud", "┼": "lrud", "▾": "d", "▴": "u",
}
STEPS = {"r": (0, 1), "u": (-1, 0), "d": (1, 0)}
BACK = {"r": "l", "u": "d", "d": "u"}


def drawn(count: int, edges: Edges, *, width: int = 3, unicode: bool = True) -> Drawing:
    return draw([width] * count, _layers(count, edges), edges, unicode=unicode)


def led_to(drawing: Drawing, vertex: int) -> set[int]:
    """The vertices that a finger reaches that follows the lines from one, never to the left."""
    at = {(p.row, p.column): i for i, p in enumerate(drawing.places)}
    place = drawing.places[vertex]
    todo, seen, found = [(place.row, place.column + place.width, "r")], set(), set()
    while todo:
        row, x, way = step = todo.pop()
        if step in seen or x >= len(drawing.rows[0]):
            continue
        seen.add(step)
        sign = drawing.rows[row][x]
        if sign == "▸":
            found.add(at[row, x + 1])
            continue
        arms = ARMS.get(sign, "")
        if BACK[way] in arms or (way in arms and sign in "▾▴"):
            ways = [a for a in arms if a != BACK[way] and a != "l"]
        elif way == "r" and (sign == "│" or sign in "▾▴"):
            ways = ["r"]  # below another line
        else:
            ways = []
        todo += [(row + STEPS[w][0], x + STEPS[w][1], w) for w in ways]
    return found


def wanted(edges: Edges, vertex: int) -> set[int]:
    return {b for a, b in edges if a == vertex}


def check(count: int, edges: Edges) -> None:
    drawing = drawn(count, edges)
    text = "\n".join(drawing.rows)
    for vertex in range(count):
        assert led_to(drawing, vertex) == wanted(edges, vertex), f"{vertex}, {edges}\n{text}"


@st.composite
def graphs(draw_: st.DrawFn) -> tuple[int, Edges]:
    count = draw_(st.integers(1, 9))
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    edges = draw_(st.lists(st.sampled_from(pairs), unique=True, max_size=14)) if pairs else []
    return count, edges


@given(graphs())
@settings(max_examples=300, deadline=None)
@example((4, [(0, 2), (1, 3), (0, 3), (1, 2)]))
@example((5, [(0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4)]))
def test_lines_lead_where_the_edges_do(graph: tuple[int, Edges]) -> None:
    check(*graph)


@given(graphs())
@settings(max_examples=100, deadline=None)
def test_vertices_do_not_touch_and_ascii_has_the_same_lines(graph: tuple[int, Edges]) -> None:
    count, edges = graph
    drawing, plain = drawn(count, edges), drawn(count, edges, unicode=False)
    assert len({len(row) for row in drawing.rows}) == 1 and drawing.places == plain.places
    for one, other in zip(drawing.rows, plain.rows, strict=True):
        assert other.isascii()
        assert [c == " " for c in one] == [c == " " for c in other]
    cells = [(p.row, x) for p in drawing.places for x in range(p.column, p.column + p.width)]
    assert len(cells) == len(set(cells))
    assert all(drawing.rows[row][x] == " " for row, x in cells)


def test_a_chain_is_one_straight_line() -> None:
    drawing = drawn(4, [(0, 1), (1, 2), (2, 3)])
    assert [row.strip() for row in drawing.rows if row.strip()] == ["───▸   ───▸   ───▸"]


def test_nothing_is_nothing() -> None:
    assert draw([], [], []).places == []
