"""Reading what is typed: at once, without looking up meanwhile, and to be ended at any time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from flowforge_tui import listening
from flowforge_tui.listening import Listening

PATIENCE = 20.0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            assert fd == ends[1]  # a test has closed it


def test_what_comes_is_told_and_then_the_silence_behind_it_once(pipe: tuple[int, int]) -> None:
    chunks = Listening().chunks(pipe[0])
    os.write(pipe[1], b"\x1b")
    assert [next(chunks), next(chunks)] == [b"\x1b", b""]
    os.write(pipe[1], b"ab")
    assert next(chunks) == b"ab"


def test_nobody_looks_up_while_nothing_comes(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    class Watched(listening._Selector):  # type: ignore[misc, valid-type]
        def select(self, timeout: float | None = None) -> list[object]:
            asked.append(timeout)
            return super().select(timeout)  # type: ignore[no-any-return]

    monkeypatch.setattr(listening, "_Selector", Watched)
    chunks = Listening().chunks(pipe[0])
    os.write(pipe[1], b"x")
    assert [next(chunks), next(chunks)] == [b"x", b""]
    os.close(pipe[1])
    assert list(chunks) == []
    assert asked == [None, listening.HALF, None]


def test_it_is_ended_from_another_thread_while_it_sleeps(pipe: tuple[int, int]) -> None:
    end = Listening()
    heard: list[list[bytes]] = []
    reader = threading.Thread(target=lambda: heard.append(list(end.chunks(pipe[0]))), daemon=True)
    reader.start()
    end.set()
    reader.join(PATIENCE)
    assert heard == [[]]


def test_what_was_ended_can_be_begun_again(pipe: tuple[int, int]) -> None:
    end = Listening()
    end.set()
    assert list(end.chunks(pipe[0])) == []
    end.clear()
    os.write(pipe[1], b"x")
    assert next(end.chunks(pipe[0])) == b"x"


def test_it_leaves_no_descriptor_open(pipe: tuple[int, int]) -> None:
    before = os.listdir("/dev/fd")
    end = Listening()
    chunks = end.chunks(pipe[0])
    os.write(pipe[1], b"x")
    next(chunks)
    end.set()
    assert list(chunks) == []
    assert len(os.listdir("/dev/fd")) == len(before)
