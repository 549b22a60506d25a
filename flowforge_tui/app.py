"""The application: what the screens share, and how it ends.

Rule 1: it draws; it runs nothing. A run on the screen is the business of its feed and host.
Rule 2: however it ends, by key, by signal or by a fault of its own, it returns to its caller,
        which has the terminal back by then and tells what is to be told.
Rule 3: text from outside reaches a toast or a title as plain text, never as markup.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from textual import events
from textual.app import SuspendNotSupported, SystemCommand
from textual.binding import Binding
from textual.filter import LineFilter
from textual.notifications import Notify
from textual.screen import Screen

from flowforge_tui.filters import Ascii, Legible
from flowforge_tui.keys import RUN_KEYS, keymap_file, read_keymap
from flowforge_tui.look import Look
from flowforge_tui.safe_text import safe_line
from flowforge_tui.typed import KeysInOrder

if TYPE_CHECKING:
    from flowforge_tui.feed import Feed
    from flowforge_tui.hosting import Host
    from flowforge_tui.terminal import Terminal

#: Signals that end the program: the terminal is restored, and a hosted run can be resumed.
_ENDING = ("SIGTERM", "SIGHUP", "SIGQUIT")

_ASCII, _LEGIBLE = Ascii(), Legible()

#: Characters of a toast; and how many there are at most.
_TOAST, _TOASTS = 300, 3


def _nothing() -> None:
    """Most screens never rest."""


class FlowForgeApp(KeysInOrder):
    """Shows one screen after the other until there is none left."""

    CSS_PATH = "flowforge.tcss"
    TITLE = "FlowForge"
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (50, "-narrow"), (110, "-wide"), (170, "-huge")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (9, "-short"), (18, "-normal"), (34, "-tall")]
    BINDINGS = [Binding("ctrl+c", "interrupt", "stop", show=False, priority=True)]

    def __init__(
        self,
        first: Callable[[], Screen[Any]],
        *,
        look: Look | None = None,
        terminal: Terminal | None = None,
        host: Host | None = None,
    ) -> None:
        """`first` makes the screen that it opens with; `host` is what runs for that one."""
        driver = terminal.driver() if terminal is not None else None
        super().__init__(driver_class=driver, ansi_color=None)
        self.look = look if look is not None else Look()
        self.terminal = terminal
        self.fault: Exception | None = None
        """What broke the screen itself."""
        self.signal: int | None = None
        """The signal that ended it."""
        self.host = host
        """What hosts the run that is shown, or was shown last; None: another process does."""
        self.feed: Feed | None = host.feed if host is not None else None
        """What that run comes from."""
        self._first = first

    @property
    def ascii(self) -> bool:
        """True if only ASCII is to be shown."""
        return not self.look.unicode

    def get_line_filters(self) -> Sequence[LineFilter]:
        """As Textual has it, and ours."""
        more: list[LineFilter] = [] if self.current_theme.dark else [_LEGIBLE]
        if self.ascii:
            more.append(_ASCII)
        return [*more, *super().get_line_filters()]

    def on_mount(self) -> None:
        """Open the first screen."""
        self._listen()
        keymap, trouble = read_keymap(keymap_file())
        if keymap:
            self.set_keymap(keymap)
        self.push_screen(self._first())
        if trouble:
            self.tell(trouble, severity="warning")

    async def on_event(self, event: events.Event) -> None:
        """As in `KeysInOrder`; what a person does stirs a screen that rests."""
        if isinstance(event, (events.InputEvent, events.Paste, events.Resize)):
            for screen in self.screen_stack:
                getattr(screen, "stir", _nothing)()
        await super().on_event(event)

    def hear(self, stream: str, text: str) -> None:
        """What this process wrote outside of any task: to the log of the run that it hosts."""
        if self.host is not None:
            self.host.feed.stray(stream, text)

    # -- telling ----------------------------------------------------------------------------

    def tell(self, text: str, *, severity: str = "information", seconds: float = 5.0) -> None:
        """A toast. `text` may come from outside."""
        line = safe_line(text, _TOAST)
        if not any(line in n.message and line != n.message for n in self._notifications):
            self.notify(line, severity=severity,  # type: ignore[arg-type]
                        timeout=seconds, markup=False)

    def on_notify(self, event: Notify) -> None:
        """Before Textual shows another: the oldest go, and what says no more than it."""
        told = event.notification.message
        others = [n for n in self._notifications if n.message not in told]
        same = [n for n in self._notifications if n.message in told]
        for old in [*same, *others[:max(0, len(others) - _TOASTS + 1)]]:
            self._unnotify(old, refresh=False)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: every key of the run's screen as a command, and Textual's own."""
        for key in RUN_KEYS:
            name = key.action.partition("(")[0]
            if hasattr(screen, f"action_{name}"):
                yield SystemCommand(key.text.capitalize(), f"key {key.shown}",
                                    self._runner(screen, key.action))
        yield SystemCommand("Theme", "colours of the screen", self.action_change_theme)

    def _runner(self, screen: Screen[Any], action: str) -> Callable[[], Any]:
        async def run() -> None:
            await self.run_action(action, default_namespace=screen)

        return run

    # -- other programs -------------------------------------------------------------------------

    def run_outside(self, command: Sequence[str]) -> str:
        """Give the terminal to another program until it ends; what went wrong, or ""."""
        fds: dict[str, Any] = {}
        if self.terminal is not None:
            fds = {"stdin": self.terminal.input, "stdout": self.terminal.output,
                   "stderr": self.terminal.output}
        try:
            with self.suspend():
                subprocess.call(list(command), **fds)
        except SuspendNotSupported:
            return "the terminal cannot be given to another program here"
        except OSError as error:
            return f"{command[0]} cannot be started: {error.strerror}"
        return ""

    # -- ending -----------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Signals end the screen in the ordinary way."""
        if self.terminal is None:
            return
        loop = asyncio.get_running_loop()
        for name in _ENDING:
            number = getattr(signal, name, None)
            if number is not None:
                loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGINT, self.action_interrupt)

    def _on_signal(self, number: int) -> None:
        self.signal = self.signal or number
        if number == signal.SIGHUP and self.terminal is not None:
            # The terminal is gone: what is written to it now would only fail.
            nothing = os.open(os.devnull, os.O_RDWR)
            for fd in (self.terminal.input, self.terminal.output):
                os.dup2(nothing, fd)
            os.close(nothing)
        self.exit()

    def action_interrupt(self) -> None:
        """Ctrl-C: the screen on top knows what it stops."""
        for screen in reversed(self.screen_stack):
            act = getattr(screen, "action_interrupt_run", None)
            if act is not None:
                act()
                return
        self.exit()

    def _handle_exception(self, error: Exception) -> None:
        """As Textual has it, but the caller tells it: Textual's own report shows locals, which
        may hold secrets, and shows them before the terminal is restored."""
        if self.is_headless:
            super()._handle_exception(error)
            return
        self.fault = self.fault or error
        self._return_code = 1
        with suppress(Exception):
            self._close_messages_no_wait()
