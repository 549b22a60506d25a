"""The past: the view at every moment is the one that was there at that moment."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from engine import RunState, TaskState
from engine.core.events import Expanded, Moved, Reset, RunMoved
from engine.runtime.outline import MapOutline
from flowforge_tui import history
from flowforge_tui.history import Past, Travel
from flowforge_tui.model import RunView
from tests.core.test_machine_stateful import graphs
from tests.screens.made import BEGAN, attempt, begun, failed, shape, started, succeeded
from tests.screens.test_model import ViewMachine, Watched


def picture(view: RunView) -> dict[str, Any]:
    """All that a view tells."""
    log = view.attempts
    told = {name: getattr(view, name) for name in (
        "spread", "generation", "errors", "why", "due", "worker", "tries", "totals", "counts",
        "hot", "run_state", "run_why", "began", "ended", "latest", "session")}
    columns = {name: bytes(memoryview(getattr(view, name)).cast("B")) for name in (
        "state", "number", "start", "end", "node", "section")}
    attempts = [log.tid, log.number, log.start, log.end, log.state, log.worker]
    return {**copy.deepcopy(told), **columns, "log": [list(column) for column in attempts]}


class TravelMachine(ViewMachine):
    """Every step of a run is remembered, and travelled to at the end."""

    @initialize(built=graphs(), stop=st.just("continue"))
    def begin(self, built, stop):
        graph, sizes = built
        self.pictures: list[dict[str, Any]] = []
        self.d = Watched(graph, sizes, limits={"gpu": 2}, on_failure=stop)
        self.past = Past(self.d.view)
        self.d.start()

    @invariant()
    def remember(self):
        if hasattr(self, "d"):
            while len(self.pictures) < len(self.past):
                self.pictures.append({})  # several steps in one go: only the last can be seen
            if self.pictures:
                self.pictures[-1] = picture(self.d.view)

    def teardown(self):
        if not hasattr(self, "d"):
            return
        travel = Travel(self.past)
        steps = list(range(len(self.pictures)))
        for step in [*reversed(steps), *steps, *steps[::3], *steps[::-2]]:
            travel.by_steps(step - travel.step)
            if self.pictures[step]:
                assert picture(travel.view()) == self.pictures[step]
        travel.by_steps(-len(steps) - 1)
        assert picture(travel.view()) == picture(RunView(self.d.shape))
        super().teardown()


TestTravel = TravelMachine.TestCase
TestTravel.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None,
    suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def copies_close_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_NEAR", 5)


def lived(view: RunView) -> tuple[Past, list[dict[str, Any]]]:
    """A run of 40 tasks with all that can happen, and what its view was after each step."""
    past, pictures = Past(view), []
    for changes in (
        [RunMoved(RunState.RUNNING, "", BEGAN)],
        [Expanded(1, 42, 10, None, None, ())],
        [Moved([3, 5, 6], TaskState.QUEUED, -1, ""), started([attempt(2, 1), attempt(3, 1)])],
        [succeeded([attempt(i, 2, 0.5) for i in range(5, 20)]), failed(attempt(2, 1, 2), due=9),
         succeeded([attempt(20, 3, 0.1)])],
        [succeeded([attempt(42, 4, 0.1), attempt(44, 4, 0.2)])],
        [succeeded([attempt(2, 9, 1.0, number=2)])],
        [Reset([5, 6], [5], "rerun"), RunMoved(RunState.PAUSED, "", BEGAN + 11)],
        [RunMoved(RunState.RUNNING, "", BEGAN + 12), succeeded([attempt(5, 12, 1.0)])],
        [failed(attempt(30, 13, 1.0)), Moved([31], TaskState.UPSTREAM_FAILED, 30, "30 failed")],
        [RunMoved(RunState.FAILED, "", BEGAN + 20)],
    ):
        view.apply(changes)
        pictures.append(picture(view))
    return past, pictures


MAPS = {1: MapOutline((0,), (), (), b"", False, False)}


def made() -> RunView:
    return RunView(shape(("a", 41), ("m", 1), maps=MAPS))


def test_every_step_can_be_gone_to_from_any_other() -> None:
    past, pictures = lived(made())
    travel = Travel(past)
    for here in range(len(pictures)):
        for there in range(len(pictures)):
            for step in (here, there):
                travel.by_steps(step - travel.step)
                assert picture(travel.view()) == pictures[step]


def test_forwards_it_is_the_same_object_and_backwards_another() -> None:
    travel = Travel(lived(made())[0])
    travel.by_steps(-4)
    view = travel.view()
    travel.by_steps(1)
    assert travel.view() is view
    travel.by_steps(-1)
    assert travel.view() is not view


def test_moments_fractions_and_leaps() -> None:
    past, pictures = lived(made())
    travel = Travel(past)
    assert travel.fraction == 1.0

    travel.to_fraction(0.5)
    assert travel.moment == BEGAN + 10
    assert picture(travel.view()) == pictures[5]
    travel.leap(-2)
    assert travel.moment == pytest.approx(BEGAN + 8)
    travel.leap(100)
    assert travel.fraction == 1.0
    travel.to_fraction(0)
    assert travel.moment == BEGAN
    travel.by_steps(-5)
    assert travel.step == -1
    assert travel.fraction == 0.0
    assert picture(travel.view()) == picture(made())


def test_the_run_goes_on_while_somebody_looks_back() -> None:
    view = made()
    past, pictures = lived(view)
    travel = Travel(past)
    travel.by_steps(-5)
    travel.view()
    view.apply([RunMoved(RunState.RUNNING, "", BEGAN + 30), succeeded([attempt(33, 31, 1.0)])])

    assert travel.fraction < 1.0
    assert picture(travel.view()) == pictures[-6]
    travel.by_steps(99)
    assert picture(travel.view()) == picture(view)
    assert travel.fraction == 1.0


def test_the_live_view_is_never_touched() -> None:
    view = made()
    past, pictures = lived(view)
    travel = Travel(past)
    for n in range(11):
        travel.to_fraction(n / 10)
        seen = travel.view()
        seen.apply([failed(attempt(35, 50, 1.0)), Reset([7], [7], "")])
    assert picture(view) == pictures[-1]


def test_the_past_of_a_run_that_is_carried_on_begins_with_the_session() -> None:
    view = begun(("a", 9))
    view.apply([succeeded([attempt(0, 1, 1.0)]), RunMoved(RunState.INTERRUPTED, "", BEGAN + 3)])
    before = picture(view)
    past = Past(view)
    view.apply([RunMoved(RunState.RUNNING, "", BEGAN + 1_000)])
    view.apply([succeeded([attempt(1, 1_001, 1.0)])])
    travel = Travel(past)

    travel.to_fraction(0.0)
    assert travel.moment == BEGAN + 1_000
    travel.by_steps(-1)
    assert picture(travel.view()) == before


def test_what_is_kept_holds_none_of_the_engines_objects() -> None:
    view = made()
    past = Past(view)
    bad = attempt(3, 1, 1.0)
    change = failed(bad)
    bad.exception = ValueError("large")
    view.apply([change, started([attempt(4, 2)]), Moved([1, 2, 3], TaskState.QUEUED, -1, "")])

    kept = [told for _, told in past._others]
    assert kept[0].attempt is not bad
    assert not hasattr(kept[0].attempt, "exception")
    assert not hasattr(kept[1], "attempts")
    assert kept[2].tids == range(1, 4)


def test_failures_between_moments() -> None:
    past, _ = lived(made())

    assert past.failures(BEGAN, BEGAN + 13) == 0
    assert past.failures(BEGAN + 13.5, BEGAN + 15) == 1
    assert list(past.failed) == [BEGAN + 14]


def test_a_new_name_in_the_middle_is_part_of_the_past() -> None:
    view = made()
    past = Past(view)
    view.apply([RunMoved(RunState.RUNNING, "", BEGAN)])
    view.reshape(shape(("renamed", 41), ("m", 1), maps=MAPS))
    view.apply([succeeded([attempt(3, 1, 1.0)])])
    travel = Travel(past)

    assert travel.view().name_of(3) == "renamed-3"
    travel.by_steps(-2)
    assert travel.view().name_of(3) == "a-3"


def test_a_step_costs_what_lies_between_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_NEAR", 100)
    view = begun(("a", 5_000))
    past = Past(view)
    for i in range(0, 5_000, 10):
        view.apply([succeeded([attempt(k, k, 1.0) for k in range(i, i + 10)])])
    travel = Travel(past)
    travel.view()
    folded: list[int] = []
    between = past.between
    monkeypatch.setattr(past, "between", lambda a, b: folded.append(b - a) or between(a, b))

    travel.to_fraction(0.37)
    travel.view()

    assert sum(folded) <= 2 * 500 // history._COPIES + 2
    assert len(travel._copies) <= 2 * history._COPIES + 2


def test_a_task_that_is_tried_for_ever_is_shown_and_looked_back_on() -> None:
    view = begun(("poll", 2))
    past = Past(view)
    tries = 70_000
    again = attempt(0, 1, 1.0, number=tries)
    view.apply([started([attempt(0, 1, number=tries)])])
    view.apply([failed(again, due=3.0)])
    view.apply([succeeded([attempt(0, 3, 1.0, number=tries + 1), attempt(1, 1)])])
    assert list(view.number) == [tries + 1, 1]
    travel = Travel(past)
    assert list(travel.view().number) == [tries + 1, 1]
    travel.by_steps(-1)
    assert travel.view().number[0] == tries
