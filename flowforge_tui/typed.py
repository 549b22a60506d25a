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
from textual.message_pump import MessagePump

if TYPE_CHECKING:
    from textual.timer import Timer

#: Seconds after which a key counts as taken, though what had it is gone and cannot say so.
_GONE = 0.5


class Taken(Message):
    """Goes up behind a key."""

    def __init__(self, taker: MessagePump, *, again: bool) -> None:
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
        """As Textual has it, but a key waits for the one before it."""
        if isinstance(event, events.Key) and not event.is_forwarded:
            self._typed.append(event)
            await self._hand_on()
        else:
            await super().on_event(event)

    async def _hand_on(self) -> None:
        while self._typed and self._waits is None:
            event = self._typed.popleft()
            taker = self.focused or self.screen
            self._waits = self.set_timer(_GONE, self._was_taken)
            await super().on_event(event)
            if not event.is_forwarded:  # the application itself took it
                self._stop_waiting()
            else:
                taker.post_message(Taken(taker, again=False))

    def on_taken(self, message: Taken) -> None:
        """What the key did to the focus is in the queue by now; the next key goes behind it."""
        if message.again:
            self.call_later(self._was_taken)
        else:
            message.taker.post_message(Taken(message.taker, again=True))

    async def _was_taken(self) -> None:
        self._stop_waiting()
        await self._hand_on()

    def _stop_waiting(self) -> None:
        if self._waits is not None:
            self._waits.stop()
            self._waits = None
