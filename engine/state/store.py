"""What keeps a run's journal: an append-only sequence of rows, and a few words about the run.

Rule 1: `append` is one transaction. Once it returns, the row counts; if it raises, nothing
        of it was kept.
Rule 2: after `StorageFull` the store is as it was and the same append may be tried again;
        after `StorageBroken` every later call raises it, because what a failed write left
        behind is unknown.
Rule 3: a row that cannot be vouched for is handed out as None, never as bytes.
Rule 4: one thread at a time appends; the caller sees to that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from engine.errors import StorageBroken, StorageFull


class Row(NamedTuple):
    """One row of the journal."""

    seq: int
    """From 1, without gaps."""
    data: bytes | None
    """None: damaged or missing."""


class Store(Protocol):
    """A run's journal and meta words."""

    @property
    def damage(self) -> list[str]:
        """What was found wrong with the stored data so far, in words for the user."""

    @property
    def commit_seconds(self) -> float:
        """A moving estimate of what one append costs."""

    def append(self, data: bytes, meta: dict[str, str] | None = None) -> int:
        """Add a row, and set meta words with it, in one transaction; returns its seq.

        Raises StorageFull (nothing written, try again), StorageBroken (for good), Fenced
        (another process owns the run now).
        """

    def rows(self, after: int = 0) -> Iterator[Row]:
        """The rows with a higher seq, in order; gaps come as rows without data."""

    def meta(self) -> dict[str, str]:
        """The meta words."""

    def skip_to(self, seq: int) -> None:
        """Number rows after `seq` from now on, for a journal that lost what a snapshot has."""

    def flush(self) -> None:
        """Bring everything appended to the disk. Raises StorageBroken."""

    def close(self) -> None:
        """Flush and let go. May be called twice."""


class MemoryStore:
    """A store that forgets: for `durability="none"` and for tests."""

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        """Bytes of rows that fit; None: as many as there is memory for."""
        self.damage: list[str] = []
        self.commit_seconds = 0.0
        self._rows: dict[int, bytes] = {}
        self._meta: dict[str, str] = {}
        self._seq = 0
        self._size = 0
        self._closed = False

    def append(self, data: bytes, meta: dict[str, str] | None = None) -> int:
        """As in `Store`."""
        if self._closed:
            raise StorageBroken("the store is closed; open the run again to write to it")
        if self.capacity is not None and self._size + len(data) > self.capacity:
            raise StorageFull(f"the memory store is full ({self.capacity} bytes); raise capacity")
        self._seq += 1
        self._rows[self._seq] = bytes(data)
        self._size += len(data)
        if meta:
            self._meta.update(meta)
        return self._seq

    def rows(self, after: int = 0) -> Iterator[Row]:
        """As in `Store`."""
        seq = after
        while seq < self._seq:
            seq += 1
            yield Row(seq, self._rows.get(seq))

    def meta(self) -> dict[str, str]:
        """As in `Store`."""
        return dict(self._meta)

    def skip_to(self, seq: int) -> None:
        """As in `Store`."""
        self._seq = max(self._seq, seq)

    def flush(self) -> None:
        """There is no disk to bring it to."""

    def close(self) -> None:
        """Refuse further rows; what is there can still be read."""
        self._closed = True
