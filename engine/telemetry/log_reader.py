"""Reads the segments that `LogWriter`s of a run wrote, of a live run or a finished one.

Rule 1: reading never locks, waits or writes. A block that is not complete is not there yet.
Rule 2: what is damaged is said in its place, and what is around it stands.
Rule 3: memory is bounded by a block and the heads; a log of gigabytes is an iterator.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import suppress
from heapq import merge
from pathlib import Path
from typing import NamedTuple

from engine.telemetry.log_blocks import (
    HEAD_SIZE,
    MAGIC,
    Head,
    Row,
    parse_body,
    parse_head,
    tids_size,
)

#: Bytes read at once when the next block is searched for after damage.
_STRIDE = 1 << 20


class LogLine(NamedTuple):
    """One line of a task's output."""

    tid: int
    generation: int
    attempt: int
    stream: str
    """out, err or log."""
    level: int
    """One of `logging`'s."""
    time: float
    """When it was begun, in seconds since the Unix epoch."""
    text: str
    """Without its newline. Untrusted: it may hold control characters."""


class _Segment:
    """One file, and the heads of the blocks found in it so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer, _, number = path.stem.rpartition("-")
        self.number = int(number) if number.isdecimal() else 0
        self.heads: list[Head] = []
        self._scanned = 0
        self._searched = -1
        """The size at which a search for a block after damage found none."""

    def refresh(self) -> None:
        """Look for blocks that were added."""
        with suppress(FileNotFoundError), self.path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            at = self._scanned
            while at + HEAD_SIZE <= size:
                head = _head_at(file.fileno(), at)
                if head is not None and head.end <= size:
                    self.heads.append(head)
                    at = self._scanned = head.end
                    continue
                # Torn, damaged, or being written: only a sound block further on tells.
                if size == self._searched:
                    break
                found = self._after_damage(file.fileno(), at, size)
                if found is None:
                    self._searched = size
                    break
                at = found

    def _after_damage(self, fd: int, at: int, size: int) -> int | None:
        """Where the next sound block begins after what is wrong at `at`."""
        start = at + 1
        if self.heads and self.heads[-1].end == at and self.read(self.heads[-1]) is None:
            # The block before was cut short, and its head led past the beginning of others.
            start = self.heads[-1].offset + 1
        return _search(fd, start, size)

    def read(self, head: Head) -> list[Row] | None:
        """The rows of a block; None if they are damaged."""
        try:
            with self.path.open("rb", buffering=0) as file:
                body = os.pread(file.fileno(), head.end - head.body_offset, head.body_offset)
        except FileNotFoundError:  # pruned in the meantime
            return []
        return parse_body(body, head.body_crc)


def _head_at(fd: int, at: int) -> Head | None:
    fixed = os.pread(fd, HEAD_SIZE, at)
    if len(fixed) < HEAD_SIZE or not fixed.startswith(MAGIC):
        return None
    size = tids_size(fixed)
    if size is None:
        return None
    return parse_head(fixed, os.pread(fd, size, at + HEAD_SIZE), at)


def _search(fd: int, start: int, size: int) -> int | None:
    """The first offset from `start` on at which a sound, complete block begins."""
    while start < size:
        chunk = os.pread(fd, _STRIDE + len(MAGIC) - 1, start)
        found = chunk.find(MAGIC)
        while found >= 0:
            head = _head_at(fd, start + found)
            if head is not None and head.end <= size:
                return start + found
            found = chunk.find(MAGIC, found + 1)
        start += _STRIDE
    return None


class LogReader:
    """The task output of one run: `directory` is where its `LogWriter`s write."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._segments: dict[str, _Segment] = {}

    def lines(
        self,
        tid: int | Collection[int] | None = None,
        generation: int | None = None,
        attempt: int | None = None,
        *,
        last: int | None = None,
    ) -> Iterator[LogLine]:
        """What is there now, oldest first: of everything, a task run or several, or one try.

        `last`: only that many lines, from the end.
        """
        tail = self.follow(tid, generation, attempt, last=last)
        yield from tail.poll(final=True)

    def follow(
        self,
        tid: int | Collection[int] | None = None,
        generation: int | None = None,
        attempt: int | None = None,
        *,
        last: int | None = None,
    ) -> LogTail:
        """A cursor: each `poll()` gives what was added since the one before."""
        return LogTail(self, _Wanted(tid, generation, attempt), last)

    def segments(self) -> list[_Segment]:
        """The segments, in order of writer and number, with all blocks that are complete."""
        try:
            paths = [path for path in self.directory.iterdir() if path.suffix == ".log"]
        except FileNotFoundError:
            return []
        found = []
        for path in paths:
            segment = self._segments.setdefault(path.name, _Segment(path))
            segment.refresh()
            found.append(segment)
        return sorted(found, key=lambda s: (s.writer, s.number))


