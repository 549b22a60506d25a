"""What a screen has done beside its loop, one thing at a time, for a key that was pressed.

Rule 1: the loop never waits: opening a large run takes a second, and a run that was left may take
        three to let go of its files.
Rule 2: whoever went elsewhere meanwhile is not called back: what was done is told, and dropped.
Rule 3: the thread is a daemon: nobody who leaves has to wait for it.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from flowforge_tui.owned import own_app

if TYPE_CHECKING:
    from textual.screen import Screen

_T = TypeVar("_T")

#: Seconds after which it is told what is being done.
_SOON = 0.3


class Errand:
    """Of one screen."""

    def __init__(self, screen: Screen[Any]) -> None:
        self._screen = screen
        self._now = ""
        """What is being done; empty: nothing."""

    def run(
        self, what: str, do: Callable[[], _T], then: Callable[[_T], None],
        stays: Callable[[], bool],
    ) -> None:
        """Have `do` done on a thread, and `then` on the loop with what it returned.

        `what` is being done ("opening the run"): told if it takes long. What `do` raises for the
        person is told. `stays`: False if the person is elsewhere by then.
        """
        if self._now:
            self._tell(f"still {self._now}", "warning")
            return
        self._now = what
        self._screen.set_timer(_SOON, self._tell_what)

        def carry_out() -> None:
            try:
                result, trouble = [do()], None
            except Exception as error:
                result, trouble = [], error
            self._screen.call_later(self._done, result, trouble, then, stays)

        threading.Thread(target=contextvars.copy_context().run, args=(carry_out,),
                         name="flowforge-errand", daemon=True).start()

    def _done(
        self, result: list[_T], trouble: Exception | None, then: Callable[[_T], None],
        stays: Callable[[], bool],
    ) -> None:
        what, self._now = self._now, ""
        if trouble is not None:
            self._tell(told(trouble), "error", 10)
        elif not stays():
            self._tell(f"stopped {what}: you went elsewhere", "warning")
        else:
            then(result[0])

    def _tell_what(self) -> None:
        if self._now:
            self._tell(f"{self._now}…", "information")

    def _tell(self, text: str, severity: str, seconds: float = 5.0) -> None:
        own_app(self._screen).tell(text, severity=severity, seconds=seconds)


def told(error: Exception) -> str:
    """What an error says to a person; raises it if it says nothing to them."""
    from click import ClickException

    from engine.errors import FlowForgeError

    if isinstance(error, ClickException):
        return error.format_message()
    if isinstance(error, (FlowForgeError, ValueError)):
        return str(error)
    raise error
