"""A run hosted for a screen: what it is told before it has begun counts, and how it is left."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from engine import task, workflow
from engine.errors import FlowForgeError
from engine.runtime.request import PlanRefused, Request, requested
from engine.runtime.stored import open_stored
from flowforge_tui import exits, onscreen
from flowforge_tui.feed import LiveFeed
from flowforge_tui.hosting import Host
from tests.runtime.harness import Bench, first, note
from tests.waiting import wait_for

PATIENCE = 30.0


def two() -> Any:
    """The second fails at its first try."""
    @task
    def one():
        note("one")
        return 1

    @task
    def other(x):
        note("other")
        if first("other"):
            raise ValueError("not yet")
        return x + 1

    @workflow
    def flow():
        return other(one())

    return flow


def host_of(bench: Bench, wf: Any, **more: Any) -> Host:
    def work(feed: LiveFeed) -> Any:
        request = Request()
        feed.prepare(request)
        with requested(request):
            try:
                return wf.options(**bench.options(**more)).run()
            except PlanRefused:
                return None

    return Host(work)


@pytest.mark.parametrize("executor", ["thread", "process", "sequential"])
def test_stopped_before_it_begins_it_starts_nothing_and_can_be_resumed(
    bench: Bench, executor: str
) -> None:
    host = host_of(bench, two(), executor=executor)
    host.stop(2)
    host.start()
    assert host.join(PATIENCE) and host.error is None and host.run is not None
    assert str(host.run.state) == "INTERRUPTED"
    assert bench.ledger.new() == []
    assert str(bench.run(two(), executor=executor).state) == "FAILED"


def test_stopped_before_its_plan_is_there_it_is_left_as_it_was(bench: Bench) -> None:
    assert str(bench.run(two()).state) == "FAILED"
    host = host_of(bench, two())
    host.stop(1)
    host.start()
    assert host.join(PATIENCE) and (host.error, host.run) == (None, None)
    assert bench.ledger.new() == ["one", "other"]
    assert len(open_stored(bench.folder / "home", "latest").history.sessions) == 1
    assert onscreen._after(host, host.feed, None, None, unicode=True) == exits.INTERRUPTED


def test_told_in_lines_before_it_begins_it_is_told_from_its_beginning(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    host = host_of(bench, two())
    host.feed.tell_on_in_lines()
    host.feed.close()
    host.start()
    assert host.join(PATIENCE) and host.error is None
    told = capsys.readouterr().err
    assert host.feed.run_id in told and "not yet" in told


def test_left_at_once_with_a_task_that_does_not_end_it_is_told_as_interrupted(
    bench: Bench,
) -> None:
    go = threading.Event()

    @task
    def hangs():
        note("hangs")
        go.wait(PATIENCE)

    @workflow
    def flow():
        hangs()

    host = host_of(bench, flow, executor="sequential")
    host.start()
    bench.ledger.until("hangs")
    try:
        host.stop(3)
        assert onscreen._after(host, host.feed, None, None, unicode=True) == exits.INTERRUPTED
        assert not host.ended
    finally:
        go.set()
    assert host.join(PATIENCE)


def test_what_is_written_before_and_behind_the_run_harms_nothing(bench: Bench) -> None:
    host = host_of(bench, two())
    host.feed.stray("out", "before\n")
    host.start()
    wait_for(lambda: _state(bench) == "FAILED", "the run to end")
    host.close()
    assert host.join(PATIENCE)
    host.feed.stray("out", "behind\n")


def _state(bench: Bench) -> str:
    try:
        return str(open_stored(bench.folder / "home", "latest").record.run_state)
    except FlowForgeError:
        return "not there yet"


def test_what_is_printed_while_the_screen_is_being_made_harms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []

    class Loud:
        """A terminal in which another thread prints at once, and again when the app is there."""

        def __init__(self, hear: Any) -> None:
            self.hear = hear

        def __enter__(self) -> Loud:
            self.hear("out", "early")
            return self

        def __exit__(self, *_: object) -> None:
            self.hear("out", "late")

    class Shown:
        host = feed = fault = signal = None

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def run(self) -> None: ...

        def hear(self, stream: str, text: str) -> None:
            heard.append(text)

    monkeypatch.setattr("flowforge_tui.terminal.Terminal", Loud)
    monkeypatch.setattr("flowforge_tui.app.FlowForgeApp", Shown)
    assert onscreen._show(lambda: None) == exits.SUCCESS  # type: ignore[arg-type, return-value]
    assert heard == ["late"]
