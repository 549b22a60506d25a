"""Nothing from outside drives a terminal."""

from __future__ import annotations

import time
import tracemalloc
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.telemetry.safe_text import safe, safe_line


@pytest.mark.parametrize(("hostile", "left"), [
    ("\x1b]0;title\x07text", "text"),
    ("\x1b]52;c;aGk=\x1b\\text", "text"),
    ("\x1bP+q544e\x1b\\text", "text"),
    ("\x9d0;title\x9ctext", "text"),
    ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
    ("\x9b31mred", "red"),
    ("\x1bcreset", "reset"),
    ("\x1b]0;never ended\nnext line", "0;never ended\nnext line"),
    ("a\x00b\x08c\x7fd\x85e", "abcde"),
    ("over\rwritten\r\n", "overwritten\n"),
    ("\u202egnp.exe\u2066", "gnp.exe"),
    ("a\u2028b\ufeffc\ud800d", "abcd"),
    ("\x1b\x1b[[31m", "31m"),
    ("tab\there\nnewline", "tab\there\nnewline"),
    ("naïve 漢字 👩‍👩‍👧 [bold]", "naïve 漢字 👩‍👩‍👧 [bold]"),
])
def test_what_is_left(hostile: str, left: str) -> None:
    assert safe(hostile) == left


_PIECES = st.sampled_from(
    ["\x1b", "[", "]", "\x9b", "\x9d", "\x90", "\x07", "\x9c", "\\", "P", "31m", ";", "text", "\r",
     "\n", "\u202e", "\ud800"])


@given(st.lists(_PIECES | st.text(max_size=3)).map("".join))
def test_no_control_is_left_whatever_comes(text: str) -> None:
    cleaned = safe(text)
    assert all(c in "\t\n" or unicodedata.category(c) not in ("Cc", "Cs") for c in cleaned)
    assert safe(cleaned) == cleaned
    cleaned.encode("utf-8")
    assert "\n" not in safe_line(text)


@given(st.text(max_size=60), st.integers(1, 20))
def test_a_line_has_at_most_its_limit(text: str, limit: int) -> None:
    assert len(safe_line(text, limit)) <= limit


@pytest.mark.parametrize("piece", ["\x1b]", "\x9d", "\x1b[", "\x1b[1;", "\x1bP\x1b", "\x9b "])
def test_a_megabyte_of_beginnings_takes_no_longer_than_a_megabyte(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    begin = time.perf_counter()
    safe(text)
    # Linear: some 0.1 s. Anything quadratic would take hours.
    assert time.perf_counter() - begin < 5


def test_a_giant_line_is_cut_before_it_is_cleaned() -> None:
    text = "x" * 100_000_000
    tracemalloc.start()
    try:
        assert safe_line(text, 80) == "x" * 79 + "…"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000, "no copy of all of it was made"
    finally:
        tracemalloc.stop()
