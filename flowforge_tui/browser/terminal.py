"""The screen's side of a browser session: packets on pipes take the place of a terminal.

Rule 1: standard output is the wire, so that nothing else may write to it: from the beginning
        on, descriptor 1 leads where 2 does.
Rule 2: the wire's end is the screen's, as a terminal's hanging up is: the browser's tab, or the
        server, is gone.
Rule 3: what tells a program that it is shown in a browser is not handed on to the programs
        that it starts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from textual import messages
from textual.driver import Driver
from textual.drivers._input_reader import InputReader
from textual.drivers.web_driver import WebDriver

from flowforge_tui.listening import Listening
from flowforge_tui.terminal import Terminal

if TYPE_CHECKING:
    from textual.app import App


class BrowserTerminal(Terminal):
    """As Terminal, for the wire to a browser."""

    def __init__(self, hear: Callable[[str, str], None] | None = None) -> None:
        super().__init__(hear)
        os.dup2(2, 1)
        self._window = _number("COLUMNS", 80), _number("ROWS", 24)
        for name in ("COLUMNS", "ROWS", "TERM_PROGRAM", "TERM_PROGRAM_VERSION"):
            os.environ.pop(name, None)

    def _screen_descriptor(self) -> int:
        return 1

    def _watch(self) -> None:
        """A killed screen leaves nothing to restore: the server clears the tab."""

    def size(self) -> tuple[int, int]:
        """(columns, rows) of the window when it was opened."""
        return self._window

    def driver(self) -> type[Driver]:
        """The Textual driver of this wire."""
        terminal = self

        class OwnDriver(WireDriver):
            def __init__(self, app: App[Any], **given: Any) -> None:
                super().__init__(app, terminal, **given)

        return OwnDriver


class WireDriver(WebDriver):
    """As WebDriver, on descriptors of its own, and heeding that the other end is gone."""

    def __init__(self, app: App[Any], terminal: BrowserTerminal, **given: Any) -> None:
        # WebDriver's own would take descriptors 0 and 1, which lead elsewhere.
        Driver.__init__(self, app, **{**given, "size": given.get("size") or terminal.size()})
        self.fileno = terminal.output
        self._write = self._send  # type: ignore[assignment]
        self._sending = threading.Lock()
        self._gone = False
        self.exit_event = threading.Event()
        self._input_reader = WireReader(terminal.input)
        self._key_thread = threading.Thread(
            target=self.run_input_thread, name="textual-input", daemon=True)
        self._deliveries = {}

    def _send(self, data: bytes) -> None:
        """Write a whole packet, or nothing any more."""
        with self._sending:
            rest = memoryview(data)
            while rest and not self._gone:
                try:
                    rest = rest[os.write(self.fileno, rest):]
                except OSError:
                    self._hang_up()

    def run_input_thread(self) -> None:
        """As WebDriver does, and end the screen when there is nobody left to type."""
        super().run_input_thread()
        if not self.exit_event.is_set():
            self._hang_up()

    def _hang_up(self) -> None:
        self._gone = True
        self._app.post_message(messages.ExitApp())


class WireReader(InputReader):
    """As InputReader, on a descriptor that it is given, and asleep while nothing comes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ending = Listening()

    def close(self) -> None:
        """As in `InputReader`."""
        self._ending.set()

    def __iter__(self) -> Iterator[bytes]:
        """As in `InputReader`."""
        return self._ending.chunks(self._descriptor)


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise
