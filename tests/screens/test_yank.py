"""What can be copied, and that none of it drives the terminal that it is pasted into."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from engine import RunState, TaskState
from engine.core.events import ErrorInfo, Failed, RunMoved
from flowforge_tui import yank
from flowforge_tui.details import Details
from flowforge_tui.model import RunView
from tests.screens.made import attempt, begun, shape, succeeded

HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800]")
EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202e[bold]x[/bold]\x00\ud800'; rm -rf ~ #"
HOME = "/srv/it's here"


def failing(name: str = "extract") -> RunView:
    view = begun((name, 3))
    view.apply([succeeded([attempt(1, 0.0, 1.0)])])
    made = attempt(0, 0.0, 1.0)
    made.fail(ErrorInfo("ValueError", f"bad{EVIL}", f"Traceback{EVIL}\n", f"f{EVIL}.py", 7))
    view.apply([Failed(made, TaskState.FAILED, 0.0)])
    return view


def texts(found: list[yank.Yank]) -> dict[str, str]:
    assert len({y.key for y in found}) == len(found)
    return {y.title: y.get() for y in found}


def test_of_a_failed_task() -> None:
    found = texts(yank.of_task(failing(), 0, "R1", HOME, lambda: "line\n"))
    assert found["name"] == "extract-0" and found["run's id"] == "R1"
    assert found["traceback"].startswith("Traceback[bold]x[/bold]")
    assert found["place"].endswith(".py:7") and found["log"] == "line\n"
    command = shlex.split(found["flowforge retry …"])
    assert command == [f"FLOWFORGE_HOME={HOME}", "flowforge", "retry", "R1", "extract-0"]
    assert "flowforge logs …" in found and "flowforge show …" in found


def test_of_what_succeeded_is_a_rerun() -> None:
    details = Details(1, (), output="{'a': 1}", file="etl.py", line=3)
    found = texts(yank.of_task(failing(), 1, "R1", HOME, str, details))
    assert found["flowforge rerun …"].endswith("flowforge rerun R1 extract-1")
    assert found["result, as shown"] == "{'a': 1}" and found["place"] == "etl.py:3"
    assert "traceback" not in found


def test_of_several_and_of_too_many_to_name() -> None:
    view = begun(("extract", 60))
    found = texts(yank.of_tasks(view, [0, 1], "R1", HOME))
    assert found["names"] == "extract-0\nextract-1\n"
    assert found["flowforge retry …"].endswith("retry R1 extract-0 extract-1")
    found = texts(yank.of_tasks(view, range(60), "R1", HOME))
    assert found["flowforge retry …"].endswith("retry R1")


@pytest.mark.parametrize(("state", "live", "words"), [
    (RunState.FAILED, False, {"attach", "retry", "show", "logs"}),
    (RunState.INTERRUPTED, False, {"attach", "resume", "show", "logs"}),
    (RunState.RUNNING, True, {"attach", "show", "logs"}),
    (RunState.SUCCESS, False, {"attach", "show", "logs"}),
])
def test_of_a_run(state: RunState, live: bool, words: set[str]) -> None:
    view = RunView(shape(("a", 1)))
    view.apply([RunMoved(state, "", 1.0)])
    found = texts(yank.of_run(view, "R1", HOME, live=live))
    assert {t.split()[1] for t in found if t.startswith("flowforge")} == words
    assert list(texts(yank.of_run(view, "R1", None, live=live))) == ["run's id"]


def test_nothing_hostile_is_copied() -> None:
    view = failing(f"name{EVIL}")
    details = Details(0, (), output=f"out{EVIL}", file=f"f{EVIL}", line=1)
    for found in (yank.of_task(view, 0, f"R{EVIL}", f"/h{EVIL}", lambda: f"log{EVIL}\n", details),
                  yank.of_tasks(view, [0, 1], f"R{EVIL}", f"/h{EVIL}"),
                  yank.of_run(view, f"R{EVIL}", f"/h{EVIL}", live=False)):
        for title, text in texts(found).items():
            assert HOSTILE.search(text) is None, (title, text)
            text.encode("utf-8")
            if title.startswith("flowforge"):
                assert "\n" not in text
                assert "rm" not in shlex.split(text)


def test_what_is_too_long_goes_to_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert yank.fits("x" * 74_994) and not yank.fits("x" * 74_995) and not yank.fits("é" * 40_000)
    path = yank.to_file("text\ud800\n")
    assert path.read_text() == "text?\n" and path.stat().st_mode & 0o777 == 0o600
