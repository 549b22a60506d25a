"""Ctrl-C and its kin, for a run hosted by the main thread.

Rule 1: a handler sets a number and nothing else; it may interrupt a thread that holds the
        runner's lock. The runner's ticker acts on it, within a tenth of a second.
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
        """Called by `poll` with 1 (drain), 2 (stop) or 3 (kill)."""
        self._interrupt = interrupt
        """Called in the handler itself from the second signal on: may raise in user code."""
        self.hears = False
        """True while signals come here."""
        self.level = 0
        self.first: int | None = None
        """The signal number that came first; None if none did."""
        self._old: dict[int, Any] = {}
        self._seen = 0

    def __enter__(self) -> Signals:
        self.hears = threading.current_thread() is threading.main_thread()
        if self.hears:
            self._old[signal.SIGINT] = signal.signal(signal.SIGINT, self._on_interrupt)
            self._old[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._on_terminate)
            if hasattr(signal, "SIGHUP"):
                self._old[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(self, *_: object) -> None:
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

    def poll(self) -> None:
        """Act on what has come since the last look.

        Polled, since waking a thread from a handler takes a lock which the thread that it
        interrupted may hold.
        """
        if self._seen < self.level:
            self._seen = self.level
            self._act(self._seen)
