"""The recorder: puts what the machine did on disk, in the order in which it did it.

Rule 1: `add` queues the changes of a step, under the runner's lock: rows follow each other as
        the steps did. It neither packs nor writes.
Rule 2: `settle` writes, outside that lock, so that others step meanwhile. Who gets there first
        writes all that is queued, as one row; who comes during that waits, and most often finds
        its own step written, too (group commit).
Rule 3: on a full disk nothing is settled until there is room. After any other failure, and
        once closed, nothing more is written.
Rule 4: nothing here waits for the runner's lock, so that it may be held by who closes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain

from engine.core.events import Change, RunMoved
from engine.core.states import LIVE_RUN
from engine.errors import StorageError, StorageFull
from engine.runtime.journal import ChangePacker
from engine.state.store import Store
from engine.worker.clock import now

#: The store's word for how many seconds the run has not run since it was made.
RESTED = "rested"

#: Seconds between tries while the disk is full.
FULL_DISK_WAIT = 0.5


class Recorder:
    """Writes steps to a store; `publish` gets the changes of each row once it is there."""

    def __init__(
        self, store: Store, publish: Callable[[Sequence[Change]], None], tell: Callable[[str], None]
    ) -> None:
        self.queued = 0
        """How many steps there were: the last one's ticket."""
        self.stored = 0
        """How many of them are on disk, and published."""
        self._store = store
        self._publish = publish
        self._tell = tell
        self._pack = ChangePacker()
        self._waiting: deque[list[Change]] = deque()
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._try_again: float | None = None
        """When to try again; None: the disk is not full."""
        self._ended = 0.0
        """When the run ended by itself, and its session did not; 0.0: it has not."""

    def add(self, changes: list[Change]) -> None:
        """Queue the changes of a step. They are not changed any more."""
        self._waiting.append(changes)
        self.queued += 1

    @property
    def overdue(self) -> bool:
        """True if the disk was full, and it is time to try again."""
        return self._try_again is not None and now() >= self._try_again

    def settle(self, ticket: int, *, wait: bool = True) -> bool:
        """True once the first `ticket` steps are on disk; False: closed before that.

        Without `wait`, False on a full disk too. Raises what keeps it from being written;
        after that the recorder is closed.
        """
        while self.stored < ticket:
            with self._writing:
                room = self.stored >= ticket or (not self._closed.is_set() and self._write())
            if not room and (not wait or self._closed.wait(FULL_DISK_WAIT)):
                return False
        return True

    def close(self) -> None:
        """Write nothing more; returns once nothing is being written."""
        self._closed.set()
        with self._writing:
            pass

    def _write(self) -> bool:
        """Put all that is queued on disk, as one row; False if there is no room for it."""
        waiting = self._waiting
        count = len(waiting)
        changes = waiting[0] if count == 1 else list(chain.from_iterable(
            waiting[i] for i in range(count)))
        try:
            self._store.append(self._pack(changes), self._words(changes))
        except StorageFull as error:
            self._no_room(error)
            return False
        except BaseException:
            self._closed.set()
            raise
        for _ in range(count):
            waiting.popleft()
        self._ended = _end(changes, self._ended)
        self._publish(changes)
        self.stored += count  # last: who sees it may close the bus
        if self._try_again is not None:
            self._try_again = None
            self._tell("there is room on the disk again; the run goes on")
        return True

    def _words(self, changes: list[Change]) -> dict[str, str] | None:
        """What `flowforge runs` shows without reading the journal; only when the run moves."""
        moves = [change for change in changes if type(change) is RunMoved]
        if not moves:
            return None
        words = {"state": str(moves[-1].state), "updated": repr(now())}
        if self._ended and moves[0].state in LIVE_RUN:
            rested = float(self._store.meta().get(RESTED, 0.0))
            words[RESTED] = repr(rested + max(0.0, moves[0].at - self._ended))
        return words

    def _no_room(self, error: StorageError) -> None:
        if self._try_again is None:
            self._tell("the disk is full; results are held in memory and nothing new starts: "
                       f"{error}")
        self._try_again = now() + FULL_DISK_WAIT


def _end(changes: list[Change], before: float) -> float:
    """When the run ended, after these changes; 0.0 if it has not."""
    for change in changes:
        if type(change) is RunMoved:
            before = 0.0 if change.state in LIVE_RUN else change.at
    return before
