"""Snapshots while a run goes on: now and then, the journal so far is folded and written.

Rule 1: a thread of its own, reading the journal through a second connection; the runner and
        its lock are not touched.
Rule 2: rare enough to cost at most a fiftieth of the time, however long the journal is.
Rule 3: the snapshot is a second copy and a shortcut. One that cannot be written is done
        without until the next.
Rule 4: none is on its way, and none begins, once `close` has returned: the files are another
        owner's then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from engine.errors import StorageError
from engine.worker.clock import now

#: Seconds between snapshots, at least.
INTERVAL = 60.0
#: And this many times what the last one took.
SHARE = 50.0


class Snapshots:
    """Calls `write` from time to time. `poll` it as often as you like; `close` waits."""

    def __init__(self, write: Callable[[], None], interval: float = INTERVAL) -> None:
        self._write = write
        self._interval = interval
        self._next = now() + interval
        self._lock = threading.Lock()
        self._closed = False
        self._thread: threading.Thread | None = None
        self.written = 0
        """How many there were."""

    def poll(self) -> None:
        """Begin one if it is time, and none is on its way."""
        if now() < self._next:
            return
        with self._lock:
            if self._closed or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(
                target=self._take, name="flowforge-snapshot", daemon=True)
            self._thread.start()

    def _take(self) -> None:
        began = now()
        with suppress(StorageError, OSError):
            self._write()
            self.written += 1
        took = now() - began
        self._next = now() + max(self._interval, SHARE * took)

    def close(self) -> None:
        """Wait for one that is on its way; begin no other."""
        with self._lock:
            self._closed = True
        if self._thread is not None:
            self._thread.join()
