"""Keys in the order in which they were typed, each taken by what has the focus by then.

Textual hands a key to the focused widget at once, and acts on a binding only when the key has
gone up through all parents. Of keys that come in one burst (a fast hand over a slow line, a
paste), the ones behind `/` would so go to the tree instead of the filter that `/` opens.

Rule: a key is handed on when what the one before it did is done: a message that takes the same
      way behind it has arrived at the top, twice. The second goes behind what the key had its
      taker tell (`Input.Submitted`), which may move the focus too.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from textual import events
from textual.app import App
from textual.message import Message
from textual.widget import Widget

if TYPE_CHECKING:
    from textual.timer import Timer

#: Seconds between two looks at whether what has the key is there still: a dialog that the key
#: closes cannot say any more that it took it.
_LOOK = 0.02

#: Looks after which a key counts as taken, whatever has become of it.
_LOOKS = 100


class Taken(Message):
    """Goes up behind a key."""

    def __init__(self, taker: Widget, *, again: bool) -> None:
        super().__init__()
        self.taker, self.again = taker, again


class KeysInOrder(App[None]):
    """An application that hands keys on one by one."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._typed: deque[events.Key] = deque()
        self._waits: Timer | None = None
        """Set while a key is on its way."""

    async def on_event(self, event: events.Event) -> None:
        """As Textual has it, but a key waits for the one before it; Ctrl-C waits for none."""
        if isinstance(event, events.Key) and not event.is_forwarded and event.key != "ctrl+c":
            self._typed.append(event)
            await self._hand_on()
        else:
            await super().on_event(event)

    async def _hand_on(self) -> None:
        while self._typed and self._waits is None:
            event = self._typed.popleft()
            taker = self.focused or self.screen
            self._wait_for(taker)
            await super().on_event(event)
            if not event.is_forwarded:  # the application itself took it
                self._stop_waiting()
            else:
                self._follow(taker, again=False)

    def _wait_for(self, taker: Widget) -> None:
        looks = iter(range(_LOOKS))

        async def look() -> None:
            if not self._has(taker) or next(looks, None) is None:
                await self._was_taken()

        self._waits = self.set_interval(_LOOK, look)

    def _has(self, taker: Widget) -> bool:
        """True while what was given a key is open."""
        stack = self.screen_stack
        return taker.is_running and any(node in stack for node in taker.ancestors_with_self)

    def _follow(self, taker: Widget, *, again: bool) -> None:
        """Send a message behind a key; if its taker is closed (a dialog), that was that."""
        if not taker.post_message(Taken(taker, again=again)):
            self.call_later(self._was_taken)

    def on_taken(self, message: Taken) -> None:
        """What the key did to the focus is in the queue by now; the next key goes behind it."""
        if message.again:
            self.call_later(self._was_taken)
        else:
            self._follow(message.taker, again=True)

    async def _was_taken(self) -> None:
        self._stop_waiting()
        await self._hand_on()

    def _stop_waiting(self) -> None:
        if self._waits is not None:
            self._waits.stop()
            self._waits = None

