"""The figures of a run: right, honest about what is not known, and cheap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import RunState, TaskState
from engine.core.events import Expanded, Moved, RunMoved
from engine.core.record import RunRecord
from engine.front import Durations
from engine.runtime.outline import MapOutline
from flowforge_tui import figures as module
from flowforge_tui.figures import Figures, histogram
from flowforge_tui.model import RunView
from tests.screens.made import BEGAN, attempt, begun, failed, shape, started, succeeded

OVER = MapOutline((0,), (), (), b"", False, False)
ALONG = MapOutline((1,), (1,), (), b"", False, False)


def figures_of(view: RunView) -> Figures:
    found = Figures(view)
    while found.look():
        pass
    return found


def test_durations_are_kept_by_section_and_in_all() -> None:
    view = begun(("a", 4), ("b", 4))
    view.apply([succeeded([attempt(0, 0, 1.0), attempt(4, 0, 8.0), attempt(1, 1, 1.0)])])

    found = figures_of(view)

    assert found.durations.count == 3
    assert found.durations.longest == 8.0
    assert found.sections[0].durations.count == 2
    assert found.sections[0].durations.mean == pytest.approx(1.0)
    assert found.sections[1].durations.longest == pytest.approx(8.0)
    assert found.used == pytest.approx(10.0)


def test_failures_use_workers_but_are_no_measure_of_the_task() -> None:
    view = begun(("a", 4))
    view.apply([
        failed(attempt(0, 0, 30.0, worker=2), due=40), succeeded([attempt(1, 0, 1.0, worker=3)]),
        failed(attempt(0, 40, 30.0, number=2, worker=2)),
    ])

    found = figures_of(view)

    assert (found.failures, found.retries) == (2, 1)
    assert found.sections[0].failures == 2
    assert found.durations.longest == pytest.approx(1.0)
    assert found.used == pytest.approx(61.0)


def test_retries_that_a_record_tells_of_only_by_number_count() -> None:
    view = begun(("a", 4))
    view.apply([
        succeeded([attempt(0, 0, 1.0, number=3)]), failed(attempt(1, 0, 1.0), due=2),
        succeeded([attempt(1, 2, 1.0, number=2)]),
    ])

    assert figures_of(view).retries == 3


def test_an_attempt_that_never_ran_took_no_time() -> None:
    view = begun(("a", 2))
    never = attempt(0, 0)
    never.start = never.end = 0.0
    view.apply([succeeded([attempt(1, 0, 2.0)]), failed(never)])

    found = figures_of(view)

    assert found.used == pytest.approx(2.0)
    assert found.failures == 1


@given(st.lists(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 50)), max_size=20), max_size=8))
def test_looking_often_is_the_same_as_looking_once(
    batches: list[list[tuple[int, float]]]
) -> None:
    view = begun(("a", 1), ("b", 1), ("c", 1))
    often = Figures(view)
    for batch in batches:
        view.apply([succeeded([attempt(tid, 1.0, s) for tid, s in batch])])
        often.look()
    once = figures_of(view)

    assert often.durations.buckets() == once.durations.buckets()
    assert often.used == pytest.approx(once.used)
    assert {p: f.durations.buckets() for p, f in often.sections.items()} == {
        p: f.durations.buckets() for p, f in once.sections.items()}
    assert sum(often.rates(50, BEGAN + 60).values) == pytest.approx(
        sum(once.rates(50, BEGAN + 60).values))


def test_a_look_takes_a_bounded_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    view = begun(("a", 25))
    view.apply([succeeded([attempt(i, i) for i in range(25)])])
    found = Figures(view)

    assert [found.look(), found.look(), found.look(), found.look()] == [True, True, False, False]
    assert found.durations.count == 25


# -- throughput -------------------------------------------------------------------------------


def test_the_rate_is_that_of_the_last_seconds() -> None:
    view = begun(("a", 1000))
    view.apply([succeeded([attempt(i, i / 100, 0.01) for i in range(1000)])])
    found = figures_of(view)

    assert found.rate(BEGAN + 10) == pytest.approx(100, rel=0.02)
    assert found.rate(BEGAN + 12) == pytest.approx(60, rel=0.02)
    assert found.rate(BEGAN + 60) == 0


def test_of_a_run_that_is_over_it_is_the_whole_runs() -> None:
    view = begun(("a", 100))
    view.apply([succeeded([attempt(i, i / 100, 0.01) for i in range(100)]),
                RunMoved(RunState.SUCCESS, "", BEGAN + 50)])

    assert figures_of(view).rate(BEGAN + 9_999) == pytest.approx(2.0)


def test_before_anything_is_known_there_is_no_rate() -> None:
    view = RunView(shape(("a", 1)))

    assert Figures(view).rate(BEGAN) is None
    assert Figures(begun(("a", 1))).rate(BEGAN + 0.01) is None
    assert Figures(begun(("a", 1))).eta(BEGAN + 5) is None


def test_throughput_over_time_keeps_the_sum_and_fits() -> None:
    view = begun(("a", 1000))
    view.apply([succeeded([attempt(i, 0, (i + 0.5) / 100) for i in range(1000)])])
    found = figures_of(view)

    rates = found.rates(16, BEGAN + 10)

    assert len(rates.values) <= 16
    assert rates.slot == pytest.approx(0.625)
    assert rates.values == pytest.approx([100] * len(rates.values), rel=0.03)
    assert found.rates(16, BEGAN + 20).values[-1] == 0


def test_a_session_that_carries_on_begins_its_throughput_anew() -> None:
    record = RunRecord(4)
    record.state[0] = TaskState.SUCCESS
    record.number[0], record.start[0], record.end[0] = 1, BEGAN, BEGAN + 1
    record.run_state, record.began, record.ended = RunState.INTERRUPTED, BEGAN, BEGAN + 2
    view = RunView.of_record(shape(("a", 4)), record)
    found = Figures(view)
    found.look()
    view.apply([RunMoved(RunState.RUNNING, "", BEGAN + 10_000),
                succeeded([attempt(1, 10_000, 2.0)])])
    found.look()

    rates = found.rates(100, BEGAN + 10_004)

    assert found.wall(BEGAN + 10_004) == pytest.approx(4.0)
    assert sum(rates.values) * rates.slot == pytest.approx(1.0)
    assert found.durations.count == 2, "durations of earlier sessions count all the same"


# -- the end of the run -----------------------------------------------------------------------


def half_done(*more: tuple[str, int]) -> RunView:
    """100 tasks of 2 s on four workers, half of them done after 25 s."""
    view = begun(("a", 100), *more)
    view.apply([succeeded([attempt(i, 2 * (i // 4), 2.0, worker=i % 4) for i in range(52)])])
    return view


def test_the_end_is_what_is_left_at_the_pace_so_far() -> None:
    assert figures_of(half_done()).eta(BEGAN + 26) == pytest.approx(24, rel=0.05)


def test_no_end_is_told_while_much_was_never_timed() -> None:
    assert figures_of(half_done(("b", 40))).eta(BEGAN + 26) is None
    assert figures_of(half_done(("b", 2))).eta(BEGAN + 26) == pytest.approx(25, rel=0.05)


def test_no_end_is_told_while_a_map_may_bring_any_number() -> None:
    view = begun(("a", 1), ("b", 1), ("c", 1), maps={1: OVER, 2: ALONG})
    view.apply([succeeded([attempt(0, 0, 1.0)])])

    assert figures_of(view).eta(BEGAN + 2) is None


def test_a_map_that_goes_along_with_another_has_its_size() -> None:
    view = begun(("a", 1), ("b", 1), ("c", 1), maps={1: OVER, 2: ALONG})
    view.apply([succeeded([attempt(0, 0, 0.1)]), Expanded(1, 3, 40, None, None, ())])
    view.apply([succeeded([attempt(3 + i, i / 10, 0.1) for i in range(30)])])
    found = figures_of(view)

    assert found._unexpanded() == {2: 39}
    assert found.eta(BEGAN + 3) is None, "c was never timed"


def test_a_paused_run_and_one_that_is_over_have_no_end_to_come() -> None:
    view = half_done()
    view.apply([RunMoved(RunState.PAUSED, "", BEGAN + 26)])
    assert figures_of(view).eta(BEGAN + 26) is None
    view.apply([RunMoved(RunState.FAILED, "", BEGAN + 27)])
    assert figures_of(view).eta(BEGAN + 27) is None


def test_the_last_task_is_not_shared_by_all_workers() -> None:
    view = begun(("a", 9))
    view.apply([succeeded([attempt(i, 10 * (i // 4), 10.0, worker=i % 4) for i in range(8)]),
                started([attempt(8, 20)])])

    assert figures_of(view).eta(BEGAN + 24) == pytest.approx(6, rel=0.2)


def test_a_retry_that_is_due_later_is_waited_for() -> None:
    view = half_done()
    view.apply([failed(attempt(99, 20, 1.0), due=500)])

    assert figures_of(view).eta(BEGAN + 26) == pytest.approx(474)


def test_queue_running_and_longest() -> None:
    view = begun(("a", 10), ("b", 10))
    view.apply([Moved(range(5, 10), TaskState.QUEUED, -1, ""),
                started([attempt(0, 5), attempt(1, 3)]), started([attempt(10, 4)])])
    found = figures_of(view)

    assert (found.queue, found.running) == (5, 3)
    assert found.longest(2) == [1, 10]


# -- histograms -------------------------------------------------------------------------------


@given(st.lists(st.floats(1e-7, 1e5), min_size=1), st.integers(1, 60))
def test_a_histogram_counts_everything_once(seconds: list[float], width: int) -> None:
    durations = Durations()
    durations.add(seconds)

    bins, low, high = histogram(durations, width)

    assert sum(bins) == pytest.approx(len(seconds))
    assert len(bins) == width
    assert 0 < low <= min(seconds) * 1.001
    assert high >= max(seconds) * 0.999


def test_there_is_no_histogram_of_nothing() -> None:
    assert histogram(Durations(), 10) == ([], 0.0, 0.0)
