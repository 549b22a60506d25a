"""The event bus: changes, once recorded, on their way to whoever listens.

Rule 1: publishing is an append; delivery happens on the bus's own thread, in batches, some
        thirty times a second. With no listeners, nothing is kept.
Rule 2: a listener that raises is reported once and harms nobody else; it stays subscribed.
Rule 3: what was published before `close` is delivered before it returns.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from engine.core.events import Attempt, Change, Succeeded

Listener = Callable[[Sequence[Change]], None]

#: Seconds between deliveries: often enough to look live, rare enough to cost nothing.
BEAT = 0.03


class Bus:
    """Fans batches of changes out to listeners."""

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._listeners: list[Listener] = []
        self._waiting: deque[Sequence[Change]] = deque()
        self._something = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._faulty: set[int] = set()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` called with batches of changes; returns what unsubscribes it."""
        self._listeners.append(listener)
        if self._thread is None:
            self._thread = threading.Thread(target=self._deliver, name="flowforge-bus", daemon=True)
            self._thread.start()

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def publish(self, changes: Sequence[Change]) -> None:
        """Queue recorded changes for delivery. Never blocks."""
        if self._listeners:
            self._waiting.append(changes)
            if not self._something.is_set():
                self._something.set()

    def _deliver(self) -> None:
        while not self._closing.is_set():
            self._something.wait()
            self._closing.wait(BEAT)
            self._something.clear()
            self._drain()
        self._drain()

    def _drain(self) -> None:
        batch = self._gathered()
        if not batch:
            return
        for listener in list(self._listeners):
            try:
                listener(batch)
            except BaseException as error:  # SystemExit would end the thread, and all news
                self._blame(listener, error)

    def _gathered(self) -> list[Change]:
        """All that waits. Successes in a row become one change: a chain makes one a task, and
        listeners pay by the change (10 µs of a chain's 40 µs a task, before)."""
        batch: list[Change] = []
        run: list[Attempt] = []
        waiting = self._waiting
        while waiting:
            for change in waiting.popleft():
                if isinstance(change, Succeeded):
                    run += change.attempts
                    continue
                if run:
                    batch.append(Succeeded(run))
                    run = []
                batch.append(change)
        if run:
            batch.append(Succeeded(run))
        return batch

    def _blame(self, listener: Listener, error: BaseException) -> None:
        if id(listener) not in self._faulty:
            self._faulty.add(id(listener))
            name = getattr(listener, "__qualname__", repr(listener))
            self._complain(f"listener {name} raised {type(error).__name__}: {error}")

    def close(self) -> None:
        """Deliver what is left, then stop."""
        self._closing.set()
        self._something.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)
