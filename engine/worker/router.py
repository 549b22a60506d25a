"""The streams that stand in for `sys.stdout` and `sys.stderr` while capture is installed.

Rule 1: inside an attempt, text is the attempt's; outside, the real stream's.
Rule 2: a line is handed on whole: `print("a", 1)` writes four pieces, and what lies behind
        `RunScope.write` costs more than putting them together here.
Rule 3: a piece without a newline is handed on when the stream is flushed, when it has grown,
        when its attempt is handed in, or after a fifth of a second; never lost.
Rule 4: a process that a task forks writes to the real streams: locks and threads behind
        `RunScope.write` did not come along.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable
from contextvars import Context
from typing import TYPE_CHECKING, Any, TextIO

from engine.worker.context import HERE
from engine.worker.lines import LINE_LIMIT, cut, decode
from engine.worker.secrets import longest, mask

if TYPE_CHECKING:
    from engine.core.events import Attempt

#: The level that plain output is kept under.
LEVEL = {"out": logging.INFO, "err": logging.WARNING}

#: Characters of an unfinished line that are held back at most, and for how many seconds.
_MOST_HELD = 8_192
_PATIENCE = 0.2

#: Attempts whose last binary write ended inside a character. More are given up, oldest first.
_MOST_TAILS = 1_000

#: stream → attempt → the one piece held of it, in a list of its own so that identity tells.
_held: dict[str, dict[Attempt, list[str]]] = {stream: {} for stream in LEVEL}

_forked = False
"""True in a process that was forked from the one which loaded this."""


def attempt_here() -> Attempt | None:
    """The attempt that output belongs to; None: the process's own streams are right for it."""
    return None if _forked else HERE.get()


class Router:
    """Stands in for `sys.stdout` or `sys.stderr`: inside an attempt the text is the attempt's."""

    def __init__(self, target: TextIO | None, stream: str) -> None:
        self.target = target
        """The stream that it stands in front of; None where the process has none."""
        self.stream = stream
        self.buffer = _BytesRouter(self)
        self._held = _held[stream]

    def write(self, text: str) -> int:
        attempt = HERE.get()
        if attempt is None or _forked:
            return len(text) if self.target is None else self.target.write(text)
        if type(text) is not str and not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        size = len(text)
        held = self._held
        # Whoever pops a piece owns it: that, and the setdefault below, are one step each, so
        # threads of one attempt and the drainer need no lock.
        if held and (piece := held.pop(attempt, None)) is not None:
            text = piece[0] + text
        if text[-1:] == "\n":
            _deliver(attempt, self.stream, text)
            return size
        if len(text) > _MOST_HELD:
            text = self._deliver_most(attempt, text)
        if text:
            piece = [text]
            if held.setdefault(attempt, piece) is not piece:
                _deliver(attempt, self.stream, text)
            if not _drainer.awake:
                _drainer.wake()
        return size

    def _deliver_most(self, attempt: Attempt, text: str) -> str:
        """Hand on a long piece of a line; returns its end, in which a secret may just begin."""
        text = mask(text)
        cut_at = len(text) - max(0, min(longest() - 1, _MOST_HELD))
        _deliver(attempt, self.stream, text[:cut_at])
        return text[cut_at:]

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        attempt = attempt_here()
        if attempt is not None:
            drain(attempt)
        elif self.target is not None:
            self.target.flush()

    def isatty(self) -> bool:
        """False inside an attempt: a log wants neither colours nor progress bars."""
        return attempt_here() is None and self.target is not None and self.target.isatty()

    def close(self) -> None:
        """Closes nothing: the stream belongs to the process, not to the task."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)


class _BytesRouter:
    """`sys.stdout.buffer`, routed likewise. Characters may be split between writes."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._tails: dict[Attempt, bytes] = {}

    def write(self, data: Any) -> int:
        attempt = attempt_here()
        if attempt is None:
            target = self._router.target
            return len(data) if target is None else target.buffer.write(data)
        raw = bytes(data)
        tails = self._tails
        text, tail = decode(tails.pop(attempt, b"") + raw)
        if tail:
            tails[attempt] = tail
            if len(tails) > _MOST_TAILS:
                tails.pop(next(iter(tails)), None)
        self._router.write(text)
        return len(raw)

    def flush(self) -> None:
        self._router.flush()

    def close(self) -> None:
        """Closes nothing, as above."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._router.target.buffer, name)  # type: ignore[union-attr]


def _deliver(attempt: Attempt, stream: str, text: str) -> None:
    text = mask(text)
    if len(text) > LINE_LIMIT:
        text = cut(text)[0]
    attempt.run.write(attempt, stream, LEVEL[stream], text)


def drain(attempt: Attempt | None = None) -> None:
    """Hand on the unfinished lines of an attempt, or of all. Costs next to nothing if none is."""
    for stream, held in _held.items():
        if held:
            for each in list(held) if attempt is None else (attempt,):
                piece = held.pop(each, None)
                if piece is not None:
                    _deliver(each, stream, piece[0])


class _Drainer:
    """Drains a while after something was held, from a thread that is started for the first."""

    def __init__(self) -> None:
        self.awake = False
        """True while a drain is due."""
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        with self._lock:
            self.awake = True
            self._event.set()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._loop, name="flowforge-drain", daemon=True
                )
                # In a context of its own: a thread inherits the attempt that starts it.
                Context().run(self._thread.start)

    def _loop(self) -> None:
        while True:
            self._event.wait()
            time.sleep(_PATIENCE)
            self._event.clear()
            self.awake = False  # before the drain: what is held after it must wake us again
            drain()


_drainer = _Drainer()


def _after_fork() -> None:
    global _forked
    _forked = True
    for held in _held.values():
        held.clear()  # the parent hands these on


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
