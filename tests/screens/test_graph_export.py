"""Whole graphs for other programs: well formed, whatever the names are."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from engine import TaskState
from engine.core.events import Moved
from flowforge_tui.graph_export import Picture, as_dot, as_mermaid, as_svg, as_text, of_run
from tests.screens.test_graph import EVIL, etl, shaped

HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800]")
SVG = "{http://www.w3.org/2000/svg}"


def picture(nodes: list[tuple[str, list[int]]]) -> Picture:
    shape = shaped(nodes)
    return Picture("flow" + EVIL, shape.names, shape.upstream, shape.is_mapped)


def test_an_svg_has_every_box_and_line() -> None:
    root = ElementTree.fromstring("\n".join(as_svg(of_run(etl()))))
    names = [text.text for text in root.iter(f"{SVG}text")]
    assert names == ["config", "extract", "transform", "load"]
    assert len(list(root.iter(f"{SVG}path"))) == 4
    boxes = [g.find(f"{SVG}rect") for g in root.iter(f"{SVG}g")]
    corners = {(b.get("x"), b.get("y")) for b in boxes if b is not None}
    assert len(corners) == 4
    left = [int(b.get("x") or 0) for b in boxes if b is not None]
    assert left == sorted(left)
    width, height = int(root.get("width") or 0), int(root.get("height") or 0)
    assert all(int(x or 0) < width and int(y or 0) < height for x, y in corners)


def test_a_run_is_drawn_in_the_colours_of_its_states() -> None:
    view = etl()
    view.apply([Moved((5,), TaskState.FAILED, -1, "")])
    dot = "\n".join(as_dot(of_run(view)))
    assert 'n1 [label="extract", peripheries=2, color="#ff6b3d"];' in dot
    assert 'n0 [label="config", color="#2fbf8f"];' in dot


def test_names_are_quoted_for_each_format() -> None:
    evil = picture([(f'a"\\]<&>`#\uffff{EVIL}', []), ("b", [0])])
    for write in (as_text, as_mermaid, as_dot, as_svg):
        text = "\n".join(write(evil))
        assert HOSTILE.search(text) is None and "[bold]x[/bold]" in text
    root = ElementTree.fromstring("\n".join(as_svg(evil)))
    assert [t.text for t in root.iter(f"{SVG}text")][1] == "b"
    assert '\\"\\\\]' in "\n".join(as_dot(evil))


def test_nothing_to_draw_is_still_well_formed() -> None:
    root = ElementTree.fromstring("\n".join(as_svg(picture([]))))
    assert int(root.get("width") or 0) > 0


def test_a_chain_of_ten_thousand_needs_no_recursion() -> None:
    chain = picture([("step", [i - 1] if i else []) for i in range(10_000)])
    assert sum("<path" in line for line in as_svg(chain)) == 9_999
