"""A run on a thread of its own, for a screen that has the main thread.

Rule 1: the engine knows nothing of the screen: it runs as it would on the main thread, with a
        reporter that is the screen's feed.
Rule 2: Python's signal handlers run on the main thread alone, so the screen stops the run.
Rule 3: what the work raises is kept for the main thread, which tells it when the terminal is
        a terminal again.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from flowforge_tui.feed import LiveFeed

if TYPE_CHECKING:
    from engine import Run

Work = Callable[[LiveFeed], "Run | None"]
"""Runs a workflow with the feed as its reporter; returns when it has ended."""


class Host:
    """Runs `work` with a feed."""

    def __init__(self, work: Work) -> None:
        self.feed = LiveFeed()
        self.run: Run | None = None
        self.error: BaseException | None = None
        """What the work raised."""
        self.level = 0
        """How far the run was asked to stop."""
        self._work = work
        self._context = contextvars.copy_context()
        self._thread = threading.Thread(target=self._go, name="flowforge-host", daemon=True)

    def start(self) -> None:
        """Begin, on the host's thread."""
        self._thread.start()

    def _go(self) -> None:
        try:
            self.run = self._context.run(self._work, self.feed)
        except BaseException as error:
            self.error = error
        finally:
            self.feed.ring()

    def stop(self, level: int) -> int:
        """As Ctrl-C does: 1 starts nothing new, 2 stops what runs, 3 leaves at once.

        Returns the level that it now has, which never goes down.
        """
        self.level = max(self.level, min(level, 3))
        self.feed.stop(self.level)
        return self.level

    def close(self) -> None:
        """Nobody will ask anything of the run any more: if all of it has ended, end it."""
        self.feed.close()

    @property
    def started(self) -> bool:
        """True once it was begun."""
        return self._thread.ident is not None

    @property
    def ended(self) -> bool:
        """True when the work has returned, or raised."""
        return self.started and not self._thread.is_alive()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds; True if it has come."""
        self._thread.join(timeout)
        return not self._thread.is_alive()
