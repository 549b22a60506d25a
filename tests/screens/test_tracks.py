"""Lanes and cells: every attempt in one lane, every second in one cell, the worst on top."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import RunState, TaskState
from engine.core.events import RunMoved
from flowforge_tui import tracks as module
from flowforge_tui.model import RunView
from flowforge_tui.tracks import FAILED, GOOD, RETRIED, Grid, Tracks, width_of
from tests.screens.made import BEGAN, attempt, begun, failed, started, succeeded


def tracks_of(view: RunView) -> Tracks:
    made = Tracks(view)
    while made.look():
        pass
    return made


spans = st.lists(st.tuples(st.floats(0, 90), st.floats(0, 30)), min_size=1, max_size=60)


def run_of(some: list[tuple[float, float]], worker: int | None) -> RunView:
    view = begun(("a", len(some)))
    made = [attempt(i, s, d, worker=worker) for i, (s, d) in enumerate(some)]
    view.apply([succeeded([a]) for a in sorted(made, key=lambda a: a.end)])
    return view


# -- lanes --------------------------------------------------------------------------------------


def test_a_lane_is_a_worker() -> None:
    view = begun(("a", 6))
    view.apply([succeeded([attempt(i, i, 1.0, worker=i % 3) for i in range(6)])])
    tracks = tracks_of(view)

    assert [tracks.workers[lane] for lane in tracks.order()] == [0, 1, 2]
    assert [[view.attempts.tid[i] for i in lane] for lane in tracks.lanes] == [
        [0, 3], [1, 4], [2, 5]]


@given(spans, st.sampled_from([None, 0]))
def test_attempts_of_one_lane_never_overlap(
    some: list[tuple[float, float]], worker: int | None
) -> None:
    view = run_of(some, worker)
    tracks, log = tracks_of(view), view.attempts

    assert sorted(i for lane in tracks.lanes for i in lane) == list(range(len(some)))
    for lane in tracks.lanes:
        for before, after in zip(lane, list(lane)[1:]):
            assert log.end[before] <= log.start[after]


@given(spans)
def test_no_more_lanes_than_a_few_over_what_ran_at_a_time(some: list[tuple[float, float]]) -> None:
    tracks = tracks_of(run_of(some, None))
    moments = [BEGAN + s for s, _ in some]
    log = tracks.view.attempts
    at_once = max(
        sum(log.start[i] <= m and (m < log.end[i] or m == log.start[i])
            for i in range(len(some))) for m in moments)

    assert len(tracks) <= 2 * at_once


def test_very_many_at_a_time_share_the_lanes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PACKED", 4)
    tracks = tracks_of(run_of([(i / 100, 50.0) for i in range(40)], 0))

    assert len(tracks) == 5
    assert sum(map(len, tracks.lanes)) == 40


def test_what_runs_has_a_lane_of_its_own() -> None:
    view = begun(("a", 9))
    view.apply([succeeded([attempt(0, 0, 1.0, worker=0), attempt(1, 0, 1.0, worker=1)]),
                started([attempt(2, 2, worker=0), attempt(3, 2, worker=1),
                         attempt(4, 3, worker=None), attempt(5, 3, worker=0)])])
    running = tracks_of(view).running()

    assert {r.tid: r.lane for r in running[:2]} == {2: 0, 3: 1}
    assert sorted(r.tid for r in running) == [2, 3, 4, 5]
    assert len({r.lane for r in running}) == 4


# -- cells ---------------------------------------------------------------------------------------


@given(spans)
def test_busy_seconds_are_kept_whatever_the_width(some: list[tuple[float, float]]) -> None:
    tracks = tracks_of(run_of(some, None))
    work = sum(d for _, d in some)

    assert sum(sum(c.busy) for c in tracks.whole.lanes) == pytest.approx(work, rel=1e-3, abs=1e-3)
    for level in (-4, -1, 0, 3, 6):
        grid, at = tracks.seen(level, 0, 2_000)
        assert sum(sum(c.busy[at:]) for c in grid.lanes) == pytest.approx(
            work, rel=1e-3, abs=1e-3)


@given(spans, st.integers(-3, 6), st.integers(0, 20))
def test_coarse_cells_made_of_fine_ones_are_those_made_of_attempts(
    some: list[tuple[float, float]], level: int, first: int
) -> None:
    view = run_of(some, None)
    tracks = tracks_of(view)
    grid, at = tracks.seen(level, first, 16)
    direct = Grid(tracks.origin, width_of(level), 1_000_000)
    for lane, indexes in enumerate(tracks.lanes):
        for i in indexes:
            direct.add(lane, [view.attempts.start[i]], [view.attempts.end[i]], bytes([GOOD]))

    for lane, cells in enumerate(direct.lanes):
        want = list(cells.busy[first:first + 16]) + [0.0] * 16
        found = list(grid.lanes[lane].busy[at:at + 16]) + [0.0] * 16
        assert found[:16] == pytest.approx(want[:16], abs=1e-3)


def test_the_worst_of_a_cell_shows_and_where_it_ended() -> None:
    view = begun(("a", 99))
    view.apply([
        succeeded([attempt(i, i / 100, 0.005) for i in range(50)]),
        failed(attempt(50, 0.6, 2.6), due=9), succeeded([attempt(51, 3.3, 0.1)]),
        failed(attempt(52, 3.5, 0.1)),
    ])
    tracks = tracks_of(view)
    grid, at = tracks.seen(0, 0, 10)
    cells = grid.lanes[0]

    assert list(cells.worst[at:at + 4]) == [RETRIED, RETRIED, RETRIED, FAILED]
    assert list(cells.mark[at:at + 4]) == [0, 0, 0, FAILED]
    assert list(cells.begins[at:at + 4]) == [51, 0, 0, 2]


def test_news_reach_the_cells_in_sight() -> None:
    view = begun(("a", 99))
    view.apply([succeeded([attempt(0, 0, 0.5)])])
    tracks = tracks_of(view)
    grid, at = tracks.seen(0, 0, 10)
    view.apply([failed(attempt(1, 4.2, 0.5))])
    tracks.look()

    assert tracks.seen(0, 0, 10) == (grid, at)
    assert grid.lanes[0].worst[at + 4] == FAILED


def test_a_long_run_widens_the_cells_and_loses_nothing() -> None:
    view = begun(("a", 99))
    view.apply([succeeded([attempt(i, i * 1_000.0, 500.0) for i in range(60)])])
    tracks = tracks_of(view)

    assert len(tracks.whole.lanes[0].worst) <= 4_096
    assert sum(tracks.whole.lanes[0].busy) == pytest.approx(30_000)
    assert sum(tracks.whole.lanes[0].begins) == 60


@given(st.floats(0.001, 1e6), st.integers(1, 300))
def test_the_whole_session_fits_and_fills_most_of_the_room(span: float, cells: int) -> None:
    tracks = Tracks(begun(("a", 1)))
    level = tracks.fitting(BEGAN + span, cells)
    span = max(span, 1 / 64)

    assert width_of(level) * cells >= span
    assert width_of(level - 1) * cells < span * 1.01


def test_only_the_time_in_sight_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    view = begun(("a", 20_000))
    view.apply([succeeded([attempt(i, i / 100, 0.005) for i in range(20_000)])])
    tracks = tracks_of(view)
    added: list[float] = []
    monkeypatch.setattr(Grid, "add", lambda self, lane, starts, ends, ranks: added.extend(starts))

    tracks.seen(-12, 3_000, 50)

    assert 0 < len(added) <= 100 * 100 * width_of(-12) + 2
    assert min(added) >= BEGAN + (3_000 - 26) * width_of(-12) - 0.01


def test_the_attempt_at_a_moment_is_the_worst_of_them() -> None:
    view = begun(("a", 9))
    view.apply([succeeded([attempt(0, 0, 1.0)]), failed(attempt(1, 1.2, 0.1)),
                succeeded([attempt(2, 1.4, 0.1)])])
    tracks = tracks_of(view)

    def at(start: float, end: float) -> int | None:
        i = tracks.attempt_at(0, BEGAN + start, BEGAN + end)
        return None if i is None else view.attempts.tid[i]

    assert at(0.2, 0.3) == 0
    assert at(1.0, 2.0) == 1
    assert at(1.35, 2.0) == 2
    assert at(5, 6) is None
    assert tracks.attempt_at(7, BEGAN, BEGAN + 1) is None


def test_failures_are_found_in_the_order_of_time() -> None:
    view = begun(("a", 9))
    view.apply([failed(attempt(0, 0, 1.0, worker=0)), failed(attempt(1, 1, 1.0, worker=1)),
                succeeded([attempt(2, 2, 0.5)])])
    tracks = tracks_of(view)

    assert tracks.failure_from(BEGAN, 1) == (0, BEGAN + 1)
    assert tracks.failure_from(BEGAN + 1.5, 1) == (1, BEGAN + 2)
    assert tracks.failure_from(BEGAN + 1.5, -1) == (0, BEGAN + 1)
    assert tracks.failure_from(BEGAN + 3, 1) is None
    assert tracks.failure_from(BEGAN, -1) is None


def test_another_session_begins_its_lanes_anew() -> None:
    view = begun(("a", 9))
    view.apply([succeeded([attempt(0, 0, 1.0)]), RunMoved(RunState.FAILED, "", BEGAN + 2)])
    tracks = tracks_of(view)
    assert not tracks.stale
    view.apply([RunMoved(RunState.RUNNING, "", BEGAN + 5_000), succeeded([attempt(1, 5_001, 1.0)])])

    assert tracks.stale
    assert [len(lane) for lane in tracks_of(view).lanes] == [1]
    assert view.state_of(0) is TaskState.SUCCESS
