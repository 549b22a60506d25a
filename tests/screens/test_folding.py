"""Many changes at once: taken in by columns and searches, to the same result as one by one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import RunState, TaskState
from engine.core.events import Attempt, Expanded, Moved, RunMoved
from engine.runtime.outline import MapOutline
from flowforge_tui.feed import LiveFeed
from flowforge_tui.model import RunView
from flowforge_tui.tracks import GOOD, Grid, Tracks
from tests.screens.made import BEGAN, attempt, begun, failed, started, succeeded
from tests.screens.test_model import check_counters

ITEMS = range(3, 1_003)
"""Of the mapped node 2."""


def mapped() -> RunView:
    """A run whose map has its items."""
    view = begun(("a", 2), ("m", 1), maps={2: MapOutline((0,), (), (), b"", False, False)})
    view.apply([Expanded(2, ITEMS.start, len(ITEMS), None, None, ())])
    return view


# -- task runs that take a state --------------------------------------------------------------


def test_items_that_become_ready_together_cost_no_step_each(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    view = mapped()
    steps: list[int] = []
    one = RunView._set
    monkeypatch.setattr(
        RunView, "_set", lambda self, tid, new: (steps.append(tid), one(self, tid, new)))
    view.apply([Moved(ITEMS, TaskState.QUEUED, -1, "")])

    assert not steps
    assert view.totals[TaskState.QUEUED] == len(ITEMS)
    check_counters(view)


@pytest.mark.parametrize("tids", [ITEMS, ITEMS[5:9], ITEMS[::2], range(2), range(1_003), range(0)],
                         ids=["all", "some", "every other", "nodes", "everything", "nothing"])
@pytest.mark.parametrize("state", [TaskState.QUEUED, TaskState.FAILED, TaskState.CANCELLED])
def test_whatever_moves_the_counters_follow(tids: range, state: TaskState) -> None:
    view = mapped()
    view.apply([Moved(ITEMS, TaskState.QUEUED, -1, ""),
                started([attempt(ITEMS[7], 1.0), attempt(1, 1.0)]),
                failed(attempt(ITEMS[8], 1.0, 1.0), due=9.0)])
    view.apply([Moved(tids, state, 1, "as it had to")])

    assert {view.state_of(tid) for tid in tids} <= {state}
    assert all(view.why[tid] == (1, "as it had to") for tid in tids)
    check_counters(view)


def test_items_of_a_map_that_started_over_are_left_alone() -> None:
    view = mapped()
    view.apply([Expanded(2, ITEMS.stop, 4, None, None, ())])
    view.apply([Moved(ITEMS, TaskState.CANCELLED, -1, "")])

    assert view.totals[TaskState.CANCELLED] == 0
    check_counters(view)


# -- what waits for a frame ------------------------------------------------------------------


def test_what_waits_for_a_frame_holds_none_of_the_engines_attempts() -> None:
    feed, one = LiveFeed(), attempt(1, 1.0, 0.5)
    held = sys.getrefcount(one)
    feed.changes([succeeded([one]), RunMoved(RunState.PAUSED, "", BEGAN + 2.0)])
    assert sys.getrefcount(one) == held

    feed.view = begun(("a", 2))
    assert feed.poll()
    assert (feed.view.state_of(1), feed.view.run_state) == (TaskState.SUCCESS, RunState.PAUSED)


# -- figures over time ------------------------------------------------------------------------

turns = st.lists(
    st.tuples(st.floats(0.0, 0.4), st.floats(0.0, 3.0), st.integers(0, 9), st.integers(0, 1)),
    min_size=1, max_size=120)
"""(pause before, seconds, 0: it fails, worker) of attempts, one after the other."""


def in_turn(some: Sequence[tuple[float, float, int, int]], size: int) -> list[Attempt]:
    """Attempts of which a worker brings in `size` in a row."""
    made, at = [], [0.0, 0.0]
    for i, (pause, seconds, _, worker) in enumerate(some):
        worker = worker if size == 1 else i // size % 2
        at[worker] += pause
        made.append(attempt(i, at[worker], seconds, worker=worker))
        at[worker] = made[-1].end - BEGAN
    return made


@given(turns, st.sampled_from([1, 9, 200]), st.integers(-8, 4), st.integers(0, 200))
def test_cells_are_those_of_attempts_taken_in_one_by_one(
    some: list[tuple[float, float, int, int]], size: int, level: int, first: int
) -> None:
    view = begun(("a", len(some)))
    made = in_turn(some, size)
    view.apply([failed(a) if not bad else succeeded([a])
                for a, (_, _, bad, _) in zip(made, some, strict=True)])
    tracks = Tracks(view)
    tracks.seen(level, first, 100)
    while tracks.look():
        pass
    assert tracks.sight is not None
    for grid in (tracks.whole, tracks.sight):
        by_one = Grid(grid.origin, grid.width, grid.count)
        for i, a in enumerate(made):
            lane = tracks.workers.index(view.attempts.worker[i])
            by_one._add_one(lane, a.start, a.end, tracks._columns([i])[2][0])
        assert_same(grid, by_one)


@given(st.lists(st.tuples(st.floats(-9, 90), st.floats(0, 30)), max_size=60))
def test_cells_are_the_same_where_attempts_overlap(some: list[tuple[float, float]]) -> None:
    """Of very many at a time several share a lane."""
    together, by_one = Grid(BEGAN, 1.0, 64), Grid(BEGAN, 1.0, 64)
    starts, ends = [BEGAN + s for s, _ in some], [BEGAN + s + d for s, d in some]
    together.add(0, starts, ends, bytes([GOOD]) * len(some))
    for start, end in zip(starts, ends, strict=True):
        by_one._add_one(0, start, end, GOOD)
    assert_same(together, by_one)


def assert_same(grid: Grid, wanted: Grid) -> None:
    for found, cells in zip(grid.lanes, wanted.lanes, strict=False):
        found.reach(len(cells.worst))
        cells.reach(len(found.worst))
        assert list(found.busy) == pytest.approx(list(cells.busy), abs=1e-3)
        assert (found.worst, found.mark, found.begins) == (cells.worst, cells.mark, cells.begins)


def test_attempts_that_pass_within_a_cell_cost_no_step_each(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[float] = []
    monkeypatch.setattr(Grid, "_add_one", lambda self, lane, start, end, rank: steps.append(start))
    grid = Grid(BEGAN, 1.0, 8)
    starts = [BEGAN + i / 1024 for i in range(4096)]
    grid.add(0, starts, [s + 1 / 1024 for s in starts], bytes([GOOD]) * 4096)

    assert len(steps) == 4  # those that end where a cell does
    assert list(grid.lanes[0].begins) == [255] * 4


@given(turns, st.integers(1, 3))
def test_the_pace_is_the_same_however_often_it_is_read(
    some: list[tuple[float, float, int, int]], sections: int
) -> None:
    names = [("a", 1), ("b", 1), ("c", 1)][:sections]
    often, once = begun(*names), begun(*names)
    for i, a in enumerate(in_turn(some, 9)):
        a.tid = i // 40 % sections
        change = succeeded([a])
        often.apply([change])
        often.pace.read()
        once.apply([change])
    once.pace.read()

    for few, many in zip(often.pace.spans, once.pace.spans, strict=True):
        assert (few.first, few.last, sum(few.series.values)) == (
            many.first, many.last, sum(many.series.values))
