"""`export`: a run as JSON, as a trace, and as a page; all of it, and nothing hostile in it."""

from __future__ import annotations

import itertools
import json
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.cli.flows import Place
from tests.cli.test_look import EVIL, EVIL_FLOW, HOSTILE


class Page(HTMLParser):
    """Checks that tags are balanced, and collects what is there."""

    VOID = frozenset({"meta"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def retried(place: Place) -> Place:
    """A run that failed and was mended in a second session."""
    (place.path / "broken").touch()
    place.do("run", "pipe.py", code=1)
    (place.path / "broken").unlink()
    place.do("retry", "latest")
    return place


def test_json_has_every_task_run_and_every_attempt(retried: Place) -> None:
    found = json.loads(retried.do("export", "latest").stdout)
    assert found["run"]["state"] == "SUCCESS" and found["damage"] == []
    tasks = {t["task"]: t for t in found["tasks"]}
    assert set(tasks) == {*(f"{n}[{i}]" for n in ("double", "check") for i in range(5)), "total"}
    assert tasks["total"]["result"] == "20" and tasks["total"]["upstream"] == ["check"]
    tries = [(a["attempt"], a["state"], a["error"] and a["error"]["message"])
             for a in found["attempts"] if a["task"] == "check[3]"]
    assert tries == [(1, "FAILED", "bad row 6"), (2, "SUCCESS", None)]
    assert len(found["attempts"]) == 12
    assert all(a["end"] >= a["start"] > 0 for a in found["attempts"])


def test_a_trace_has_a_slice_an_attempt_and_none_overlap_in_a_lane(retried: Place) -> None:
    events = json.loads(retried.do("export", "latest", "--format", "trace").stdout)["traceEvents"]
    slices = [e for e in events if e["ph"] == "X"]
    assert len(slices) == 12
    assert {e["args"]["state"] for e in slices} == {"SUCCESS", "FAILED"}
    lanes: dict[int, list[Any]] = {}
    for e in slices:
        lanes.setdefault(e["tid"], []).append((e["ts"], e["ts"] + e["dur"]))
    for times in lanes.values():
        times.sort()
        assert all(b[0] >= a[1] - 1 for a, b in itertools.pairwise(times))
    named = {e["tid"] for e in events if e["name"] == "thread_name"}
    assert named == set(lanes)


def test_a_page_shows_it_all_and_needs_nothing_else(place: Place) -> None:
    (place.path / "broken").touch()
    place.do("run", "pipe.py", code=1)
    target = place.path / "run.html"
    assert place.do("export", "latest", "--format", "html", "-o", str(target)).stdout == ""
    page = Page(target.read_text("utf-8"))
    assert "ValueError: bad row 6" in page.text and "Timeline" in page.text
    assert page.tags.count("svg") == 2 and page.tags.count("rect") > 10
    assert "script" not in page.tags
    assert not [v for k, v in page.attributes if k in ("src", "href")]


def test_a_resume_of_a_changed_workflow_tells_each_attempt_once(place: Place) -> None:
    (place.path / "broken").touch()
    place.do("run", "pipe.py", code=1)
    (place.path / "broken").unlink()
    text = (place.path / "pipe.py").read_text()
    place.write("pipe.py", text.replace("return sum(xs)", "return sum(xs) + one()").replace(
        "@workflow", "@task\ndef one():\n    return 1\n\n@workflow").replace(
        "    return total(", "    one()\n    return total("))
    place.do("resume", "latest")
    found = json.loads(place.do("export", "latest").stdout)
    names = [(a["task"], a["generation"], a["attempt"]) for a in found["attempts"]]
    assert len(names) == len(set(names)) and ("double[0]", 1, 1) in names
    assert ("one", 1, 1) in names


def test_nothing_hostile_comes_out(place: Place) -> None:
    place.write("evil.py", EVIL_FLOW)
    place.do("run", "evil.py", code=1)
    whole = json.loads(place.do("export", "latest").stdout)
    assert [t["task"].endswith(EVIL) for t in whole["tasks"]] == [True, True]
    trace = place.do("export", "latest", "--format", "trace").stdout
    assert trace.isascii() and len(json.loads(trace)["traceEvents"]) == 4
    html = place.do("export", "latest", "--format", "html").stdout
    assert HOSTILE.search(html) is None
    page = Page(html)
    assert set(page.tags) <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "span", "details",
        "summary", "b", "pre", "table", "tr", "th", "td", "svg", "rect", "g", "path", "text",
        "polyline", "line", "marker", "defs"}, set(page.tags)


def test_a_run_that_is_not_there_and_a_file_that_cannot_be_written(retried: Place) -> None:
    assert "no run" in retried.do("export", "zzz", code=2).stderr.lower()
    said = retried.do("export", "latest", "-o", "nowhere/x.json", code=1).stderr
    assert "cannot be written" in said
