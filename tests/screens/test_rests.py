"""The time that a run is said to take is the time that it ran."""

from __future__ import annotations

from typing import Any

import pytest

from engine import RunState, task, workflow
from engine.core.events import RunMoved
from engine.runtime.history import pack_history, unpack_history
from engine.runtime.stored import list_runs, open_stored
from flowforge_tui.attached import StoredFeed
from flowforge_tui.details import run_facts
from flowforge_tui.model import RunView
from tests.runtime.harness import Bench, die, first, note
from tests.screens.made import BEGAN, attempt, begun, started, succeeded

HOUR = 3_600.0


def moved(state: RunState, at: float) -> RunMoved:
    return RunMoved(state, "", BEGAN + at)


def half_done() -> RunView:
    """One of two has succeeded within ten seconds."""
    view = begun(("work", 2))
    view.apply([succeeded([attempt(0, 0.0, 10.0)])])
    return view


@pytest.mark.parametrize("state", [RunState.INTERRUPTED, RunState.FAILED, RunState.SUCCESS])
def test_the_hours_between_an_end_and_going_on_do_not_count(state: RunState) -> None:
    view = half_done()
    view.apply([moved(state, 10)])
    assert view.elapsed(BEGAN + HOUR) == 10
    view.apply([moved(RunState.RUNNING, HOUR), started([attempt(1, HOUR)])])
    assert view.elapsed(BEGAN + HOUR + 5) == 15
    view.pace.read()
    assert view.pace.elapsed([0], BEGAN + HOUR + 5) == 15
    assert view.session == BEGAN + HOUR
    view.apply([succeeded([attempt(1, HOUR, 7.0)]), moved(RunState.SUCCESS, HOUR + 7)])
    view.pace.read()
    assert view.elapsed(BEGAN + 2 * HOUR) == view.pace.elapsed([0], BEGAN + 2 * HOUR) == 17


def test_a_killed_owner_counts_until_it_was_last_heard_of() -> None:
    view = half_done()
    view.apply([started([attempt(1, 12.0)])])
    view.apply([moved(RunState.RUNNING, HOUR)])  # the next session's
    assert view.elapsed(BEGAN + HOUR + 1) == 13


def test_a_pause_is_time_of_the_run() -> None:
    view = half_done()
    view.apply([moved(RunState.PAUSED, 10), moved(RunState.RUNNING, HOUR)])
    assert view.elapsed(BEGAN + HOUR) == HOUR and view.rests == []


def test_a_copy_that_goes_on_by_itself_leaves_the_first_alone() -> None:
    view = half_done()
    view.apply([moved(RunState.FAILED, 10)])
    copy = view.copied(len(view.attempts))
    copy.apply([moved(RunState.RUNNING, HOUR)])
    assert (len(copy.rests), len(view.rests)) == (1, 0)


def test_what_is_told_of_a_run_says_how_long_it_ran() -> None:
    class Ended(StoredFeed):
        about: Any = {}

        def __init__(self) -> None:
            super(StoredFeed, self).__init__()
            self.run_id, self.view = "20330518-033320-8f3a", half_done()

    feed = Ended()
    feed.view.apply([moved(RunState.FAILED, 10), moved(RunState.RUNNING, HOUR),
                     moved(RunState.FAILED, HOUR + 10)])
    facts = dict(run_facts(feed))
    assert (facts["ended"], facts["ran"]) == ("1 h 0 min later", "20 s of that")


def flow() -> Any:
    @task
    def one():
        note("one")

    @task
    def other(x):
        note("other")
        if first("dies"):
            die()
        if first("fails"):
            raise ValueError("not yet")

    @workflow
    def rested():
        other(one())

    return rested


def test_the_record_and_whoever_reads_along_know_the_same(bench: Bench) -> None:
    bench.killed(flow(), executor="sequential")
    assert str(bench.run(flow(), executor="sequential").state) == "FAILED"
    assert str(bench.run(flow(), executor="sequential").state) == "SUCCESS"
    history = open_stored(bench.folder / "home", "latest").history
    rests = history.record.rests
    (listed,) = list_runs(bench.folder / "home")
    between = sum(until - since for since, until in rests)
    whole = listed.updated - listed.created
    assert whole - between - 0.001 <= listed.took < whole  # what a session takes to begin counts
    assert len(rests) == 2 and all(since <= until for since, until in rests)
    assert unpack_history(history.seq, pack_history(history)).record.rests == rests
    feed = StoredFeed(bench.folder / "home", "latest")
    while feed.poll():
        """Until all of it is in the view."""
    assert feed.view.rests == rests
    assert RunView.of_record(feed.view.shape, history.record).rests == rests
    feed.close()
