"""Disks for the simulation: what is on them outlives the sessions, and they fail when told to."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from engine.errors import StorageBroken, StorageFull
from engine.runtime.history import GRAPHS, History, graphs_in, pack_history, unpack_history
from engine.state.sqlite_store import SqliteStore
from engine.state.store import MemoryStore, Row, Store


class Crash(BaseException):
    """The engine is gone, in the middle of whatever it was at."""


class Disk(Protocol):
    """The files of one run."""

    def open(self) -> Store:
        """The journal, as a new owner finds it."""

    def crashed(self) -> None:
        """The owner died: what it had open is as it left it."""


class MemoryDisk:
    """Rows in a dictionary; any of them may be damaged."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self.lost: set[int] = set()

    def open(self) -> Store:
        return self  # type: ignore[return-value]

    def crashed(self) -> None:
        """Rows stay."""

    damage: list[str] = []
    commit_seconds = 0.0

    def append(self, data: bytes, meta: dict[str, str] | None = None) -> int:
        return self._store.append(data, meta)

    def rows(self, after: int = 0) -> Iterator[Row]:
        for row in self._store.rows(after):
            yield Row(row.seq, None) if row.seq in self.lost else row

    def meta(self) -> dict[str, str]:
        return self._store.meta()

    def skip_to(self, seq: int) -> None:
        self._store.skip_to(seq)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Rows stay."""


class SqliteDisk:
    """A real run.db. At a crash its files are copied as they are, and the copy is what is left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._epoch = 0
        self._store: SqliteStore | None = None

    @property
    def _place(self) -> Path:
        return self._folder / str(self._epoch)

    def open(self) -> Store:
        if self._store is not None:
            self._store.close()
        before = self._place
        self._epoch += 1
        self._place.mkdir(parents=True)
        path = self._place / "run.db"
        if not (before / "run.db").exists():
            self._store = SqliteStore.create(path, "full", self._epoch)
            return self._store
        for name in ("run.db", "run.db-wal"):
            if (before / name).exists():
                shutil.copyfile(before / name, self._place / name)
        self._store = SqliteStore.open(path, "full", self._epoch)
        return self._store

    def crashed(self) -> None:
        assert self._store is not None
        store, self._store = self._store, None
        left = self._place
        self._epoch += 1
        shutil.copytree(left, self._place, ignore=shutil.ignore_patterns("*-shm"))
        store.close()
        shutil.rmtree(left)


class FaultyStore:
    """What the engine sees of a disk. Implements `Store`."""

    def __init__(self, store: Store, chance: Callable[[str], bool]) -> None:
        self._store = store
        self._chance = chance
        """Whether a fault is to come now, by its name."""
        self.full = 0
        """Appends that will find no room."""
        self._broken: StorageBroken | None = None
        self.damage = store.damage

    @property
    def commit_seconds(self) -> float:
        return self._store.commit_seconds

    def append(self, data: bytes, meta: dict[str, str] | None = None) -> int:
        if self._broken is not None:
            raise self._broken
        if self.full > 0 or self._chance("full"):
            self.full = self.full - 1 if self.full > 0 else 3
            raise StorageFull("no room")
        if self._chance("crash before commit"):
            raise Crash
        if self._chance("commit error"):
            self._broken = StorageBroken("an I/O error")
            if self._chance("written all the same"):
                self._store.append(data, meta)
            raise self._broken
        seq = self._store.append(data, meta)
        if self._chance("crash after commit"):
            raise Crash
        return seq

    def rows(self, after: int = 0) -> Iterator[Row]:
        return self._store.rows(after)

    def meta(self) -> dict[str, str]:
        return self._store.meta()

    def skip_to(self, seq: int) -> None:
        self._store.skip_to(seq)

    def flush(self) -> None:
        self._store.flush()

    def close(self) -> None:
        self._store.close()


def history_of(store: Store, snapshot: tuple[int, bytes] | None = None) -> History:
    """As `load_history` reads it, the snapshot being at hand."""
    history = unpack_history(*snapshot) if snapshot is not None else History()
    history.read(store.rows(history.seq), graphs_in(store.meta()))
    return history


def snapshot_of(store: Store, last: tuple[int, bytes] | None) -> tuple[int, bytes]:
    """A snapshot of all that is on disk, made from the last one and the rows after it."""
    history = history_of(store, last)
    return history.seq, pack_history(history)


__all__ = ["GRAPHS", "Crash", "Disk", "FaultyStore", "MemoryDisk", "SqliteDisk", "history_of",
           "snapshot_of"]
