"""The workflow log: one plain file that all runs in a directory write to, and people read.

Rule 1: several processes append at once. A batch of lines is one write in append mode, so
        batches never mix; only a rotation takes a lock.
Rule 2: whoever finds the file full rotates it; the others notice before their next write
        that the name leads to another file, and follow.
Rule 3: a log that cannot be written stops no run. What was lost is counted, and said in the
        log once it can be.
Rule 4: text is safe to `cat`: control characters are escaped, secrets masked.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.worker.secrets import mask

#: Bytes of a file at which the next batch begins a new one, and how many files there are,
#: the current one included.
MAX_BYTES = 10_000_000
FILES = 5

#: C0, DEL and C1 as \xNN, all but tab and newline: a terminal obeys them.
_CONTROL = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)
}


class WorkflowLog:
    """Appends lines to `path`, rotated to `path.1`, `path.2`, … Thread-safe."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, files: int = FILES) -> None:
        self.path = path
        self.lost = 0
        """Lines that could not be written."""
        self._max_bytes = max_bytes
        self._files = max(files, 1)
        self._lock = threading.Lock()
        self._fd = -1
        self._unsaid = 0
        self._reason = ""

    def write(self, lines: Iterable[str]) -> None:
        """Append formatted lines, with or without their newlines. Never raises OSError."""
        kept = [line if line.endswith("\n") else f"{line}\n" for line in lines]
        if not kept:
            return
        with self._lock:
            try:
                self._append(self._encode(kept))
                self._unsaid = 0
            except OSError as failure:
                self.lost += len(kept)
                self._unsaid += len(kept)
                self._reason = failure.strerror or str(failure)

    def close(self) -> None:
        """Close the file. A later write opens it again."""
        with self._lock:
            self._drop()

    def _encode(self, lines: list[str]) -> bytes:
        if self._unsaid:
            lines = [f"[{self._unsaid} lines lost here: {self._reason}]\n", *lines]
        text = mask("".join(lines)).translate(_CONTROL)
        return text.encode("utf-8", "backslashreplace")

    def _append(self, data: bytes) -> None:
        size = self._current_size()
        if size and size + len(data) > self._max_bytes:
            self._rotate(len(data))
        written = os.write(self._fd, data)
        while written < len(data):
            # Only a disk that fills up cuts a write short; the rest says why.
            written += os.write(self._fd, data[written:])

    def _current_size(self) -> int:
        """Bytes in the file that the path names now; opens it if it is another than before."""
        if self._fd >= 0:
            ours = os.fstat(self._fd)
            with contextlib.suppress(FileNotFoundError):
                named = self.path.stat()
                if (named.st_ino, named.st_dev) == (ours.st_ino, ours.st_dev):
                    return ours.st_size
            self._drop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        return os.fstat(self._fd).st_size

    def _drop(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _rotate(self, coming: int) -> None:
        with _locked(self.path.with_name(f".{self.path.name}.lock")):
            # Another process may have rotated while this one waited for the lock.
            if self._current_size() + coming > self._max_bytes:
                self._drop()
                for number in range(self._files - 1, 0, -1):
                    older = self.path if number == 1 else self._old(number - 1)
                    with contextlib.suppress(FileNotFoundError):
                        older.replace(self._old(number))
                if self._files == 1:
                    self.path.unlink(missing_ok=True)
                self._current_size()

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; where the system has none, nothing."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
