"""Brings the write-ahead log to the disk within a second of each commit, off the hot path.

Only the log is opened here, never the database: see rule 4 of `sqlite_schema.py`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

#: Seconds between two syncs at least, and so the longest time a commit may wait for the disk.
INTERVAL: Final = 1.0

_sync = getattr(os, "fdatasync", os.fsync)


class WalSync:
    """A thread that syncs one file while it is being written to. It sleeps otherwise."""

    def __init__(self, wal: Path, on_error: Callable[[OSError], object]) -> None:
        self.dirty = False
        """Something was written since the last sync began."""
        self._wal = wal
        self._on_error = on_error
        self._wake = threading.Condition()
        self._closed = False
        self._fd = -1
        self._syncing = threading.Lock()
        self._thread: threading.Thread | None = None

    def mark(self) -> None:
        """Something was written. A failed sync is told to `on_error`, not raised here."""
        with self._wake:
            self.dirty = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="wal-sync", daemon=True)
                self._thread.start()
            self._wake.notify()

    def flush(self) -> None:
        """Sync now, if anything was written since the last time."""
        self._sync_now()

    def close(self) -> None:
        """Sync a last time and end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        self._sync_now()
        with self._syncing:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def _loop(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self.dirty or self._closed)
                self._wake.wait_for(lambda: self._closed, timeout=INTERVAL)
                if self._closed:
                    return
            self._sync_now()

    def _sync_now(self) -> None:
        with self._syncing:
            if not self.dirty:
                return
            # First, so that what is written from here on counts for the next sync.
            self.dirty = False
            try:
                if self._fd < 0:
                    self._fd = os.open(self._wal, os.O_RDWR)
                _sync(self._fd)
            except OSError as exc:
                self._on_error(exc)
