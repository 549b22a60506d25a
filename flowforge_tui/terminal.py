"""The terminal, kept for the screen alone while that has it.

Rule 1: descriptors 0, 1 and 2 lead elsewhere meanwhile. What any code of this process writes
        there (a C library, a child, a module that prints) is kept, never shown over the screen.
Rule 2: however the screen ends, the terminal is as it was: by us on every ordinary way out, by
        a guard process after a SIGKILL.
Rule 3: what was kept of stdout and stderr is written there in the end, as if it had waited.
"""

from __future__ import annotations

import os
import sys
import threading
from codecs import getincrementaldecoder
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from flowforge_tui.guard import Guard
from flowforge_tui.listening import Listening
from flowforge_tui.safe_text import safe

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import App
    from textual.driver import Driver

#: Characters of each stream that are kept for the end; what comes later is counted.
_KEPT = 200_000


class Terminal:
    """A context: inside, the screen has the terminal, and nobody else."""

    def __init__(self, hear: Callable[[str, str], None] | None = None) -> None:
        """`hear(stream, text)` is told what is written to stdout and stderr meanwhile."""
        self.input = os.dup(0)
        self.output = os.dup(self._screen_descriptor())
        self.stream = os.fdopen(self.output, "w", encoding="utf-8", errors="replace",
                                        closefd=False)
        self._hear = hear
        self._lock = threading.Lock()
        self._kept: dict[str, list[str]] = {"out": [], "err": []}
        self._size = {"out": 0, "err": 0}
        self._lost = 0

    def __enter__(self) -> Terminal:
        from engine.front import redirect_fds

        self._guard = self._watch()
        self._stdin = os.dup(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._capture = redirect_fds(self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.close()
        os.dup2(self._stdin, 0)
        os.close(self._stdin)
        if self._guard is not None:
            self._guard.release()
        with suppress(OSError, ValueError):
            self.stream.flush()
        self._tell()
        for fd in (self.input, self.output):
            os.close(fd)

    def _screen_descriptor(self) -> int:
        return 1 if os.isatty(1) else 2

    def _watch(self) -> Guard | None:
        return Guard(self.input)

    def _keep(self, stream: str, text: str) -> None:
        if self._hear is not None:
            self._hear(stream, text)
        with self._lock:
            room = _KEPT - self._size[stream]
            if room <= 0:
                self._lost += len(text)
                return
            self._kept[stream].append(text[:room])
            self._size[stream] += len(text)
            self._lost += max(0, len(text) - room)

    def _tell(self) -> None:
        """What waited, now that the terminal is a terminal again."""
        for name, stream in (("out", sys.stdout), ("err", sys.stderr)):
            text = "".join(self._kept[name])
            if text:
                with suppress(OSError, ValueError):
                    stream.write(safe(text) if stream.isatty() else text)
                    stream.flush()
        if self._lost:
            with suppress(OSError, ValueError):
                sys.stderr.write(f"[{self._lost:,} more characters were written and not kept]\n")

    def size(self) -> tuple[int, int]:
        """(columns, rows)."""
        try:
            return os.get_terminal_size(self.output)
        except OSError:
            return 80, 24

    def driver(self) -> type[Driver]:
        """The Textual driver of this terminal."""
        terminal = self

        class OwnDriver(LinuxDriver):
            """Reads and writes the terminal's own descriptors, not 0 and 2."""

            def __init__(self, app: App[Any], **given: Any) -> None:
                # The base class asks the standard input, which now is /dev/null, for its number.
                super().__init__(app, **given)
                self._file = terminal.stream
                self.fileno = terminal.input
                self.input_tty = os.isatty(terminal.input)
                self.exit_event = Listening()
                # Asked of the descriptors that lead elsewhere, the first size would be a guess.
                self._size = self._size or terminal.size()

            def run_input_thread(self) -> None:
                """As the base class does, but asleep while nothing is typed."""
                assert isinstance(self.exit_event, Listening)
                parser = XTermParser(self._debug)
                decode = getincrementaldecoder("utf-8")("replace").decode
                for data in self.exit_event.chunks(self.fileno):
                    # Half a character is no text yet, and no text would end the parser.
                    text = decode(data)
                    for message in parser.feed(text) if text else parser.tick():
                        self.process_message(message)

            def _get_terminal_size(self) -> tuple[int, int]:
                return terminal.size()

        return OwnDriver
