"""What a log pane shows, read beside the screen: the screen's loop never waits for a disk.

Rule 1: one read at a time, in a thread of its own; the next is started by whoever takes the
        result of the one before (`take`). What nobody waits for any more is thrown away.
Rule 2: the first read fetches a few of the newest lines, so that they show at once; if there
        are more, the second fetches all that a book keeps. Both lay them out, too.
Rule 3: where nothing comes, it looks less often: a quiet run costs next to nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flowforge_tui.logbook import MOST_LINES, LogBook, clean, letter, try_words
from flowforge_tui.safe_text import safe_line

if TYPE_CHECKING:
    from engine.front import LogLine, LogReader, LogTail

#: Seconds between two reads: of a log that grows, and of one in which nothing happens.
QUICK, SLOW = 0.12, 0.7

#: Lines that the first read fetches: some 10 ms of work, where 50,000 are half a second.
FIRST = 1_000

#: Reads in a row that bring nothing, after which an ended run's log counts as complete.
_QUIET_READS = 3


class Wanted(NamedTuple):
    """Whose output is shown."""

    directory: Path
    tids: Collection[int] | None
    """None: of the whole run."""
    attempt: tuple[int, int] | None = None
    """(generation, number) of the only attempt that is wanted; None: of all."""

    @property
    def single(self) -> bool:
        """True for the log of one task run."""
        return self.tids is not None and len(self.tids) == 1


class News(NamedTuple):
    """What a read found."""

    book: LogBook | None
    """Of the first read, and the second: the lines that were there, laid out."""
    lines: list[LogLine]
    begun: list[LogLine]


class LogSource:
    """Follows one log at a time."""

    def __init__(self, executor: Executor | None = None) -> None:
        """`executor`: where reads happen; else a thread of its own."""
        self._executor = executor
        self.ring: Callable[[], None] = _nobody
        """Called, from any thread, when lines were read; see `Bell.ring`."""
        self._readers: tuple[Path, LogReader] | None = None
        self._wanted: Wanted | None = None
        self._tail: LogTail | None = None
        self._job: Future[News] | None = None
        self._due = 0.0
        self._begun = 0.0
        self._pause = QUICK
        self._quiet = 0
        self._live = True
        self._last = FIRST
        """How many lines a read from the beginning is to fetch."""

    def watch(self, wanted: Wanted | None) -> None:
        """Follow another log, from its newest lines on; None: nothing."""
        if self._job is not None:
            self._job.cancel()
        self._wanted, self._tail, self._job = wanted, None, None
        self._due, self._pause, self._quiet = 0.0, QUICK, 0
        self._last = min(FIRST, MOST_LINES)

    def take(
        self, now: float, *, live: bool, width: int, threshold: int
    ) -> News | None:
        """What was read since the last call, if anything; starts the next read when it is time.

        `now`: seconds, monotonic. `live`: more may come. `width`, `threshold`: how a first read
        is to be laid out. Raises OSError where the log cannot be read.
        """
        news = self._finished(now)
        if live != self._live:  # the last lines of a run that has just ended
            self._live, self._quiet = live, 0
        waits = self._job is None and now >= self._due
        if waits and self._wanted is not None and (live or self._quiet < _QUIET_READS):
            self._begun = now
            self._quiet += 1
            self._begin(self._wanted, width, threshold)
        return news

    @property
    def behind(self) -> bool:
        """True until the log of a run that has ended was read to its end."""
        if self._wanted is None or self._live:
            return False
        return self._job is not None or self._quiet < _QUIET_READS

    def _finished(self, now: float) -> News | None:
        job = self._job
        if job is None or not job.done():
            return None
        self._job = None
        self._due = now + SLOW
        news = job.result()
        if news.book is not None or news.lines:
            self._pause, self._quiet = QUICK, 0
        else:
            self._pause = min(SLOW, self._pause * 1.5)
        self._due = self._begun + self._pause
        if news.book is not None and news.book.size >= self._last < MOST_LINES:
            self._tail, self._last, self._due = None, MOST_LINES, now
        return news

    def _begin(self, wanted: Wanted, width: int, threshold: int) -> None:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="flowforge-log")
        if self._tail is None:
            tail = self._tail = self._reader(wanted.directory).follow(
                wanted.tids, *(wanted.attempt or (None, None)), last=self._last)
            self._job = self._executor.submit(_first, tail, wanted.single, width, threshold)
        else:
            self._job = self._executor.submit(_more, self._tail)
        self._job.add_done_callback(self._read)

    def _read(self, job: Future[News]) -> None:
        """On the reader's thread: what it found is waited for."""
        if job.cancelled() or job.exception() is not None:
            return
        news = job.result()
        if news.book is not None or news.lines or news.begun:
            self.ring()

    def _reader(self, directory: Path) -> LogReader:
        """The same for as long as the directory is: it knows which block is where."""
        from engine.front import LogReader

        if self._readers is None or self._readers[0] != directory:
            self._readers = directory, LogReader(directory)
        return self._readers[1]

    def close(self) -> None:
        """Read no more."""
        self.watch(None)
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)


def _nobody() -> None:
    """No screen is there that could be rung for."""


def _first(tail: LogTail, single: bool, width: int, threshold: int) -> News:
    book = LogBook(splits=single, most=MOST_LINES)
    book.arrange(width=width, threshold=threshold)
    lines = [clean(line) for line in tail.poll()]
    book.extend(lines, [clean(line) for line in tail.begun()])
    return News(book, [], [])


def _more(tail: LogTail) -> News:
    lines = [clean(line) for line in tail.poll()]
    return News(None, lines, [clean(line) for line in tail.begun()])


# -- the whole, as a file -------------------------------------------------------------------------


def newest(wanted: Wanted, last: int) -> Iterator[LogLine]:
    """The last lines of a log, from its file. Raises OSError."""
    from engine.front import LogReader

    reader = LogReader(wanted.directory)
    yield from reader.lines(wanted.tids, *(wanted.attempt or (None, None)), last=last)


def whole(wanted: Wanted, name_of: Callable[[int], str]) -> Iterator[str]:
    """Every line of a log as text, from its file: time, level, the task where there are several."""
    from engine.front import LogReader

    shown: tuple[int, int] | None = None
    for line in LogReader(wanted.directory).lines(wanted.tids, *(wanted.attempt or (None, None))):
        this = (line.generation, line.attempt)
        if wanted.single and this != shown:
            if shown is not None:
                yield f"── {try_words(*this)} ──"
            shown = this
        yield as_text(line, "" if wanted.single else name_of(line.tid))


def as_text(line: LogLine, name: str = "") -> str:
    """One line for a file or a clipboard; safe for a terminal."""
    from flowforge_tui.safe_text import safe

    at = time.strftime("%H:%M:%S", time.localtime(line.time))
    return f"{at} {letter(line.level)} {safe_line(name) + '  ' if name else ''}{safe(line.text)}"


def save(path: Path, lines: Iterator[str]) -> int:
    """Write lines to a new file that only the user may read; how many. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    count = 0
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        for line in lines:
            file.write(line + "\n")
            count += 1
    return count
