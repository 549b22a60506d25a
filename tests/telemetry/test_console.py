"""The plain console, the run's lines in the workflow log, and the figures that both tell."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import Skip, TaskState, task, workflow
from engine.core.events import ErrorInfo
from engine.core.overview import Overview, sections_of
from engine.core.states import RunState
from engine.runtime.options import RunOptions
from engine.runtime.reporting import Several
from engine.runtime.request import Request, requested
from engine.telemetry import console as plain
from engine.telemetry import wording
from engine.telemetry.console import PlainConsole
from engine.telemetry.run_log import LINES_A_SECOND, RunLog
from engine.telemetry.workflow_log import WorkflowLog

STAMP = re.compile(r"^\d\d:\d\d:\d\d  ", re.MULTILINE)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(flow, reporter: Callable[[], object] | None = None, **parameters):
    """The run, and what a plain console told of it, without the time of day."""
    stream = io.StringIO()
    console = PlainConsole(stream) if reporter is None else reporter()
    with requested(Request(reporter=lambda output: console, options=RunOptions(workers=1))):
        run = flow.run(**parameters)
    return run, STAMP.sub("", stream.getvalue())


@task
def double(x):
    if x < 0:
        raise ValueError(f"no {x}\nand more")
    if x == 1000:
        raise Skip("a thousand")
    return 2 * x


@task
def total(xs):
    return sum(xs)


@workflow
def sums(xs: list[int]):
    return total(double.map(xs))


def test_a_success_is_two_lines():
    run, text = told(sums, xs=[1, 2, 3])
    first, last = text.splitlines()
    assert first == f"sums: run {run.run_id}, 2 tasks"
    assert re.fullmatch(r"SUCCESS in .+: 4 succeeded", last)


def test_a_failure_is_told_when_it_happens_and_again_at_the_end():
    run, text = told(sums, xs=[1, -2, 3])
    lines = text.splitlines()
    line = double.code.__code__.co_firstlineno + 3
    place = wording.place(ErrorInfo("", "", "", __file__, line))
    failure = f"✗ double[1]: ValueError: no -2 ({place})"
    assert lines[1] == failure
    assert lines[2].endswith("2 succeeded, 1 failed, 1 blocked")
    assert lines[3] == f"  {failure}"
    home = Path.cwd() / ".flowforge"
    assert lines[4].endswith(f"flowforge show {run.run_id} 'double[1]'")
    assert lines[5] == f"  try again: FLOWFORGE_HOME={home} flowforge retry {run.run_id}"


def test_a_storm_of_failures_is_summed_up():
    _, text = told(sums, xs=list(range(-500, 0)))
    lines = text.splitlines()
    assert len(lines) < 2 * plain.FAILURES_TOLD + 10
    assert f"  … and {500 - 10} more failed" in lines


def test_counts_come_seldom_and_seldomer():
    now = 0.0
    stream = io.StringIO()

    class Watched(PlainConsole):
        def changes(self, batch):
            nonlocal now
            now += 1.0
            super().changes([])  # what changes, is beside the point here
            super().changes(batch)

    console = Watched(stream, clock=lambda: now)
    told(sums, lambda: console, xs=[1])
    lines = stream.getvalue().count("done")
    for _ in range(3600):
        console.changes([])
    more = stream.getvalue().count("done") - lines
    # Every 5 s for 100 s, then every twentieth of the time, then once a minute.
    assert 95 <= more <= 115


def test_a_console_that_is_closed_is_silent_and_the_run_goes_on():
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    run, _ = told(sums, lambda: PlainConsole(Gone()), xs=[1, -1])
    assert run.state is RunState.FAILED


def test_a_stream_that_knows_only_ascii_gets_ascii():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    told(sums, lambda: PlainConsole(stream), xs=[-1])
    assert b"X double[0]: ValueError: no -1" in raw.getvalue()


def test_a_reporter_that_raises_keeps_no_news_from_the_others():
    class Broken:
        def __getattr__(self, name):
            def method(*args):
                raise RuntimeError(name)

            return method

    stream = io.StringIO()
    several = Several(Broken(), PlainConsole(stream))
    with pytest.raises(RuntimeError, match="say"):
        several.say("the disk is full")
    assert "the disk is full" in stream.getvalue()


# -- the workflow log --------------------------------------------------------------------------


def logged(xs: list[int]) -> list[str]:
    """The lines of the workflow log about a run, without time and run."""
    run, _ = told(sums, lambda: RunLog(WorkflowLog(Path("own.log"))), xs=xs)
    lines = Path("own.log").read_text("utf-8").splitlines()
    assert all(f" {run.run_id} " in line for line in lines)
    return [line.split(f" {run.run_id} ")[1] for line in lines]


def test_few_tasks_have_a_line_each():
    lines = logged([1, -1, 1000])
    assert lines[0] == "INFO sums begins: 2 tasks"
    assert "INFO double has 3 items" in lines
    assert any(line.startswith("INFO double[0] succeeded in ") for line in lines)
    failure = "ERROR double[1] failed, try 1: ValueError: no -1"
    assert any(line.startswith(failure) for line in lines)
    assert "INFO double[2] skipped: a thousand" in lines
    assert "INFO total blocked" in " ".join(lines)
    assert lines[-1].startswith("ERROR sums ended FAILED in ")


def test_a_burst_is_summed_up_by_task():
    lines = logged(list(range(1, 900)) + list(range(-300, 0)))
    assert len(lines) < 3 * LINES_A_SECOND
    counted = [re.match(r"INFO double: ([\d,]+) succeeded, ", line) for line in lines]
    single = sum(bool(re.match(r"INFO double\[\d+\] succeeded", line)) for line in lines)
    assert sum(int(m[1].replace(",", "")) for m in counted if m) + single == 899
    failed = sum(int(m[1]) for m in (re.match(r"INFO double: (\d+) failed", x) for x in lines) if m)
    alone = sum(bool(re.match(r"ERROR double\[\d+\] failed, try", line)) for line in lines)
    assert failed + alone == 300


def test_every_run_writes_to_the_workflow_log_of_its_directory():
    told(sums, xs=[1])
    told(sums, xs=[2])
    assert Path("logs/workflow.log").read_text("utf-8").count("ended SUCCESS") == 2


# -- the figures ----------------------------------------------------------------------------------


class Counting:
    """A reporter that folds changes and keeps the live run's machine to compare with."""

    def begin(self, live):
        self.overview = Overview.of(live.machine)
        self.machine = live.machine

    def changes(self, batch):
        self.overview.apply(batch)
        self.overview.apply(batch[-1:])  # twice is the same as once

    def say(self, text): ...

    def plan(self, plan): ...

    def end(self, run): ...


