"""`runs`, `show`, `logs`, `graph`, `doctor`: what they print, and that none of it is hostile."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.flows import Place

#: C0 but for tab and newline, DEL, C1, and marks that turn text around.
HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202e[bold]x[/bold]\x00\r\n<b>\"&"

EVIL_FLOW = f"""
from engine import task, workflow

EVIL = {EVIL!r}

@task(name="bad" + EVIL)
def bad(x):
    print("out" + EVIL)
    raise ValueError("error" + EVIL)

@task(name="good" + EVIL)
def good(x):
    return "result" + EVIL

@workflow("flow" + EVIL)
def evil(text: str = EVIL):
    bad(good(text))
"""


@pytest.fixture
def evil(place: Place) -> Place:
    place.write("evil.py", EVIL_FLOW)
    return place


def test_nothing_hostile_reaches_the_terminal(evil: Place) -> None:
    run = evil.do("run", "evil.py", code=1)
    commands = ("runs", "show latest", "logs latest", "logs latest -t", "graph evil.py",
                "retry latest --dry-run", "graph evil.py --format dot",
                "graph evil.py --format mermaid", "graph evil.py --format svg")
    texts = [run.stderr, *(evil.do(*command.split()).stdout for command in commands)]
    names = [t["task"] for t in json.loads(evil.do("show", "latest", "--json").stdout)["tasks"]]
    assert [n.endswith(EVIL) for n in names] == [True, True]
    texts += [evil.do("show", "latest", name).stdout for name in names if "\0" not in name]
    texts.append(evil.do("show", "latest", "no" + EVIL.replace("\0", ""), code=2).stderr)
    texts.append((evil.path / "logs" / "workflow.log").read_text("utf-8"))
    for text in texts:
        assert text
        assert HOSTILE.search(text.replace("\\x", "")) is None, repr(text)
    assert "error[bold]x[/bold]" in run.stderr


def test_json_is_exact_and_ascii(evil: Place) -> None:
    done = evil.do("run", "evil.py", "--output", "json", code=1)
    assert done.stdout.isascii() and HOSTILE.search(done.stdout) is None
    failed = next(json.loads(line) for line in done.stdout.splitlines()
                  if '"task.failed"' in line)
    assert failed["task"] == "bad" + EVIL and failed["error"]["message"] == "error" + EVIL


def test_show_tells_a_run_and_a_task(place: Place) -> None:
    place.write("broken", "")
    place.do("run", "pipe.py", code=1)
    text = place.do("show", "latest").stdout
    assert "FAILED" in text and "9 succeeded, 1 failed, 1 blocked" in text
    assert "check[3]: ValueError: bad row 6 (pipe.py:17)" in text
    assert "parameter  n = 5" in text
    text = place.do("show", "latest", "check[3]").stdout
    assert "FAILED (error)" in text and 'pipe.py", line 17' in text
    assert "upstream    double" in text and "downstream  total" in text
    items = place.do("show", "latest", "double").stdout.splitlines()
    assert len(items) == 5 and "double[4]" in items[4]
    shown = json.loads(place.do("show", "latest", "double[4]", "--json").stdout)
    assert (shown["state"], shown["result"], shown["attempt"]) == ("SUCCESS", "8", 1)
    assert "has no item '9'; it has 5" in place.do("show", "latest", "double[9]", code=2).stderr


def test_logs_of_a_run_a_task_and_the_last_lines(place: Place) -> None:
    place.do("run", "pipe.py", "-j", "1")
    lines = place.do("logs", "latest").stdout.splitlines()
    assert sorted(lines) == [f"double[{i}]  doubling {i}" for i in range(5)]
    assert place.do("logs", "latest", "double[2]").stdout == "doubling 2\n"
    assert len(place.do("logs", "latest", "double", "-n", "2").stdout.splitlines()) == 2
    line = json.loads(place.do("logs", "latest", "double[2]", "--json").stdout)
    assert (line["task"], line["text"], line["stream"]) == ("double[2]", "doubling 2", "out")


def test_runs_lists_the_newest_first_and_finds_by_prefix(place: Place) -> None:
    for n in (1, 2, 3):
        place.do("run", "pipe.py", "-p", f"n={n}")
    listed = json.loads(place.do("runs", "--json").stdout)
    assert [r["state"] for r in listed] == ["SUCCESS"] * 3
    assert sorted((r["run_id"] for r in listed), reverse=True) == [r["run_id"] for r in listed]
    assert json.loads(place.do("show", "latest", "--json").stdout)["parameters"] == {"n": "3"}
    oldest = listed[2]["run_id"]
    assert json.loads(place.do("show", oldest, "--json").stdout)["parameters"] == {"n": "1"}
    assert "fits 3 runs" in place.do("show", oldest[:6], code=2).stderr
    assert len(place.do("runs", "-n", "1").stdout.splitlines()) == 2


def test_graph_draws_without_running(place: Place) -> None:
    text = place.do("graph", "pipe.py").stdout.splitlines()
    assert text[0] == "pipe: 3 tasks"
    assert [line.split() for line in text[1:]] == [
        ["double[…]"], ["check[…]", "←", "double"], ["total", "←", "check"]]
    assert "n1 --> n2" in place.do("graph", "pipe.py", "--format", "mermaid").stdout
    assert "n0 -> n1;" in place.do("graph", "pipe.py:pipe", "--format", "dot").stdout
    place.write("block.py", "from engine import task, workflow\nwith workflow('b') as wf:\n"
                            "    @task\n    def one(): open('ran', 'w')\n    wf.run()\n")
    assert "one" in place.do("graph", "block.py").stdout
    assert place.ran() == []
    assert not (place.path / ".flowforge").exists()


def test_a_damaged_run_is_listed_and_does_not_hide_the_others(place: Place) -> None:
    place.do("run", "pipe.py")
    place.do("run", "pipe.py", "--fresh")
    newest = json.loads(place.do("runs", "--json").stdout)[0]["run_id"]
    run_dir = place.path / ".flowforge" / "runs" / newest
    (run_dir / "run.db").write_bytes(b"not a database" * 100)
    listed = json.loads(place.do("runs", "--json").stdout)
    assert [r["state"] for r in listed] == [None, "SUCCESS"]
    assert "UNREADABLE" in place.do("runs").stdout
    # The snapshot is the second copy.
    text = place.do("show", newest).stdout
    assert "11 succeeded" in text and "damage: the journal cannot be read" in text
