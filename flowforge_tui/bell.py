"""What wakes a screen that rests: other threads ring, its loop answers.

Rule 1: ringing never waits for the loop, and costs one attribute while nobody listens: whoever
        rings may be the engine.
Rule 2: however often it is rung, the loop is woken once until it has answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


class Bell:
    """Rung from any thread; answered on the loop, by `answer`."""

    def __init__(self, answer: Callable[[], None]) -> None:
        """Belongs to the loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._answer = answer
        self.listens = False
        """Whether somebody wants to hear it. What came before that did not ring: look once."""
        self._rung = False

    def ring(self) -> None:
        """There may be something new."""
        if self.listens and not self._rung:
            self._rung = True
            with suppress(RuntimeError):  # the loop is closed: nobody looks any more
                self._loop.call_soon_threadsafe(self._heard)

    def _heard(self) -> None:
        self._rung = False
        if self.listens:
            self._answer()
