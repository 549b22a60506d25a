"""Runs listed again and again: only what may have changed is read, and nothing is missed."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from engine import task, workflow
from engine.runtime import stored
from engine.runtime.stored import Listing
from engine.state.home import Home
from tests.runtime.harness import Bench, first, note, wait_for


def flow() -> Any:
    @task
    def fails_once():
        note("fails_once")
        if first("fails_once"):
            raise ValueError("not yet")

    @workflow
    def listed():
        fails_once()

    return listed


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were read, as they are."""
    found: list[str] = []
    entry = Home.entry

    def watched(self: Home, run_id: str) -> Any:
        found.append(run_id)
        return entry(self, run_id)

    monkeypatch.setattr(Home, "entry", watched)
    return found


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written counts as old at once: no test is within a tick of the clock."""
    monkeypatch.setattr(stored, "_FRESH", -1e9)


def states(listing: Listing) -> list[str]:
    return [str(run.state) for run in listing.look()]


@pytest.mark.usefixtures("settled")
def test_a_run_that_has_not_changed_is_read_once(bench: Bench, read: list[str]):
    bench.run(flow())
    listing = Listing(bench.folder / "home")
    wait_for(lambda: states(listing) == ["FAILED"], "the run to be listed")
    del read[:]
    assert states(listing) == states(listing) == ["FAILED"]
    assert read == []


@pytest.mark.usefixtures("settled")
def test_what_changes_comes_and_goes_is_seen(bench: Bench):
    bench.run(flow())
    listing = Listing(bench.folder / "home")
    assert states(listing) == ["FAILED"]
    bench.run(flow())  # carries it on
    assert states(listing) == ["SUCCESS"]
    bench.run(flow())
    assert states(listing) == ["SUCCESS", "SUCCESS"]
    shutil.rmtree(bench.run_dirs[0])
    assert len(states(listing)) == 1


def test_what_was_just_written_is_read_again(
    bench: Bench, read: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stored, "_FRESH", 1e9)
    bench.run(flow())
    listing = Listing(bench.folder / "home")
    assert states(listing) == states(listing) == ["FAILED"]
    assert len(read) >= 2


@pytest.mark.usefixtures("settled")
def test_an_owner_that_is_gone_without_a_word_is_missed(bench: Bench):
    @task
    def waits():
        import time

        note("waits")
        time.sleep(600)

    @workflow
    def long():
        waits()

    session = bench.start(long)
    bench.ledger.until("waits")
    listing = Listing(bench.folder / "home")
    assert states(listing) == ["RUNNING"]
    session.signal(9)
    session.ended()
    assert states(listing) == ["INTERRUPTED"]
