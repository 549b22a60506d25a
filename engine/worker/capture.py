"""What a task writes goes to the task: `print`, `sys.stderr`, `logging`, in any thread.

Rule 1: whose text it is, `HERE` says at the moment of writing. Outside an attempt, the
        stream and the handlers behave as if this file did not exist.
Rule 2: a task that writes nothing pays nothing; there is no per-task set-up here.
Rule 3: what `logging` would have sent to the console from inside a task goes to the task's
        log with its level, in the format that the user gave it. Handlers that write
        elsewhere are none of our business. No handler is added to the root logger:
        `logging.basicConfig` does nothing once there is one.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TextIO, cast

from engine.worker import inherit
from engine.worker.context import TASK_LOGGER
from engine.worker.fds import FdCapture, redirect_fds
from engine.worker.lines import cut
from engine.worker.router import LEVEL, Router, attempt_here, drain
from engine.worker.secrets import mask

if TYPE_CHECKING:
    from engine.core.events import Attempt

__all__ = [
    "LEVEL", "FdCapture", "Router", "captured", "drain", "install", "real", "redirect_fds",
    "uninstall",
]

# -- logging --------------------------------------------------------------------------------


class _TaskHandler(logging.Handler):
    """On the logger of `current().log`: every record is the attempt's, console or not."""

    def emit(self, record: logging.LogRecord) -> None:
        attempt = attempt_here()
        if attempt is not None:
            _keep_record(self, record, attempt)


def _keep_record(handler: logging.Handler, record: logging.LogRecord, attempt: Attempt) -> None:
    try:
        text = handler.format(record)
    except Exception:
        handler.handleError(record)
        return
    text = cut(mask(text) + "\n")[0]
    attempt.run.write(attempt, "log", record.levelno, text)


class _LogCapture:
    """Diverts console handlers inside attempts, by way of `logging.StreamHandler.emit`.

    At that one place all of them are met: those of any logger, added at any time, subclasses,
    and `logging.lastResort`.
    """

    def __init__(self) -> None:
        self._original: Callable[[Any, logging.LogRecord], None] | None = None
        self._handler = _TaskHandler()
        self._console: frozenset[int] = frozenset()
        self._active = False

    def install(self, console: Iterable[object]) -> None:
        self._console = frozenset(id(s) for s in console if s is not None)
        self._active = True
        logging.getLogger(TASK_LOGGER).addHandler(self._handler)
        if self._original is None:
            self._original = logging.StreamHandler.emit
            self._patch = self._divert(self._original)
            logging.StreamHandler.emit = self._patch  # type: ignore[method-assign, assignment]

    def uninstall(self) -> None:
        self._active = False
        logging.getLogger(TASK_LOGGER).removeHandler(self._handler)
        if logging.StreamHandler.emit is self._patch:
            logging.StreamHandler.emit = self._original  # type: ignore[method-assign, assignment]
            self._original = None
        # Otherwise somebody has wrapped ours since: it stays in place and lets all through.

    def _divert(
        self, original: Callable[[Any, logging.LogRecord], None]
    ) -> Callable[[Any, logging.LogRecord], None]:
        def emit(handler: Any, record: logging.LogRecord) -> None:
            attempt = attempt_here()
            if attempt is None or not self._active or id(handler.stream) not in self._console:
                original(handler, record)
            elif record.name != TASK_LOGGER:  # those are kept already, by their own handler
                _keep_record(handler, record, attempt)

        return emit


# -- on and off -----------------------------------------------------------------------------

_lock = threading.Lock()
_installed = 0
_log_capture = _LogCapture()


def install() -> None:
    """Route output from now on, until `uninstall` was called as often as this."""
    global _installed
    with _lock:
        _installed += 1
        streams: list[object] = [sys.__stdout__, sys.__stderr__, sys.stdout, sys.stderr]
        if not isinstance(sys.stdout, Router):
            sys.stdout = cast(TextIO, Router(sys.stdout, "out"))
        if not isinstance(sys.stderr, Router):
            sys.stderr = cast(TextIO, Router(sys.stderr, "err"))
        streams += [sys.stdout, sys.stderr, real("out"), real("err")]
        _log_capture.install(streams)
        if _installed == 1:
            inherit.install()


def uninstall() -> None:
    """Undo one `install`; the last one puts the streams and `logging` back as they were."""
    global _installed
    with _lock:
        if not _installed:
            return
        _installed -= 1
        if _installed:
            return
        drain()
        if isinstance(sys.stdout, Router):
            sys.stdout = cast(TextIO, sys.stdout.target)
        if isinstance(sys.stderr, Router):
            sys.stderr = cast(TextIO, sys.stderr.target)
        _log_capture.uninstall()
        inherit.uninstall()


def real(stream: str) -> TextIO | None:
    """The process's own stream, "out" or "err", past any router; None if it has none."""
    current: object = sys.stdout if stream == "out" else sys.stderr
    while isinstance(current, Router):
        current = current.target
    return cast("TextIO | None", current)


@contextlib.contextmanager
def captured() -> Iterator[None]:
    """`install` for the length of a `with` block."""
    install()
    try:
        yield
    finally:
        uninstall()
