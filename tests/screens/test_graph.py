"""Stages and neighbourhoods, and the widgets that show them."""

from __future__ import annotations

import importlib
import pkgutil
import re
from array import array
from typing import Any

from textual.message import Message

from engine import RunState, TaskState
from engine.core.events import Expanded, Moved, RunMoved
from engine.runtime.outline import MapOutline, Outline, SpecOutline
from flowforge_tui.graph_parts import MOST, around, depths_of, stages
from flowforge_tui.look import Look
from flowforge_tui.model import RunView
from flowforge_tui.shape import Shape
from flowforge_tui.widgets.graph import GraphPane
from flowforge_tui.widgets.messages import Jump, Left
from flowforge_tui.widgets.stages import bar
from tests.screens.made import BEGAN, attempt, failed, succeeded
from tests.screens.pilot import drive, picture

HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202e[bold]x[/bold]\x00\ud800"


def shaped(
    nodes: list[tuple[str, list[int]]], maps: dict[int, MapOutline] | None = None
) -> Shape:
    """Nodes, each a task of its own unless it has the name of one before."""
    outline = Outline("made")
    outline.groups = [""]
    specs: dict[str, int] = {}
    for name, upstream in nodes:
        spec = specs.setdefault(name, len(specs))
        if spec == len(outline.specs):
            outline.specs.append(SpecOutline(name, "function", True, "retry", "all_success", {}))
        outline.spec_of.append(spec)
        outline.names.append(name)
        outline.upstream.extend(upstream)
        outline.offsets.append(len(outline.upstream))
        outline.needs.append(len(upstream))
    outline.group_of = array("I", bytes(4 * len(nodes)))
    outline.maps = maps or {}
    return Shape(outline)


def etl(extra: str = "") -> RunView:
    """config → extract (a map of 3) → transform (along with it) → load."""
    shape = shaped(
        [(f"config{extra}", []), ("extract", [0]), ("transform", [1]), ("load", [2, 0])],
        {1: MapOutline((), (), (0,), b"x", False, False),
         2: MapOutline((1,), (1,), (), b"", False, False)})
    view = RunView(shape)
    view.apply([RunMoved(RunState.RUNNING, "", BEGAN), succeeded([attempt(0, 0.0, 1.0)]),
                Expanded(1, 4, 3, None, None, ()), Expanded(2, 7, 3, None, None, ())])
    return view


def names(view: RunView, tid: int) -> tuple[set[str], set[tuple[str, str]]]:
    part = around(view, tid)
    told = [view.name_of(v.task) for v in part.vertices]
    return set(told), {(told[a], told[b]) for a, b in part.edges}


def test_depths_of_a_long_chain_need_no_recursion() -> None:
    shape = shaped([("step", [i - 1] if i else []) for i in range(100_000)])
    assert depths_of(shape.size, shape.upstream)[99_999] == 99_999
    assert stages(shape) == [[0]]


def test_stages_are_sections_by_the_depth_at_which_they_begin() -> None:
    shape = shaped([("a", []), ("b", [0]), ("c", [0]), ("d", [1, 2]), ("a", [3]), ("e", [4])])
    assert stages(shape) == [[0], [1, 2], [3], [4]]
    assert stages(Shape.empty()) == []


def test_depths_hold_where_nodes_are_in_no_order() -> None:
    shape = shaped([("late", [1, 2]), ("middle", [2]), ("early", [])])
    assert list(depths_of(shape.size, shape.upstream)) == [2, 1, 0]


def test_the_neighbourhood_of_an_item_is_of_items() -> None:
    view = etl()
    told, edges = names(view, 5)
    assert told == {"config", "extract[1]", "transform[1]", "load"}
    assert edges == {("config", "extract[1]"), ("extract[1]", "transform[1]"),
                     ("transform[1]", "load"), ("config", "load")}
    told, _ = names(view, 1)
    assert told == {"config", "extract", "transform", "load"}


def test_a_neighbourhood_is_small_whatever_there_is() -> None:
    size = 100_000
    shape = shaped([("root", []), *[("leaf", [0])] * size, ("end", list(range(1, size + 1)))])
    view = RunView(shape)
    for tid in (0, 1, size + 1):
        part = around(view, tid)
        assert part.vertices[0].task == tid and len(part.vertices) <= MOST
        assert all(part.layers[a] < part.layers[b] for a, b in part.edges)
    root = around(view, 0).vertices[0]
    assert (root.above, root.below) == (0, size - 12)
    end = around(view, size + 1).vertices[0]
    assert (end.above, end.below) == (size - 12, 0)


def test_the_nearest_come_first() -> None:
    shape = shaped([(f"n{i}", [i - 1] if i else []) for i in range(200)])
    tasks = sorted(v.task for v in around(RunView(shape), 100).vertices)
    assert tasks == list(range(80, 120))


def test_a_bar_shows_everything_that_is_there() -> None:
    counts = [0] * len(TaskState)
    counts[TaskState.SUCCESS], counts[TaskState.FAILED] = 99_999, 1
    parts = bar(counts, 10, Look())
    assert [text for text, _ in parts] == ["█" * 9, "✗"]
    assert bar([0] * len(TaskState), 10, Look()) == []
    for n in range(len(TaskState)):
        assert sum(len(t) for t, _ in bar([n + 1] * len(TaskState), 11, Look())) == 11


