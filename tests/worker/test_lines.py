from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.worker.lines import CUT, LINE_LIMIT, cut, decode, unfinished


@pytest.mark.fault(41)
@pytest.mark.parametrize("at", range(9))
def test_a_character_split_between_reads_comes_out_whole(at: int) -> None:
    data = "aé€😀".encode()
    first, tail = decode(data[:at])
    second, rest = decode(tail + data[at:])
    assert (first + second, rest) == ("aé€😀"[: len(first + second)], data[len(data) :])
    assert first + second == "aé€😀"[: len(first + second)]


@pytest.mark.fault(41)
def test_what_is_not_utf8_and_nuls_are_kept_legible() -> None:
    assert decode(b"a\xff\x00\xc3(b") == ("a\\xff\x00\\xc3(b", b"")


@given(st.lists(st.binary(max_size=8)))
def test_splitting_never_changes_what_is_decoded(pieces: list[bytes]) -> None:
    text, tail = "", b""
    for piece in pieces:
        more, tail = decode(tail + piece)
        assert len(tail) <= 3
        text += more
    assert (text, tail) == decode(b"".join(pieces))


def test_short_lines_pass_untouched() -> None:
    text = "a\n" * 100_000
    assert cut(text) == (text, 0)


@pytest.mark.fault(42)
def test_a_giant_line_is_cut_and_marked_and_its_neighbours_stand() -> None:
    text, used = cut("first\n" + "x" * 1_000_000 + "\nlast")
    assert text == "first\n" + "x" * LINE_LIMIT + CUT + "\nlast"
    assert used == 4


def test_a_giant_line_in_pieces_is_marked_once() -> None:
    out, used = "", 0
    for _ in range(100):
        piece, used = cut("y" * 10_000, used)
        out += piece
    tail, used = cut("z\nnext\n", used)
    assert out + tail == "y" * LINE_LIMIT + CUT + "\nnext\n"
    assert used == 0


def test_a_line_of_exactly_the_limit_is_whole() -> None:
    line = "x" * LINE_LIMIT + "\n"
    assert cut(line) == (line, 0)


def test_cutting_twice_changes_nothing_more() -> None:
    once = cut("x" * 200_000 + "\n")[0]
    assert cut(once)[0] == once


def test_a_progress_bar_starts_its_line_over() -> None:
    used = 0
    for _ in range(10_000):
        used = cut("\r" + "#" * 79, used)[1]
    assert used == 79 == unfinished("\r" + "#" * 79, 5)
