"""Which rows a log makes: wrapping, levels, tries, searching, and its bounds."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.front import LogLine
from flowforge_tui import logbook
from flowforge_tui.logbook import LINE_CHARS, LogBook, breaks, clean, matcher

HOSTILE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def line(text: str, *, tid: int = 1, attempt: int = 1, level: int = 20, gen: int = 1) -> LogLine:
    return LogLine(tid, gen, attempt, "out", level, 1.0, text)


def shown(book: LogBook) -> list[str]:
    rows = (book.row(i) for i in range(len(book)))
    return [f"-- {r.line.attempt}" if r.heading else r.line.text[r.start:r.end] for r in rows]


def filled(*lines: LogLine, **more: int) -> LogBook:
    book = LogBook(**more)  # type: ignore[arg-type]
    book.extend(lines)
    return book


def test_each_try_after_the_first_is_announced() -> None:
    book = filled(line("a"), line("b"), line("c", attempt=2), line("d", attempt=2))
    assert shown(book) == ["a", "b", "-- 2", "c", "d"]
    book.extend([line("e", gen=2)])
    assert shown(book)[-2:] == ["-- 1", "e"]
    assert shown(filled(line("late", attempt=3))) == ["-- 3", "late"]
    assert shown(LogBook(splits=False)) == []


def test_levels_hide_lines_and_what_they_would_announce() -> None:
    book = filled(line("a", level=10), line("b"), line("c", attempt=2, level=40))
    book.arrange(width=0, threshold=20)
    assert shown(book) == ["b", "-- 2", "c"]
    book.arrange(width=0, threshold=40)
    assert shown(book) == ["-- 2", "c"]
    assert [x.text for x in book.lines()] == ["c"]
    book.arrange(width=0, threshold=0)
    assert shown(book) == ["a", "b", "-- 2", "c"]


def test_lines_that_are_begun_are_replaced_by_what_becomes_of_them() -> None:
    book = LogBook()
    book.extend([line("a")], [line("10 %"), line("x", attempt=2)])
    assert shown(book) == ["a", "10 %", "-- 2", "x"]
    book.extend([], [line("20 %")])
    assert shown(book) == ["a", "20 %"]
    book.extend([line("done"), line("b", attempt=2)])
    assert shown(book) == ["a", "done", "-- 2", "b"]
    assert book.size == 3


def test_the_newest_lines_are_kept_and_their_serials_stay() -> None:
    book = LogBook(most=100)
    for i in range(250):
        book.extend([line(f"line {i}")])
    assert book.size <= 100
    assert book.dropped + book.size == 250
    row = book.row(0)
    assert row.line.text == f"line {row.serial}" == f"line {book.dropped}"
    assert book.place_of(240) == 240 - book.dropped


def test_nothing_is_dropped_while_it_is_held() -> None:
    book = LogBook(most=100)
    book.held = True
    book.extend([line(str(i)) for i in range(150)])
    assert (book.dropped, book.full) == (0, False)
    book.extend([line(str(i)) for i in range(60)])
    assert (book.dropped, book.full) == (0, True)
    book.held = False
    book.extend([])
    assert book.size == 90


def test_long_lines_count_by_their_characters(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(logbook, "MOST_CHARS", 10_000)
    book = LogBook()
    for _ in range(100):
        book.extend([line("x" * 1_000)])
        assert book.size <= 10
    assert book.dropped + book.size == 100


def test_wide_characters_are_wrapped_by_cells() -> None:
    book = filled(line("日本語" * 4), line("short"))
    book.arrange(width=9, threshold=0)
    assert shown(book) == ["日本語日", "本語日本", "語日本語", "short"]
    book.arrange(width=0, threshold=0)
    assert shown(book) == ["日本語" * 4, "short"]


@given(st.text(max_size=60), st.integers(2, 30))
def test_a_wrapped_line_is_whole_and_fits(text: str, width: int) -> None:
    text = clean(line(text.replace("\n", " "))).text
    ends = list(breaks(text, width))
    pieces = [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]
    assert "".join(pieces) == text
    assert all(cell_len(piece) <= width for piece in pieces)


def test_searching_goes_round_and_ends() -> None:
    book = filled(line("a bad"), line("x"), line("Bad b", attempt=2), line("y"))
    book.arrange(width=3, threshold=0)
    rows = [book.row(i).line.text for i in range(len(book))]
    first, second = 0, rows.index("Bad b") + 1  # its heading stands before it
    assert book.find("bad", 0, 1) == second
    assert book.find("bad", second, 1) == first
    assert book.find("bad", first, -1) == second
    assert book.find("bad", len(book), -1) == second
    assert book.find("Bad", second + 1, 1) == second
    assert book.find("nowhere", 0, 1) is None
    assert book.find("bad", second + 1, -1) == first


def test_matches_are_told_within_a_piece() -> None:
    assert matcher("ab").spans("xABxxab", 0, 7) == [(1, 3), (5, 7)]
    assert matcher("ab").spans("xABxxab", 2, 6) == [(0, 1), (3, 4)]
    assert matcher("AB").spans("xABxxab", 0, 7) == [(1, 3)]
    assert matcher("").spans("abc", 0, 3) == []
    assert not matcher("[x]")("x") and matcher("[x]")("a[x]")


def test_a_line_is_made_safe_sane_and_short() -> None:
    assert clean(line("a\tb")).text == "a       b"
    assert clean(line("-\b\\\b|")).text == "|"
    evil = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\u202e[bold]x[/bold]\x00\ud800"
    assert clean(line(evil)).text == "[bold]x[/bold]"
    same = line("nothing to do")
    assert clean(same) is same
    long = clean(line("x" * 1_000_000)).text
    assert long.startswith("x" * LINE_CHARS + "… [1,000,000 characters")
    assert len(long) < LINE_CHARS + 100


@given(st.text(st.characters(), max_size=80))
def test_no_line_drives_the_terminal(text: str) -> None:
    assert HOSTILE.search(clean(line(text)).text) is None
