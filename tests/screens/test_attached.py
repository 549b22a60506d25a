"""A run that another process owned: what the screen says of it once nobody owns it any more."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from engine import RunState
from engine.runtime.control import ANSWER_SECONDS
from flowforge_tui.attached import StoredFeed
from flowforge_tui.details import load
from tests.cli.flows import Place
from tests.golden.test_golden import VERSIONS, Golden
from tests.screens.conftest import Open


@pytest.mark.parametrize("version", VERSIONS)
def test_a_killed_run_is_interrupted_however_much_was_left_to_read_when_its_owner_went(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = Golden(tmp_path, version, "killed")
    feed = StoredFeed(golden.home, "latest")
    monkeypatch.setattr(
        feed._follower, "poll", lambda poll=feed._follower.poll: poll(1))
    feed.behind = False  # it was read to its end before, and its owner was there
    feed._owned = True
    while feed.poll():
        """One row at a time: an editor had the terminal while the owner wrote them, and went."""
    assert not feed.live
    assert feed.view.run_state is RunState.INTERRUPTED
    feed.close()


def test_details_asked_for_while_another_graph_is_taken_in_are_missing_not_a_fault(
    tmp_path: Path,
) -> None:
    golden = Golden(tmp_path, VERSIONS[-1], "failed")
    seen, newer = (StoredFeed(golden.home, "latest") for _ in range(2))
    while seen.poll():
        """Until all of it is in the view."""
    # `newer` knows nothing of these ids yet, as a feed that has just begun with a smaller graph.
    found = load(newer, seen.view, seen.view.shape.size - 1)
    assert found.trouble == ("the run changed while this was looked up",)
    assert (found.inputs, found.output) == ({}, "")
    seen.close()
    newer.close()


def test_an_owner_that_sleeps_does_not_keep_the_screen_from_being_left(
    terminal: Open, place: Place
) -> None:
    owner = place.start("run", "gate.py", "--headless")
    place.wait_for("waiting")
    try:
        screen = terminal("attach", columns=120, rows=40)
        screen.wait("RUNNING")
        owner.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        screen.press("(", "q")  # what `(` asks for nobody answers; it may still be done later
        assert screen.end() == 0
        assert time.monotonic() - began < ANSWER_SECONDS / 2
        assert screen.restored and "it goes on" in screen.outside
    finally:
        owner.send_signal(signal.SIGCONT)
        (place.path / "go").touch()
    assert owner.wait(60) == 0