class _Wanted:
    """Which rows are asked for."""

    def __init__(
        self, tid: int | Collection[int] | None, generation: int | None, attempt: int | None
    ) -> None:
        self.mark = tid if isinstance(tid, int) else -1
        """The task run that damage is told as if it were of."""
        self._ids: Collection[int] | None = None
        if tid is not None:
            ids = (tid,) if isinstance(tid, int) else tid
            self._ids = ids if isinstance(ids, range) else frozenset(ids)
        self._generation = generation
        self._attempt = attempt
        self._all = tid is None and generation is None and attempt is None

    def in_block(self, head: Head) -> bool:
        """True if a block has rows of the task runs asked for."""
        ids = self._ids
        if ids is None:
            return True
        if len(ids) < len(head.tids):
            return any(map(head.holds, ids))
        return any(tid in ids for tid in head.tids)

    def of(self, rows: list[Row]) -> list[Row]:
        """Those of the rows."""
        ids, generation, attempt = self._ids, self._generation, self._attempt
        return rows if self._all else [
            row for row in rows
            if (ids is None or row[0] in ids)
            and (generation is None or row[1] == generation)
            and (attempt is None or row[2] == attempt)
        ]


class LogTail:
    """A place in a run's output. Made by `LogReader.follow`."""

    def __init__(self, reader: LogReader, wanted: _Wanted, last: int | None) -> None:
        self._reader = reader
        self._wanted = wanted
        self._last = last
        self._next: dict[str, int] = {}
        """Per segment file: the first block that is not read yet."""
        self._lines = _Lines()

    def poll(self, *, final: bool = False) -> Iterator[LogLine]:
        """The lines completed since the last poll; go through all of them before the next.

        `final`: a line that was begun and not ended too.
        """
        segments = self._reader.segments()
        if self._last is None:
            yield from self._poll(segments, final)
            return
        self._skip_to_last(segments, self._last)
        kept = deque(self._poll(segments, final), maxlen=self._last)
        self._last = None
        yield from kept

    def begun(self) -> list[LogLine]:
        """The lines that are begun and not ended yet, as they stand: a prompt, a progress bar."""
        return self._lines.begun()

    def _poll(self, segments: list[_Segment], final: bool) -> Iterator[LogLine]:
        by_writer: dict[str, list[_Segment]] = {}
        for segment in segments:
            by_writer.setdefault(segment.writer, []).append(segment)
        streams = [self._rows(group) for group in by_writer.values()]
        rows = streams[0] if len(streams) == 1 else merge(*streams, key=lambda row: row[5])
        for row in rows:
            yield from self._lines.feed(row)
        if final:
            yield from self._lines.rest()

    def _rows(self, segments: list[_Segment]) -> Iterator[Row]:
        for segment in segments:
            name = segment.path.name
            heads = segment.heads
            for i in range(self._next.get(name, 0), len(heads)):
                if self._wanted.in_block(heads[i]):
                    yield from self._read(segment, heads[i])
            self._next[name] = len(heads)

    def _read(self, segment: _Segment, head: Head) -> list[Row]:
        rows = segment.read(head)
        if rows is None:
            warning, text = 30, f"[up to {head.rows} lines are damaged here]\n"
            return [(self._wanted.mark, 0, 0, "log", warning, head.first, text)]
        return self._wanted.of(rows)

    def _skip_to_last(self, segments: list[_Segment], last: int) -> None:
        """Begin at the latest block from which on there are `last` lines."""
        blocks = [
            (head.last, number, i)
            for number, segment in enumerate(segments)
            for i, head in enumerate(segment.heads)
            if self._wanted.in_block(head)
        ]
        self._next = {segment.path.name: len(segment.heads) for segment in segments}
        have = 0
        for _, number, i in sorted(blocks, reverse=True):
            if have > last:  # one more than asked for: the first may be the end of a longer line
                break
            segment = segments[number]
            have += sum(row[6].count("\n") for row in self._read(segment, segment.heads[i]))
            self._next[segment.path.name] = min(i, self._next[segment.path.name])


class _Lines:
    """Puts lines together from rows that may hold several, or a piece of one."""

    def __init__(self) -> None:
        self._begun: dict[tuple[int, int, int, str], tuple[Row, str]] = {}

    def feed(self, row: Row) -> Iterator[LogLine]:
        key, text = row[:4], row[6]
        begun = self._begun.pop(key, None) if self._begun else None
        if begun is not None:
            row, text = begun[0], begun[1] + text
        *whole, rest = text.split("\n")
        for line in whole:
            yield LogLine(*row[:6], _redrawn(line))
        if rest:
            self._begun[key] = (row, rest[rest.rfind("\r", 0, -1) + 1 :])

    def begun(self) -> list[LogLine]:
        return [LogLine(*row[:6], _redrawn(text)) for row, text in self._begun.values()]

    def rest(self) -> Iterator[LogLine]:
        yield from self.begun()
        self._begun.clear()


def _redrawn(line: str) -> str:
    """The line as a terminal shows it in the end: a progress bar's last state."""
    if "\r" not in line:
        return line
    line = line.rstrip("\r")
    return line[line.rfind("\r") + 1 :]
