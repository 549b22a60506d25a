"""The log pane, in an app: following, keys, headings, and what comes while one reads."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from engine.telemetry.tasklog import LogWriter
from flowforge_tui import logsource
from flowforge_tui.look import Look
from flowforge_tui.widgets.log import LogPane
from tests.screens.pilot import drive, picture, styles_of, until

HOSTILE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
NOON = 1764072000.0


class Now(Executor):
    """Runs what it is given at once, so that a frame is the whole of a read."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Log:
    """A log that a test writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.writer = LogWriter(directory)
        self.clock = 0.0

    def put(self, *lines: str, tid: int = 17, attempt: int = 1, level: int = logging.INFO) -> None:
        for text in lines:
            self.writer.append(tid, 1, attempt, "out", level, NOON, text + "\n")
        self.writer.flush()

    def frames(self, pane: LogPane, count: int = 2, *, live: bool = True) -> None:
        for _ in range(count):
            self.clock += 10.0
            pane.frame(live=live, now=self.clock)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "logs")
    yield log
    log.writer.close()


def pane() -> LogPane:
    return LogPane(executor=Now())


def name(tid: int) -> str:
    return f"extract[{tid}]"


def test_it_shows_the_end_and_follows_until_one_moves_up(log: Log) -> None:
    log.put(*(f"line {i}" for i in range(100)))

    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, (17,), name)
        pane.focus()
        log.frames(pane)
        await pilot.pause()
        text = picture(pilot)
        assert "LOG extract[17] · try 1" in text and "FOLLOW · wrap off" in text
        assert "line 99" in text and "line 76" not in text
        log.put("line 100")
        log.frames(pane)
        await pilot.pause()
        assert "line 100" in picture(pilot)
        await pilot.press("up")
        log.put(*(f"more {i}" for i in range(50)))
        log.frames(pane)
        await pilot.pause()
        text = picture(pilot)
        assert "paused at 100/151" in text and "line 100" in text and "more" not in text
        await pilot.press("end")
        assert "FOLLOW" in picture(pilot)  # without a frame
        log.frames(pane)
        await pilot.pause()
        assert "FOLLOW" in picture(pilot) and "more 49" in picture(pilot)

    drive(pane, act)


def test_tries_levels_times_and_one_try_alone(log: Log) -> None:
    for attempt in (1, 2, 3):
        log.put(f"info {attempt}", attempt=attempt)
        log.put(f"error {attempt}", attempt=attempt, level=logging.ERROR)

    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, (17,), name)
        pane.focus()
        log.frames(pane)
        await pilot.pause()
        text = picture(pilot)
        assert "── try 2 ──" in text and "── try 3 ──" in text and "── try 1" not in text
        at = time.strftime("%H:%M:%S", time.localtime(NOON))
        assert f" {at} I info 1" in text and f" {at} E error 3" in text
        await pilot.press("T", "v", "v", "v")
        log.frames(pane)
        text = picture(pilot)
        assert at not in text and "info" not in text and "error 2" in text and "errors" in text
        await pilot.press("v", "home", "down", "down", "down")
        assert pane.lines.book.row(pane.lines.cursor).line.text == "info 2"
        await pilot.press("a")
        log.frames(pane)
        await pilot.pause()
        text = picture(pilot)
        assert "try 2 alone" in text and "info 2" in text and "info 1" not in text
        await pilot.press("a")
        log.frames(pane)
        await pilot.pause()
        assert "info 1" in picture(pilot)

    drive(pane, act)


def test_several_tasks_have_their_names_beside(log: Log) -> None:
    log.put("first", tid=1)
    log.put("second", tid=2)
    log.put("third", tid=3)

    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, None, name)
        log.frames(pane)
        await pilot.pause()
        assert "LOG whole run" in picture(pilot)
        assert "I extract[1] first" in picture(pilot)
        pane.show(log.directory, range(2, 4), name, "extract")
        log.frames(pane)
        await pilot.pause()
        text = picture(pilot)
        assert "LOG extract" in text and "extract[2] second" in text and "first" not in text
        assert pane.text() == "".join(
            f"{time.strftime('%H:%M:%S', time.localtime(NOON))} I extract[{i}]  {word}\n"
            for i, word in ((2, "second"), (3, "third")))

    drive(pane, act)


def test_searching_marks_and_moves(log: Log) -> None:
    log.put(*(f"line {i} {'needle' if i % 10 == 5 else ''}" for i in range(60)))

    async def act(pane: LogPane, pilot: Any) -> None:
        def here() -> str:
            return pane.lines.book.row(pane.lines.cursor).line.text

        pane.show(log.directory, (17,), name)
        pane.focus()
        log.frames(pane)
        await pilot.press("slash", *"NEEDLE", "enter")
        log.frames(pane)
        await pilot.pause()
        assert "/NEEDLE: no match" in picture(pilot)
        await pilot.press("slash", *["backspace"] * 6, *"needle", "enter")
        await until(pilot, lambda: here() == "line 55 needle", "the last match")
        await pilot.press("N")
        assert here() == "line 45 needle"
        await pilot.press("n", "n")
        assert here() == "line 5 needle"
        log.frames(pane)
        await pilot.pause()
        marked = styles_of(pilot, "needle")[1:]
        assert marked and all(style.underline and style.bold for style in marked)
        await pilot.press("slash", *"xyz", "escape")
        assert pane.lines.has_focus and pane.lines.drawing.needle == "needle"
        await pilot.press("escape")
        assert pane.lines.drawing.needle == ""

    drive(pane, act)


def test_wrapping_and_moving_along_keep_the_line(log: Log) -> None:
    log.put("a" * 150 + "END", "b", "日本" * 60 + "終")

    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, (17,), name)
        pane.focus()
        log.frames(pane)
        await pilot.pause()
        assert "END" not in picture(pilot) and "…" in picture(pilot)
        await pilot.press("up", *["right"] * 6)
        await pilot.pause()
        assert "END" in picture(pilot)
        await pilot.press(*["left"] * 6, "w")
        await pilot.pause()
        text = picture(pilot)
        assert "END" in text and "終" in text and "…" not in text
        assert pane.lines.book.row(pane.lines.cursor).line.text == "b"
        await pilot.resize_terminal(40, 24)
        await pilot.pause()
        assert pane.lines.book.row(pane.lines.cursor).line.text == "b"
        assert "END" in picture(pilot) and "終" in picture(pilot)

    drive(pane, act)


def test_it_says_why_there_is_nothing(log: Log, tmp_path: Path) -> None:
    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, (17,), name)
        log.frames(pane, live=False)
        await pilot.pause()
        assert "extract[17] has printed nothing\n" in picture(pilot)
        pane.show(None, (17,), name)
        log.frames(pane)
        await pilot.pause()
        assert "the output of this run is not kept" in picture(pilot)
        (tmp_path / "file").write_text("")
        pane.show(tmp_path / "file", (17,), name)
        log.frames(pane)
        await pilot.pause()
        assert "the log cannot be read" in picture(pilot)

    drive(pane, act)


def test_what_is_being_read_stays_however_much_comes(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logsource, "MOST_LINES", 100)
    log.put(*(f"line {i}" for i in range(120)))

    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, (17,), name)
        pane.focus()
        log.frames(pane)
        book = pane.lines.book
        await pilot.press("up")
        for round_ in range(5):
            log.put(*(f"more {round_} {i}" for i in range(90)))
            log.frames(pane)
        await pilot.pause()
        assert "line 118" in picture(pilot)
        assert pane.lines.book is book and 200 <= book.size < 300
        await pilot.press("end")
        log.frames(pane, 3)
        await pilot.pause()
        assert "more 4 89" in picture(pilot) and "FOLLOW" in picture(pilot)
        assert pane.lines.book.size <= 100

    drive(pane, act)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_few_lines_show_at_once_and_the_others_come_above(log: Log, wrapped: bool) -> None:
    log.put(*(f"line {i} {'x' * 80 if i % 3 else ''}" for i in range(5_000)))

    async def act(pane: LogPane, pilot: Any) -> None:
        def here() -> str:
            return pane.lines.book.row(pane.lines.cursor).line.text

        pane.show(log.directory, (17,), name)
        pane.focus()
        await pilot.press(*"w" * wrapped)
        log.frames(pane)
        assert pane.lines.book.size == logsource.FIRST
        await pilot.press("up", "up", "up")
        before, paused = here(), picture(pilot).splitlines()[1:]
        log.put("between")
        log.frames(pane)
        await pilot.pause()
        assert pane.lines.book.size in (5_000, 5_001) and not pane.lines.following
        assert here() == before and picture(pilot).splitlines()[1:] == paused
        log.put("last")
        log.frames(pane, 3)
        assert pane.lines.book.size == 5_002
        await pilot.press("home")
        assert here().startswith("line 0 ")

    drive(pane, act)


def test_the_last_lines_of_a_run_that_has_ended_are_read(log: Log) -> None:
    log.put("first")

    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, (17,), name)
        log.frames(pane, 10)
        log.put("last")
        log.frames(pane, 2, live=False)
        await pilot.pause()
        assert "last" in picture(pilot)
        log.frames(pane, 10, live=False)
        log.put("nobody looks any more")
        log.frames(pane, 3, live=False)
        assert pane.lines.book.size == 2

    drive(pane, act)


def test_a_frame_in_which_nothing_came_builds_nothing(log: Log) -> None:
    log.put(*(f"line {i}" for i in range(100)))

    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, (17,), name)
        log.frames(pane)
        await pilot.pause()
        built = pane.lines.lines_built
        log.frames(pane, 20)
        await pilot.pause()
        assert pane.lines.lines_built == built

    drive(pane, act)


def test_a_thread_of_its_own_reads(log: Log) -> None:
    log.put("from the thread")

    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, (17,), name)
        await until(pilot, lambda: (pane.frame(), pane.lines.book.size)[1], "the line")
        await pilot.pause()
        assert "from the thread" in picture(pilot)

    drive(LogPane, act)


def test_what_is_copied_is_of_what_was_asked_for_last(log: Log) -> None:
    log.put("of one", tid=1)
    log.put("of two", tid=2)

    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, (1,), name)
        assert "of one" in pane.text()  # not read yet
        log.frames(pane)
        pane.show(log.directory, (2,), name)
        assert "of two" in pane.text() and "of one" not in pane.text()
        pane.show(None, (1,), name)
        assert pane.text() == ""

    drive(pane, act)


def test_nothing_hostile_is_painted(log: Log) -> None:
    evil = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202e[bold]x[/bold]\x00[@click=app.quit]y[/]"
    log.put("printed" + evil)

    async def act(pane: LogPane, pilot: Any) -> None:
        for tids in ((17,), None):
            pane.show(log.directory, tids, lambda tid: f"name{evil}")
            log.frames(pane)
            await pilot.pause()
            text = picture(pilot)
            assert HOSTILE.search(text) is None, repr(text)
            assert "printed[bold]x[/bold][@click=app.quit]y[/]" in text
        assert "name[bold]x" in text
        assert HOSTILE.search(pane.text()) is None
        assert HOSTILE.search("".join(pane.whole())) is None

    drive(pane, act)


def test_ascii_alone_where_that_is_wanted(log: Log) -> None:
    log.put(*(f"line {i}" for i in range(100)), "x" * 200)
    log.put("again", attempt=2)

    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, (17,), name)
        log.frames(pane)
        await pilot.pause()
        assert "-- try 2 --" in picture(pilot)
        assert picture(pilot).isascii()

    drive(lambda: LogPane(Look(unicode=False), executor=Now()), act)


def test_the_whole_is_saved_with_its_tries(log: Log, tmp_path: Path) -> None:
    log.put("one")
    log.put("two", attempt=2)

    async def act(pane: LogPane, pilot: Any) -> None:
        pane.show(log.directory, (17,), name)
        target = tmp_path / "saved.log"
        assert pane.save(target) == 3
        at = time.strftime("%H:%M:%S", time.localtime(NOON))
        assert target.read_text() == f"{at} I one\n── try 2 ──\n{at} I two\n"
        assert target.stat().st_mode & 0o777 == 0o600
        with pytest.raises(FileExistsError):
            pane.save(target)

    drive(pane, act)

