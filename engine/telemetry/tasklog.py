"""What tasks wrote, on disk: `LogWriter` puts it there, `LogReader` finds it again.

Rule 1: an append costs a microsecond and touches no file; a whole batch is written at once,
        when it is large enough or a fifth of a second old.
Rule 2: a writer never blocks or fails a task for longer than a write takes, and never holds
        more than a batch: a task that floods its log waits for the disk. What could not be
        written is counted, and marked in the log where it is missing.
Rule 3: files are only ever appended to, by one writer each. A new session, and a full
        segment, begin a new file; a torn end is left behind as it is.
Rule 4: no secret that this process knows of is written.
"""

from __future__ import annotations

import contextlib
import os
import threading
from contextvars import Context
from pathlib import Path

from engine.telemetry.log_blocks import Row, pack
from engine.telemetry.log_reader import LogLine, LogReader, LogTail
from engine.worker.lines import LINE_LIMIT, cut
from engine.worker.router import drain
from engine.worker.secrets import hiding, mask

__all__ = ["LogLine", "LogReader", "LogTail", "LogWriter"]

#: Bytes after which a new segment begins: small enough to prune, large enough to be few.
SEGMENT_BYTES = 64 << 20

#: Characters that make a batch. A block of that size is decoded in about 2 ms when one task's
#: log is looked up.
BATCH_CHARS = 256 << 10

#: Seconds a line waits at most before it can be read.
INTERVAL = 0.2

#: Attempts in the middle of a line that are remembered, and attempts whose losses are marked.
_MOST_OPEN = 10_000
_MOST_GAPS = 1_000

_Key = tuple[int, int, int, str]


class _Line:
    """A line that an attempt has begun and not ended yet."""

    __slots__ = ("parts", "used")

    def __init__(self) -> None:
        self.used = 0
        """Characters of it so far, written ones included."""
        self.parts: list[str] | None = None
        """Its pieces in the batch at hand; None: none since the last batch was written."""


_Pending = tuple[int, int, int, str, int, float, str | list[str]]


class LogWriter:
    """Appends task output to segments in `directory`. Thread-safe; `close` it at the end."""

    def __init__(
        self,
        directory: Path,
        writer_id: str = "engine",
        *,
        segment_bytes: int = SEGMENT_BYTES,
        batch_chars: int = BATCH_CHARS,
        interval: float = INTERVAL,
    ) -> None:
        self.directory = directory
        self.writer_id = writer_id
        self.lost = 0
        """Rows that could not be written."""
        self._segment_bytes = segment_bytes
        self._batch_chars = batch_chars
        self._interval = interval
        self._lock = threading.Lock()
        self._pending: list[_Pending] = []
        self._size = 0
        self._open: dict[_Key, _Line] = {}
        self._io = threading.Lock()
        """Held while a batch is written; taken before `_lock`."""
        self._fd = -1
        self._offset = 0
        self._gaps: dict[tuple[int, int, int], int] = {}
        self._reason = ""
        self._thread: threading.Thread | None = None
        self._dirty = threading.Event()
        self._closed = threading.Event()
        self._ended = False
        """True once `close` has written the rest."""

    # -- appending ---------------------------------------------------------------------

    def append(
        self, tid: int, generation: int, attempt: int, stream: str, level: int, time: float,
        text: str,
    ) -> None:
        """Keep a piece of output: any text, with its newlines; lines may come in pieces.

        `tid` -1 is for what belongs to no task run. `time`: seconds since the Unix epoch.
        """
        if not text:
            return
        key = (tid, generation, attempt, stream)
        with self._lock:
            line = self._open.get(key)
            if line is None and text[-1] == "\n" and len(text) <= LINE_LIMIT:
                self._pending.append((tid, generation, attempt, stream, level, time, text))
            else:
                text = self._piece(key, line, level, time, text)
            self._size += len(text)
            full = self._size >= self._batch_chars
        if full:
            self.flush()
        elif not self._dirty.is_set():
            self._wake()

    def _piece(self, key: _Key, line: _Line | None, level: int, time: float, text: str) -> str:
        """Add to a line that is, or stays, unfinished. Returns what is kept of `text`."""
        if line is None:
            line = self._open[key] = _Line()
            if len(self._open) > _MOST_OPEN:
                del self._open[next(iter(self._open))]
        text, line.used = cut(text, line.used)
        if text:
            if line.parts is None:
                line.parts = [text]
                self._pending.append((*key, level, time, line.parts))
            else:
                line.parts.append(text)
            if text[-1] == "\n":
                del self._open[key]
        return text

    def _wake(self) -> None:
        self._dirty.set()
        if self._thread is None:
            with self._io:
                if self._thread is None and not self._closed.is_set():
                    self._thread = threading.Thread(
                        target=self._flush_now_and_then, name="flowforge-tasklog", daemon=True
                    )
                    # In a context of its own: a thread inherits the attempt that starts it.
                    Context().run(self._thread.start)

    def _flush_now_and_then(self) -> None:
        while not self._closed.is_set():
            self._dirty.wait()
            self._closed.wait(self._interval)
            self._dirty.clear()
            self.flush()

    # -- writing -----------------------------------------------------------------------

    def flush(self) -> None:
        """Write what is at hand, so that readers see it. Does not wait for the disk itself."""
        with self._io:
            with self._lock:
                pending, self._pending, self._size = self._pending, [], 0
                for line in self._open.values():
                    line.parts = None
            if pending:
                self._write(self._rows(pending))

    def close(self) -> None:
        """Write the rest and close the file. What is appended later counts as lost."""
        drain()
        self._closed.set()
        self._dirty.set()
        self.flush()
        if self._thread is not None:
            self._thread.join()
        with self._io:
            self._ended = True
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    @staticmethod
    def _rows(pending: list[_Pending]) -> list[Row]:
        clean = mask if hiding() else str
        return [
            (*rest, clean(text if type(text) is str else "".join(text)))  # type: ignore[misc]
            for *rest, text in pending
        ]

    def _write(self, rows: list[Row]) -> None:
        if self._ended:
            self.lost += len(rows)
            return
        try:
            self._append_block(pack([*self._marks(rows[0][5]), *rows]))
            self._gaps.clear()
        except (OSError, ValueError, OverflowError) as failure:
            self._lose(rows, failure)

    def _append_block(self, block: bytes) -> None:
        if self._fd < 0 or self._offset + len(block) > self._segment_bytes:
            self._next_segment()
        view = memoryview(block)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            with contextlib.suppress(OSError):  # else the reader skips the torn block
                os.ftruncate(self._fd, self._offset)
            raise
        self._offset += len(block)

    def _next_segment(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = [p.stem.rpartition("-")[2] for p in self.directory.glob(f"{self.writer_id}-*.log")]
        number = max((int(n) for n in taken if n.isdecimal()), default=0) + 1
        path = self.directory / f"{self.writer_id}-{number:04}.log"
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._offset = fd, 0

    # -- losses --------------------------------------------------------------------------

    def _lose(self, rows: list[Row], failure: Exception) -> None:
        self.lost += len(rows)
        self._reason = getattr(failure, "strerror", None) or str(failure)
        for tid, generation, attempt, *_ in rows:
            key = (tid, generation, attempt)
            if key in self._gaps or len(self._gaps) < _MOST_GAPS:
                self._gaps[key] = self._gaps.get(key, 0) + 1

    def _marks(self, at: float) -> list[Row]:
        warning = 30  # logging.WARNING
        return [
            (*key, "log", warning, at, f"[{count} lines lost here: {self._reason}]\n")
            for key, count in self._gaps.items()
        ]