@pytest.mark.parametrize("xs", [[], [1], [1, -1, 1000], list(range(200))])
def test_an_overview_agrees_with_the_run(xs: list[int]):
    counting = Counting()
    run, _ = told(sums, lambda: counting, xs=xs)
    overview = counting.overview
    assert {s.name: n for s, n in overview.counts().items() if n} == run.counts
    sections = sections_of(counting.machine.graph)
    assert [s.name for s in sections] == ["double", "total"]
    parts = [overview.counts_of(s.nodes) for s in sections]
    scattered = overview.counts_of([0, 1])
    for state in TaskState:
        assert sum(p[state] for p in parts) == overview.counts()[state] == scattered[state]
    assert overview.running == {}
    assert overview.run_state is run.state


def test_an_overview_follows_a_resume():
    counting = Counting()
    run, _ = told(sums, xs=[1, -1])
    again, _ = told(sums, lambda: counting, xs=[1, -1])
    assert again.run_id == run.run_id
    assert {s.name: n for s, n in counting.overview.counts().items() if n} == again.counts


# -- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "words"), [
    (0.0000004, "0 µs"), (0.00042, "420 µs"), (0.25, "250 ms"), (1.26, "1.3 s"), (59.4, "59 s"),
    (59.7, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (-1, "0 µs"),
])
def test_durations(seconds: float, words: str):
    assert wording.duration(seconds) == words


def test_an_error_is_told_by_the_first_line_that_says_something():
    assert wording.error_line(ErrorInfo("E", "\n \nfirst\nsecond", "", "/x/flow.py", 3)) == \
        "E: first (/x/flow.py:3)"
    assert wording.error_line(ErrorInfo("E", "")) == "E"
    assert len(wording.error_line(ErrorInfo("E", "x" * 10_000))) <= wording.ERROR_WIDTH


def test_commands_are_quoted_for_a_shell():
    assert wording.command("show", "r", "a b[1]", home="/some where/x") == \
        "FLOWFORGE_HOME='/some where/x' flowforge show r 'a b[1]'"