async def ready(pane: GraphPane, pilot: Any, view: RunView, tid: int) -> str:
    pane.show(view)
    assert pane.wants() is not None
    pane._asked = False
    get = pane.wants()
    assert get is not None and pane.wants() is None
    pane.take(get())
    pane.select(tid)
    await pilot.pause()
    return await again(pane, pilot)


async def again(pane: GraphPane, pilot: Any) -> str:
    pane.frame()
    await pilot.pause()
    return picture(pilot)


def test_it_shows_lines_states_and_stages() -> None:
    async def act(pane: GraphPane, pilot: Any) -> None:
        view = etl()
        text = await ready(pane, pilot, view, 5)
        assert "GRAPH extract[1] · ← config · → transform[1]" in text
        assert "✓ config" in text and "○ extract[1] ───▸ ○ transform[1] " in text
        assert re.search(r"› +2 ░+ extract +0/3", text)
        view.apply([failed(attempt(5, 1.0, 1.0)),
                    Moved((8,), TaskState.UPSTREAM_FAILED, 5, "")])
        text = await again(pane, pilot)
        assert "✗ extract[1]" in text and "⊗ transform[1]" in text
        assert re.search(r"› +2 [░✗]+ extract +0/3 ✗1", text)
        built = pane.near.lines_built, pane.map.lines_built
        await again(pane, pilot)
        assert (pane.near.lines_built, pane.map.lines_built) == built

    drive(GraphPane, act, size=(100, 24))


def test_keys_go_along_the_lines_and_enter_jumps() -> None:
    heard: list[int] = []

    class Listening(GraphPane):
        def on_jump(self, message: Jump) -> None:
            heard.append(message.tid)

    async def act(pane: GraphPane, pilot: Any) -> None:
        view = etl()
        await ready(pane, pilot, view, 5)
        pane.focus()
        await pilot.press("right", "right", "enter")
        await pilot.pause()
        assert heard == [3]
        await pilot.press("left", "left", "left", "left", "enter")
        assert heard == [3, 0]
        await pilot.pause()
        assert "GRAPH config" in picture(pilot)  # without a frame
        pane.map.focus()
        await pilot.press("end", "enter")
        assert heard == [3, 0, 3]

    drive(Listening, act, size=(60, 20))


def test_escape_gives_the_focus_back() -> None:
    heard: list[object] = []

    class Listening(GraphPane):
        def on_left(self, message: Left) -> None:
            heard.append(message)

    async def act(pane: GraphPane, pilot: Any) -> None:
        await ready(pane, pilot, etl(), 5)
        for part in (pane.near, pane.map):
            heard.clear()
            part.focus()
            await pilot.press("escape")
            await pilot.pause()
            assert len(heard) == 1

    drive(Listening, act, size=(60, 20))


def test_no_message_of_ours_reaches_a_handler_of_textuals() -> None:
    import flowforge_tui

    for module in pkgutil.walk_packages(flowforge_tui.__path__, "flowforge_tui."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds = Message.__subclasses__()
    for kind in kinds:
        kinds += kind.__subclasses__()
    ours = {k.handler_name: k for k in kinds if k.__module__.startswith("flowforge_tui.")}
    theirs = {k.handler_name for k in kinds if k.__module__.startswith("textual.")}
    assert len(ours) > 5 and not theirs & set(ours), theirs & set(ours)


def test_what_is_chosen_stays_in_sight_where_there_is_little_room() -> None:
    async def act(pane: GraphPane, pilot: Any) -> None:
        shape = shaped([(f"step_number_{i}", [i - 1] if i else []) for i in range(30)])
        await ready(pane, pilot, RunView(shape), 15)
        pane.focus()
        for name in ("step_number_15", *(f"step_number_{i}" for i in range(16, 22))):
            assert name in (await again(pane, pilot)).split("STAGES")[0].partition("\n")[2]
            await pilot.press("right")

    drive(GraphPane, act, size=(50, 16))


def test_what_is_not_drawn_is_counted() -> None:
    async def act(pane: GraphPane, pilot: Any) -> None:
        shape = shaped([("root", []), *[("leaf", [0])] * 50])
        text = await ready(pane, pilot, RunView(shape), 0)
        assert "root →38 " in text and "→ leaf, leaf, leaf, leaf and 46 more" in text
        text = await ready(pane, pilot, etl(), 5)
        assert "→" not in text.partition("\n")[2].split("STAGES")[0]

    drive(GraphPane, act, size=(120, 40))


def test_a_map_is_drawn_anew_when_it_has_its_items() -> None:
    async def act(pane: GraphPane, pilot: Any) -> None:
        view = etl()
        text = await ready(pane, pilot, view, 1)
        assert "extract ×3" in text
        view.apply([Expanded(1, 10, 2, None, None, ())])
        assert "extract ×2" in await again(pane, pilot)

    drive(GraphPane, act)


def test_nothing_hostile_is_painted_and_ascii_is_ascii() -> None:
    async def act(pane: GraphPane, pilot: Any) -> None:
        text = await ready(pane, pilot, etl(EVIL), 5)
        assert HOSTILE.search(text) is None and "config[bold]x[/bold]" in text
        assert text.isascii()

    drive(lambda: GraphPane(Look(unicode=False)), act, size=(120, 24))
