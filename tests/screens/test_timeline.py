"""The timeline on a screen: what is painted, what keys do, and what a frame costs."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from engine import RunState, TaskState
from engine.core.events import Moved, Ran, Reset, Restored, RunMoved
from flowforge_tui.look import Look
from flowforge_tui.model import RunView
from flowforge_tui.tracks import Tracks
from flowforge_tui.widgets.messages import Jump
from flowforge_tui.widgets.timeline import Timeline
from tests.screens.made import BEGAN, attempt, begun, failed, started, succeeded
from tests.screens.pilot import drive, styles_of, text_of

NOW = BEGAN + 59.5


def small() -> RunView:
    """Two workers; 60 s; a failure at 30 s on the second; one attempt still runs."""
    view = begun(("a", 20), ("hostile\x1b]0;x\x07", 1))
    view.apply([succeeded([attempt(i, 10 * i, 8.0, worker=0) for i in range(5)]),
                failed(attempt(10, 20, 10.0, worker=1)),
                failed(attempt(11, 31, 4.0, worker=1), due=50),
                started([attempt(20, 52, worker=0)])])
    return view


def crowded(lanes: int = 64, each: int = 100) -> RunView:
    view = begun(("a", lanes * each))
    made = [attempt(lane * each + i, i * 0.6, 0.5, worker=lane)
            for i in range(each) for lane in range(lanes)]
    for one in made:
        view.apply([failed(one) if one.tid == 37 * each + 50 else succeeded([one])])
    return view


def rows_of(view: RunView, size: tuple[int, int], look: Look | None = None) -> list[str]:
    rows: list[str] = []

    async def act(widget: Timeline, pilot: Pilot[None]) -> None:
        widget.app.set_focus(None)
        await pilot.pause()
        widget.show(view)
        widget.frame(NOW)
        await pilot.pause()
        rows.extend(text_of(widget))

    drive(lambda: Timeline(look), act, size)
    return rows


def test_a_lane_a_worker_and_times_below() -> None:
    rows = rows_of(small(), (68, 3))

    assert [row.split()[0] for row in rows] == ["w00", "w01", "1:00"]
    assert rows[0][8:].startswith("▐███████")
    assert rows[0].rstrip().endswith("▶")
    assert rows[1].count("✗") == rows[1].count("↻") == 1
    assert rows[1].index("✗") == 8 + 30
    assert "│0:00" in rows[2]
    assert rows[2].index("│0:30") == 8 + 30


def test_where_there_is_room_lanes_stand_apart() -> None:
    rows = rows_of(small(), (68, 4))

    assert [row[:4] for row in rows[:3]] == [" w00", "", " w01"]


def test_attempts_side_by_side_can_be_told_apart() -> None:
    view = begun(("a", 9))
    view.apply([succeeded([attempt(i, 10 * i, 10.0) for i in range(6)])])

    assert rows_of(view, (68, 3))[0].count("▐") == 6


def test_in_ascii_there_is_nothing_else() -> None:
    rows = rows_of(small(), (68, 3), Look(unicode=False))

    assert "".join(rows).isascii()
    assert "X" in rows[1]
    assert "~" in rows[1]


@pytest.mark.parametrize("size", [(40, 3), (80, 8), (120, 12), (200, 30)])
def test_a_failure_never_vanishes(size: tuple[int, int]) -> None:
    rows = rows_of(crowded(), size)

    assert sum(row.count("✗") for row in rows) == 1
    assert all(len(row) <= size[0] for row in rows)


def test_where_lanes_do_not_fit_a_row_stands_for_several() -> None:
    rows = rows_of(crowded(), (80, 9))

    assert rows[0].startswith(" w00–07")
    assert rows[7].startswith(" w56–63")
    assert set(rows[0][8:].rstrip()) <= set("░▒▓█")


def test_before_anything_ran_it_says_so() -> None:
    assert "nothing has run" in rows_of(RunView(small().shape), (40, 3))[0]


def test_of_a_stored_run_lanes_are_numbered() -> None:
    view = begun(("a", 9))
    view.apply([succeeded([attempt(0, 0, 20.0, worker=None)]),
                succeeded([attempt(1, 5, 30.0, worker=None)])])

    assert [row.split()[0] for row in (rows_of(view, (68, 3)))[:2]] == ["1", "2"]


def test_keys_move_zoom_and_choose() -> None:
    heard: list[int] = []

    class Listening(Timeline):
        def on_jump(self, message: Jump) -> None:
            heard.append(message.tid)

    async def act(widget: Timeline, pilot: Pilot[None]) -> None:
        widget.focus()
        widget.show(small())
        widget.frame(NOW)
        await pilot.press("N")
        rows = text_of(widget)
        assert "a-10" in rows[-1]
        assert "failed" in rows[-1]
        assert "10.0s" in rows[-1]
        assert rows[-2].index("▲") == rows[2].index("✗")
        await pilot.press("N")
        assert text_of(widget) == rows, "there is none before it"
        await pilot.press("enter")
        await pilot.pause()
        assert heard == [10]

        await pilot.press("plus", "plus", "plus", "plus")
        rows = text_of(widget)
        assert "a-10" in rows[-1], "zooming keeps the moment"
        assert rows[-2].index("▲") == rows[2].index("✗")
        before = rows[0]
        await pilot.press("pageup", "pageup")
        assert text_of(widget)[0] != before
        await pilot.press("up", *["left"] * 60)
        assert "a-0" in text_of(widget)[-1]
        assert text_of(widget)[-1].startswith(" 0:00")
        await pilot.press("home")
        assert "│0:30" in text_of(widget)[-2]
        await pilot.press("end")
        rows = text_of(widget)
        assert "running" in rows[-1]
        assert "\x1b" not in rows[-1]
        assert "hostile" in rows[-1]
        assert "7.5s" in rows[-1]

    drive(Listening, act, (68, 5))


def test_zoomed_in_it_goes_along_with_the_present_until_panned() -> None:
    async def act(widget: Timeline, pilot: Pilot[None]) -> None:
        widget.focus()
        widget.show(small())
        widget.frame(NOW)
        await pilot.press("plus", "plus", "plus", "plus")
        first = text_of(widget)[-2]
        widget.frame(NOW + 20)
        assert text_of(widget)[-2] != first
        await pilot.press(*["pageup"] * 2)
        panned = text_of(widget)[-2]
        widget.frame(NOW + 40)
        assert text_of(widget)[-2] == panned

    drive(Timeline, act, (68, 6))


def test_a_click_puts_the_cursor_there() -> None:
    async def act(widget: Timeline, pilot: Pilot[None]) -> None:
        widget.focus()
        widget.show(small())
        widget.frame(NOW)
        await pilot.click(widget, offset=(8 + 25, 2))
        assert "a-10" in text_of(widget)[-1]

    drive(Timeline, act, (68, 5))


def test_after_the_end_it_stands_still_and_costs_nothing() -> None:
    view = small()
    view.apply([RunMoved(RunState.FAILED, "", NOW)])

    async def act(widget: Timeline, pilot: Pilot[None]) -> None:
        widget.show(view)
        widget.frame(NOW + 1)
        await pilot.pause()
        before = widget.lines_painted
        widget.frame(NOW + 500)
        await pilot.pause()
        assert widget.lines_painted == before

    drive(Timeline, act, (68, 5))


def test_a_frame_looks_at_cells_and_not_at_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    view = crowded(8, 1_000)

    async def act(widget: Timeline, pilot: Pilot[None]) -> None:
        widget.show(view)
        widget.frame(NOW)
        await pilot.pause()
        monkeypatch.setattr(Tracks, "_place", None)
        monkeypatch.setattr("flowforge_tui.tracks.Grid.add", None)
        monkeypatch.setattr("flowforge_tui.tracks.Grid.coarser", None)
        widget.frame(NOW + 0.5)
        await pilot.pause()
        assert text_of(widget)[0].startswith(" w00")

    drive(Timeline, act, (120, 12))


def test_failures_keep_their_sign_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(widget: Timeline, pilot: Pilot[None]) -> None:
        widget.app.set_focus(None)
        widget.show(small())
        widget.frame(NOW)
        await pilot.pause()
        assert styles_of(pilot, "✗")
        assert styles_of(pilot, "↻")

    monkeypatch.setenv("NO_COLOR", "1")
    drive(Timeline, act, (68, 5))


def test_an_attempt_that_was_cancelled_while_it_ran_has_its_time_and_no_more() -> None:
    view = begun(("task", 1))
    view.apply([started([attempt(0, 1.0)])])
    view.apply([Moved([0], TaskState.CANCELLED, -1, "cancelled while running",
                      Ran(1, 1, BEGAN + 1.0, BEGAN + 31.0))])
    assert view.seconds(0, BEGAN + 500.0) == 30.0
    log = view.attempts
    assert [(log.tid[0], log.number[0], log.start[0], log.end[0], log.state[0], log.worker[0])] == [
        (0, 1, BEGAN + 1.0, BEGAN + 31.0, TaskState.CANCELLED, 0)]
    view.apply([Reset([0], [], "retry")])
    view.apply([Restored([], [Moved([0], TaskState.CANCELLED, -1, "cancelled while running",
                                    Ran(1, 1, BEGAN + 1.0, BEGAN + 31.0))])])
    assert view.state_of(0) is TaskState.CANCELLED and len(view.attempts) == 1
