"""The detail pane, over a real run read back from its state directory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import task, workflow
from flowforge_tui.attached import StoredFeed
from flowforge_tui.details import Details, read_lines, run_facts
from flowforge_tui.figures import Figures
from flowforge_tui.look import Look
from flowforge_tui.widgets.detail import DetailPane
from flowforge_tui.widgets.messages import Jump
from tests.screens.pilot import drive, picture
from tests.screens.test_log import Now

HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202e[bold]x[/bold]\x00[@click=app.quit]y[/]"


@task
def config(path: str) -> dict[str, Any]:
    return {"limit": 3, "path": path}


@task(retries=2)
def extract(i: int, config: dict[str, Any]) -> int:
    print(f"opening {i}")
    if i in (3, 4):
        raise ValueError(f"bad row {i % 2}" if i == 3 else "bad row 1")  # here
    return i


@task
def double(x: int) -> int:
    return x * 2


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@workflow
def nightly(path: str = "conf.toml") -> Any:
    return total(double.map(extract.partial(config=config(path)).map(i=list(range(6)))))


@task(name="bad" + EVIL)
def bad(x: str) -> None:
    print("out" + EVIL)
    raise ValueError("error" + EVIL)


@task(name="good" + EVIL)
def good(x: str) -> str:
    return "result" + EVIL


@workflow("flow" + EVIL)
def evil(text: str = "\x1b]0;t\x07[b]") -> None:
    bad(good(text))


class Bench:
    """A run, and the pane that shows it."""

    def __init__(self, feed: StoredFeed) -> None:
        self.feed = feed
        self.view = feed.view
        self.ids = {self.view.name_of(tid): tid for tid in self.view.live_ids()}
        self.clock = 0.0
        self.jumps: list[int] = []

    def mount(self, look: Look | None = None) -> DetailPane:
        pane = DetailPane(look, executor=Now())
        figures = Figures(self.view)
        figures.look()
        pane.durations = lambda place: (
            figures.sections[place].durations if place in figures.sections else None)
        pane.facts = run_facts(self.feed)
        return pane

    def begin(self, pane: DetailPane, pilot: Any) -> None:
        post = pane.post_message

        def listen(message: Any) -> bool:
            if isinstance(message, Jump):
                self.jumps.append(message.tid)
            return post(message)

        pane.post_message = listen  # type: ignore[method-assign]
        pane.show(self.view)
        pane.open_logs(self.feed.logs)

    async def see(self, pane: DetailPane, pilot: Any, subject: Any = ..., tab: str = "") -> str:
        if subject is not ...:
            pane.select(subject)
        if tab:
            pane.action_tab(tab)
        await pilot.pause()
        for _ in range(4):
            self.clock += 10.0
            get = pane.wants(self.clock + 1e9)
            if get is not None:
                pane.take(get(self.feed))
            pane.log_pane.frame(live=False, now=self.clock)
            pane.frame(self.feed.now(), live=False)
        await pilot.pause()
        return picture(pilot)


def bench_of(flow: Any, home: Path) -> Bench:
    flow.options(home=str(home)).run()
    feed = StoredFeed(home, "latest")
    while feed.behind:
        feed.poll()
    return Bench(feed)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield bench_of(nightly, tmp_path_factory.mktemp("run") / "home")


def on(
    bench: Bench, act: Callable[[DetailPane, Any], Any], *, look: Look | None = None, **more: Any
) -> None:
    async def begin(pane: DetailPane, pilot: Any) -> None:
        bench.begin(pane, pilot)
        await act(pane, pilot)

    drive(lambda: bench.mount(look), begin, **more)


def test_the_users_own_line_is_in_sight_at_once(bench: Bench) -> None:
    async def act(pane: DetailPane, pilot: Any) -> None:
        text = await bench.see(pane, pilot, bench.ids["extract[3]"], "error")
        first = text.splitlines()
        assert first[0].startswith("─ ERROR extract[3] · failed · try 3 ─")
        assert first[1] == " ValueError: bad row 1"
        assert "test_detail.py:" in first[2] and "try 3" in first[2]
        marked = [line for line in first if line.startswith(" › ")]
        assert len(marked) == 1 and "raise ValueError(" in marked[0]
        assert "Traceback (most recent call last):" in text

    on(bench, act, size=(80, 30))


@pytest.mark.parametrize("height", [6, 9, 14, 30])
def test_the_users_own_line_is_in_sight_however_little_room_there_is(
    bench: Bench, height: int
) -> None:
    async def act(pane: DetailPane, pilot: Any) -> None:
        text = await bench.see(pane, pilot, bench.ids["extract[3]"], "error")
        assert any(line.startswith(" › ") for line in text.splitlines()), text

    on(bench, act, size=(80, height))


def test_what_is_blocked_leads_to_its_cause(bench: Bench) -> None:
    async def act(pane: DetailPane, pilot: Any) -> None:
        text = await bench.see(pane, pilot, bench.ids["double[3]"], "error")
        assert "STATE double[3] · blocked" in text
        assert "because of extract[3]" in text and "ValueError: bad row 1" in text
        pane.focus()
        await pilot.press("enter")
        assert bench.jumps == [bench.ids["extract[3]"]]
        bench.jumps.clear()

    on(bench, act)


def test_dependencies_go_item_by_item_and_lead_there(bench: Bench) -> None:
    async def act(pane: DetailPane, pilot: Any) -> None:
        text = await bench.see(pane, pilot, bench.ids["extract[2]"], "dependencies")
        assert "waits for 1" in text and "✓ config" in text
        assert "wanted by 1" in text and "✓ double[2]" in text
        pane.focus()
        await pilot.press("down", "enter")
        assert bench.jumps == [bench.ids["double[2]"]]
        bench.jumps.clear()
        text = await bench.see(pane, pilot, bench.ids["total"])
        assert "▸ double" in text and "✓4" in text and "⊗2" in text
        await pilot.press("enter")
        assert bench.jumps == [bench.view.shape.upstream(bench.ids["total"])[0]]
        bench.jumps.clear()

    on(bench, act)


def test_attempts_are_told_and_lead_to_their_logs(bench: Bench) -> None:
    async def act(pane: DetailPane, pilot: Any) -> None:
        text = await bench.see(pane, pilot, bench.ids["extract[4]"], "attempts")
        rows = [line for line in text.splitlines() if "ValueError: bad row 1" in line]
        assert [row.split()[:3] for row in rows] == [
            ["✗", "3", "1"], ["↻", "2", "1"], ["↻", "1", "1"]]
        pane.focus()
        await pilot.press("down", "enter")
        text = await bench.see(pane, pilot)
        assert "LOG extract[4] · try 2 alone" in text and text.count("opening 4") == 1
        text = await bench.see(pane, pilot, bench.ids["extract[2]"], "attempts")
        assert "succeeded" in text and " 1    1 " in text
        text = await bench.see(pane, pilot, bench.ids["double[3]"])
        assert "no attempt yet" in text

    on(bench, act)


def test_inputs_result_and_code(bench: Bench) -> None:
    async def act(pane: DetailPane, pilot: Any) -> None:
        text = await bench.see(pane, pilot, bench.ids["config"], "data")
        assert "result" in text and "{'limit': 3, 'path': 'conf.toml'}" in text
        text = await bench.see(pane, pilot, bench.ids["double[2]"])
        assert re.search(r"extract\[2\] +2\n", text)
        text = await bench.see(pane, pilot, bench.ids["extract[3]"], "code")
        assert "test_detail.py:" in text and "@task(retries=2)" in text
        assert [line for line in text.splitlines() if line.startswith(" › ") and "raise" in line]

    on(bench, act)


def test_a_section_is_summed_up(bench: Bench) -> None:
    async def act(pane: DetailPane, pilot: Any) -> None:
        section = bench.view.section_of(bench.ids["extract[3]"])
        text = await bench.see(pane, pilot, section, "error")
        assert "SECTION extract" in text and "1 summary · 2 log" in text
        assert "✓ 4 succeeded  ✗ 2 failed" in text
        assert "of 4 that succeeded" in text and "p50 " in text and "max " in text
        assert "     2  ValueError: bad row 1" in text
        pane.focus()
        await pilot.press("enter")
        assert bench.jumps[0] in (bench.ids["extract[3]"], bench.ids["extract[4]"])
        bench.jumps.clear()
        text = await bench.see(pane, pilot, tab="log")
        assert "LOG extract" in text and "extract[0] opening 0" in text

    on(bench, act)


def test_the_run_itself(bench: Bench) -> None:
    async def act(pane: DetailPane, pilot: Any) -> None:
        text = await bench.see(pane, pilot, None)
        assert "RUN nightly" in text and bench.feed.run_id in text
        assert "path = 'conf.toml'" in text and "durability" in text and "thread" in text
        text = await bench.see(pane, pilot, None, "log")
        assert "LOG whole run" in text

    on(bench, act)


def test_details_are_wanted_once_and_not_for_what_is_passed_over(bench: Bench) -> None:
    async def act(pane: DetailPane, pilot: Any) -> None:
        one, two = bench.ids["extract[3]"], bench.ids["extract[4]"]
        pane.select(one)
        assert pane.wants(pane._since) is None
        get = pane.wants(pane._since + 1)
        assert get is not None and pane.wants(pane._since + 2) is None
        late = get(bench.feed)
        pane.select(two)
        pane.take(late)
        assert pane.details is None
        get = pane.wants(pane._since + 1)
        assert get is not None
        pane.take(get(bench.feed))
        assert isinstance(pane.details, Details) and pane.details.tid == two
        pane.action_tab("log")
        pane.select(one)
        assert pane.wants(pane._since + 1) is None

    on(bench, act)


def test_a_frame_in_which_nothing_came_builds_nothing(bench: Bench) -> None:
    async def act(pane: DetailPane, pilot: Any) -> None:
        for subject in (bench.ids["extract[3]"], bench.view.section_of(3), None):
            for tab in ("error", "dependencies", "attempts"):
                await bench.see(pane, pilot, subject, tab)
                await bench.see(pane, pilot)
                built = pane.rows.lines_built
                await bench.see(pane, pilot)
                assert pane.rows.lines_built == built

    on(bench, act)


def test_nothing_hostile_is_painted(tmp_path: Path) -> None:
    bench = bench_of(evil, tmp_path / "home")

    async def act(pane: DetailPane, pilot: Any) -> None:
        seen = ""
        for subject in (*bench.ids.values(), bench.view.section_of(0), None):
            for tab in ("error", "log", "data", "dependencies", "attempts", "code"):
                text = await bench.see(pane, pilot, subject, tab)
                assert HOSTILE.search(text) is None, repr(text)
                seen += text
        assert "ValueError: error[bold]x[/bold]" in seen
        assert "bad[bold]x[/bold]" in seen and "flow[bold]x" in seen

    on(bench, act, size=(120, 30))


def test_ascii_alone_where_that_is_wanted(bench: Bench) -> None:
    async def act(pane: DetailPane, pilot: Any) -> None:
        for subject in (bench.ids["extract[3]"], bench.ids["total"], bench.view.section_of(1)):
            for tab in ("error", "data", "dependencies", "attempts", "code"):
                text = await bench.see(pane, pilot, subject, tab)
                assert text.isascii(), text

    on(bench, act, look=Look(unicode=False))


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    assert read_lines(str(tmp_path / "pipe")) == []
    assert read_lines("/dev/zero") == []
    assert read_lines(str(tmp_path)) == []
    assert read_lines(str(tmp_path / "missing")) == []
    assert read_lines("with\0nul") == []
    (tmp_path / "file").write_bytes(b"a\n\xff\n")
    assert read_lines(str(tmp_path / "file")) == ["a", "\ufffd"]
