"""Waiting for what a terminal, or a browser, sends: without looking up while nothing comes.

Textual's own readers look up ten times a second, which alone is a fifth of a per cent of a core.
Here the thread that reads sleeps until bytes are there, or somebody wants it to end.
"""

from __future__ import annotations

import os
import selectors
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from textual.constants import ESCAPE_DELAY

#: macOS knows no `poll` of a terminal; elsewhere `select` would know no descriptor above 1023.
_Selector = selectors.SelectSelector if sys.platform == "darwin" else selectors.PollSelector

#: Seconds without a byte after which half an escape sequence is the Escape key: a little more
#: than Textual's parser waits, so that one look is enough.
HALF = ESCAPE_DELAY + 0.005

#: Bytes of one read.
_MOST = 4096


class Listening(threading.Event):
    """Set when listening is to end: that wakes whoever listens."""

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._waker: int | None = None

    def set(self) -> None:
        """Have the listening end."""
        with self._guard:
            super().set()
            if self._waker is not None:
                os.write(self._waker, b".")

    def chunks(self, descriptor: int) -> Iterator[bytes]:
        """What comes, until this is set or the other end is gone.

        Empty: nothing has come for so long that half an escape sequence is a key of its own.
        Raises OSError where the descriptor cannot be read.
        """
        with self._woken() as waker, _Selector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            selector.register(waker, selectors.EVENT_READ)
            wait: float | None = None
            while not self.is_set():
                ready = [key.fd for key, _ in selector.select(wait)]
                if not ready:
                    wait = None
                    yield b""
                elif descriptor in ready:
                    data = os.read(descriptor, _MOST)
                    if not data:
                        return
                    wait = HALF
                    yield data

    @contextmanager
    def _woken(self) -> Iterator[int]:
        """A descriptor that can be read once this is set."""
        reader, writer = os.pipe()
        with self._guard:
            self._waker = writer
        try:
            yield reader
        finally:
            with self._guard:
                self._waker = None
            os.close(writer)
            os.close(reader)
