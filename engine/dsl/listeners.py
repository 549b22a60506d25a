"""Listeners for what happens in runs: `wf.on(TaskFailed, handler)`, `bus.subscribe(...)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import DefinitionError

if TYPE_CHECKING:
    from engine.core.notices import Notice

Handler = Callable[[Any], object]
Registered = tuple["type[Notice]", Handler]
H = TypeVar("H", bound=Handler)


class Bus:
    """Handlers and what they listen for. The one named `bus` serves every run of this process."""

    def __init__(self) -> None:
        self._handlers: list[Registered] = []

    def subscribe(self, event: type[Notice], handler: Handler) -> Callable[[], None]:
        """Have `handler(notice)` called for an event type, or for all that derive from it.

        It is called in the engine's own thread, one notice after the other; one that raises
        is logged and harms nothing. Counts for runs that start from now on. Returns a
        function that ends the subscription. Raises DefinitionError.
        """
        from engine.core.notices import Notice

        if not (isinstance(event, type) and issubclass(event, Notice)):
            raise DefinitionError(
                f"{event!r} is not an event; listen for TaskFailed, TaskSucceeded, RunEnded, … "
                "or Notice for all of them"
            )
        if not callable(handler):
            raise DefinitionError(f"a listener is a function of the notice, not {handler!r}")
        entry = (event, handler)
        self._handlers.append(entry)
        return lambda: self._remove(entry)

    def _remove(self, entry: Registered) -> None:
        if entry in self._handlers:
            self._handlers.remove(entry)

    @property
    def handlers(self) -> list[Registered]:
        """What is subscribed now, in order."""
        return list(self._handlers)


#: For every run of this process.
bus = Bus()
