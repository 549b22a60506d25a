"""The page of memory that the engine and one worker process share.

What stands on it must be readable at any moment, above all when the worker has just died:
which attempt it had in hand, and what that attempt had printed but not sent.

Rule 1: every number has one writer. Worker: MARK, the two starts, the text. Engine: LIMIT,
        CANCEL. Each is an aligned 8-byte word, so it is read whole or not at all.
Rule 2: the worker writes MARK, then reads LIMIT, and leaves alone what is not below it. The
        engine writes LIMIT, waits 1 ms (a store is visible to other cores long before), then
        reads MARK: what is at or above LIMIT and not MARK has surely not begun.
Rule 3: attempts go by serial numbers that are never used twice for one worker, so that
        nothing meant for one attempt can strike the next.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from typing import Final

MARK: Final = 0
LIMIT: Final = 1
CANCEL: Final = 2
_START: Final = 4
"""Two words, by the serial's last bit: reading one while the next is written stays right."""
_LENGTH: Final = 8
"""How many bytes of text wait to be sent."""

NOTHING: Final = -1
NO_LIMIT: Final = 2**62

_TEXT_AT: Final = 4096
TEXT_ROOM: Final = 256 * 1024
"""Bytes of output that can wait. What a flush each 5 ms leaves unsent at a crash is here."""
_SIZE: Final = _TEXT_AT + TEXT_ROOM

STREAMS: Final = ("out", "err", "log")
_RECORD = struct.Struct("<qBHI")

Line = tuple[int, str, int, str]
"""Serial, stream, level, text."""


class Board:
    """The shared page. Both sides have one, over the same file."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, _SIZE)
        whole = memoryview(self._map)
        self.words = whole[:_TEXT_AT].cast("q")
        self.times = whole[:_TEXT_AT].cast("d")
        self._text = whole[_TEXT_AT:]

    @classmethod
    def create(cls) -> Board:
        """A fresh one, in a file without a name. Raises OSError."""
        fd = nameless_file()
        try:
            os.truncate(fd, _SIZE)
            board = cls(fd)
        except BaseException:
            os.close(fd)
            raise
        board.words[MARK] = board.words[CANCEL] = NOTHING
        board.words[LIMIT] = NO_LIMIT
        return board

    def start_of(self, serial: int) -> float:
        """When the attempt in hand began, on the engine's clock."""
        return self.times[_START + (serial & 1)]

    def begin(self, serial: int, now: float) -> bool:
        """Take an attempt in hand; False: the engine took it back before."""
        self.times[4 + (serial & 1)] = now  # _START, MARK, LIMIT as literals: each name is 20 ns
        words = self.words
        words[0] = serial
        return serial < words[1]

    # -- text --------------------------------------------------------------------------

    def add_text(self, record: bytes) -> bool:
        """Keep a record for the next flush; False: no room."""
        start = self.words[_LENGTH]
        end = start + len(record)
        if end > TEXT_ROOM:
            return False
        self._text[start:end] = record
        # The length last: a crash in between loses a record, and never shows half of one.
        self.words[_LENGTH] = end
        return True

    def text(self) -> bytes:
        """All records kept."""
        return bytes(self._text[: self.words[_LENGTH]])

    def clear_text(self) -> None:
        """They have been sent."""
        self.words[_LENGTH] = 0

    @property
    def has_text(self) -> bool:
        return self.words[_LENGTH] > 0

    def close(self) -> None:
        """Unmap the page and close its file."""
        self.words.release()
        self.times.release()
        self._text.release()
        try:
            self._map.close()
        except BufferError:
            pass  # a thread that is just reading it; freed with the last reference
        os.close(self.fd)


def record_of(serial: int, stream: str, level: int, text: str) -> bytes:
    """One piece of output as bytes."""
    data = text.encode("utf-8", "surrogatepass")
    return _RECORD.pack(serial, STREAMS.index(stream), level, len(data)) + data


def lines_in(data: bytes | memoryview) -> Iterator[Line]:
    """The pieces of output in records one after the other."""
    at, size = 0, len(data)
    while at < size:
        serial, stream, level, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        text = bytes(data[at : at + length]).decode("utf-8", "surrogatepass")
        yield serial, STREAMS[stream], level, text
        at += length


def nameless_file() -> int:
    """A descriptor of a file that only those have who are given it. Raises OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("flowforge")
    import tempfile  # 6 ms, which every start of a worker would pay

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
