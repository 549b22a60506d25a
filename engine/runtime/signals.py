"""Ctrl-C and its kin, for a run hosted by the main thread.

Rule 1: a handler sets a number and nothing else; it may interrupt a thread that holds the
        runner's lock. A watcher thread acts on it.
Rule 2: the first Ctrl-C drains, the second cancels what runs, the third kills. SIGTERM is
        the second. The run is INTERRUPTED, never CANCELLED, by a signal.
Rule 3: SIGHUP does not stop a headless run.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Signals:
    """Handles signals while a run lasts; outside the main thread it does nothing."""

    def __init__(self, act: Callable[[int], None], interrupt: Callable[[], None]) -> None:
        self._act = act
        """Called on the watcher thread with 1 (drain), 2 (stop) or 3 (kill)."""
        self._interrupt = interrupt
        """Called in the handler itself from the second signal on: may raise in user code."""
        self.level = 0
        self.first: int | None = None
        """The signal number that came first; None if none did."""
        self._old: dict[int, Any] = {}
        self._done = threading.Event()

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._old[signal.SIGINT] = signal.signal(signal.SIGINT, self._on_interrupt)
            self._old[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._on_terminate)
            if hasattr(signal, "SIGHUP"):
                self._old[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
            threading.Thread(target=self._watch, name="flowforge-signals", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for number, handler in self._old.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._raise_to(self.level + 1, number)

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        self._raise_to(max(2, self.level + 1), number)

    def _raise_to(self, level: int, number: int) -> None:
        self.first = self.first or number
        self.level = min(level, 3)
        if self.level >= 2:
            self._interrupt()

    def _watch(self) -> None:
        seen = 0
        # Polled, since waking a thread from a handler takes a lock that the thread which it
        # interrupted may hold. A tenth of a second is soon enough for a key.
        while not self._done.wait(0.05):
            while seen < self.level:
                seen += 1
                if seen == self.level:
                    self._act(seen)
