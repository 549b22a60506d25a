"""The journal of a run in SQLite: one file, one writer, a checksum on every row.

Rule 1: one connection writes and checkpoints. Every write is a transaction that holds the
        write lock from its start and checks the epoch inside it, so an owner that slept
        through a takeover writes nothing.
Rule 2: a failed write leaves the file as it was (full) or latches the store (anything else).
Rule 3: `process` durability leaves a commit to the operating system, and the log is brought
        to the disk within a second; `full` waits for the disk at each commit, within a log
        that is longer than what is in it (`wal_room.py`).
Rule 4: what is wrong with the file is found when it is opened, told in `damage`, and what
        can be read is carried into a new file; the old one is kept beside it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.errors import Fenced, NewerSchema, StorageBroken, StorageError, StorageFull
from engine.state.disk import free_bytes
from engine.state.sqlite_rows import last_seq, meta_crc, read_meta, read_rows, row_crc
from engine.state.sqlite_schema import connect_reader, connect_writer, page_size
from engine.state.store import Row
from engine.state.wal_check import lost_frames
from engine.state.wal_room import WalRoom
from engine.state.wal_sync import WalSync

_EPOCH: Final = "epoch"
#: The last seq if the store was closed in order, else empty; kept in the database file itself.
_SEALED: Final = ".sealed"

# An INSERT outside BEGIN … COMMIT is a transaction of its own and takes the write lock before
# it reads, just as BEGIN IMMEDIATE does, in 13 µs instead of 20.
_INSERT: Final = (
    "INSERT INTO journal SELECT ?, ?, ? FROM meta WHERE key = 'epoch' AND value = ?"
)
_UPSERT: Final = (
    "INSERT INTO meta VALUES (?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, crc = excluded.crc"
)
#: What SQLite says when there is no room for its shared index (it calls that an I/O error), and
#: when a write failed for a reason that it does not tell.
_IOERR_SHMSIZE: Final = 4874
_IOERR_WRITE: Final = 778
#: Free bytes below which an untold write error is taken for a full disk.
_NO_ROOM: Final = 1 << 17


class SqliteReader:
    """A look at a run's journal from any process, live or ended."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.damage: list[str] = []
        self.log_was_missing = False
        """There was no write-ahead log before this look, which makes one."""
        self._connection = connection

    def rows(self, after: int = 0) -> Iterator[Row]:
        """Rows with a higher seq, in order; damaged and missing ones without data."""
        return read_rows(self._connection, after, self.damage)

    def meta(self) -> dict[str, str]:
        """The meta words that are undamaged."""
        words = read_meta(self._connection, self.damage)
        return {k: v for k, v in words.items() if not k.startswith(".")}

    def check_end(self) -> None:
        """Note in `damage` if rows at the journal's end are lost, which leaves no gap."""
        from engine.state.sqlite_salvage import check_end

        try:
            check_end(self._connection, self.damage, self.log_was_missing)
        except sqlite3.Error as exc:
            self.damage.append(f"the journal's end cannot be read ({exc})")

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        self._connection.close()


class SqliteStore(SqliteReader):
    """A run's journal, open for writing. Implements `Store`."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, durability: str, epoch: int, seq: int
    ) -> None:
        super().__init__(path, connection)
        self.commit_seconds = 0.0005
        self._execute = connection.execute
        self._epoch = str(epoch)
        self._seq = seq
        self._broken: StorageError | None = None
        self._back: SqliteReader | None = None
        self._closed = False
        self._file = _file_id(path)
        self._sync = WalSync(_wal(path), self._latch) if durability == "process" else None
        self._room = WalRoom(_wal(path), page_size(connection)) if durability == "full" else None

    # -- opening -----------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, durability: str, epoch: int = 1) -> SqliteStore:
        """A new, empty journal. Raises StorageError if there is one already, StorageFull."""
        if path.exists():
            raise StorageError(f"{path} exists already; open it instead")
        with contextlib.suppress(OSError):  # what is wrong there, SQLite will tell
            path.touch(mode=0o600)  # its -wal and -shm take after it
        with _translated(path):
            connection = connect_writer(path, durability, new=True)
            try:
                _claim(connection, epoch)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection, durability, epoch, 0)

    @classmethod
    def open(cls, path: Path, durability: str, epoch: int) -> SqliteStore:
        """Take over a journal for writing under `epoch`, which must not be lower than its last.

        A damaged file is rebuilt from what can be read; see `damage`.
        Raises Fenced, NewerSchema, StorageFull, StorageError.
        """
        from engine.state.sqlite_salvage import cannot_open, examine, finish_rebuild, rebuild

        finish_rebuild(path)
        if not path.exists():
            raise StorageError(f"{path} is missing; the run cannot be resumed without it")
        with _translated(path):
            found = examine(path)
            if not found.unusable:
                try:
                    return cls._take(path, durability, epoch, found.notes)
                except sqlite3.DatabaseError as exc:
                    if cannot_open(exc):
                        raise
                    # What reading does not mind may still be too damaged to be written to.
                    found.notes.append(f"run.db is damaged ({exc})")
            found.notes.append(f"the damaged file is kept as {rebuild(path, epoch)}")
            return cls._take(path, durability, epoch, found.notes)

    @classmethod
    def _take(cls, path: Path, durability: str, epoch: int, notes: list[str]) -> SqliteStore:
        connection = connect_writer(path, durability)
        try:
            notes += _lost_in_log(connection, path)
            _claim(connection, epoch)
            store = cls(path, connection, durability, epoch, last_seq(connection) or 0)
        except BaseException:
            connection.close()
            raise
        store.damage += notes
        return store

    @staticmethod
    def read(path: Path) -> SqliteReader:
        """Look at a journal, whoever writes it. Raises NewerSchema, StorageError."""
        from engine.state.sqlite_salvage import log_is_missing

        with _translated(path):
            missing = log_is_missing(path)
            reader = SqliteReader(path, connect_reader(path))
        reader.log_was_missing = missing
        return reader

    # -- writing -----------------------------------------------------------------------------

    def append(self, data: bytes, meta: dict[str, str] | None = None) -> int:
        """As in `Store`."""
        if self._broken is not None:
            raise self._broken
        if meta:
            self.check_in_place()
        begin = time.perf_counter()
        seq = self._seq + 1
        try:
            written = self._append_with(seq, data, meta) if meta else self._insert(seq, data)
            self._seq += written
        except sqlite3.Error as exc:
            raise self._failed(exc) from exc
        except BaseException:
            self._after_interrupt()
            raise
        if not written:
            raise self._fenced()
        sync = self._sync
        if sync is not None and not sync.dirty:
            sync.mark()
        if self._room is not None:
            self._room.committed(len(data))
        self.commit_seconds += 0.1 * (time.perf_counter() - begin - self.commit_seconds)
        return seq

    def check_in_place(self) -> None:
        """Raise StorageBroken if the files were deleted or replaced: a write into a deleted file
        succeeds, and is lost. Costs 2 µs."""
        if self._broken is None and _file_id(self.path) != self._file:
            self._broken = StorageBroken(
                f"{self.path} was deleted or replaced while the run was writing to it; the run "
                "stops, since nothing more can be recorded. Start it again: it carries on from "
                "what is there"
            )
        if self._broken is not None and not self._closed:
            raise self._broken

    def _insert(self, seq: int, data: bytes) -> int:
        return self._execute(_INSERT, (seq, row_crc(seq, data), data, self._epoch)).rowcount

    def _append_with(self, seq: int, data: bytes, meta: dict[str, str]) -> int:
        # A path may hold what is no character; SQLite's text cannot.
        clean = {k: v.encode("utf-8", "backslashreplace").decode() for k, v in meta.items()}
        words = [(k, v, meta_crc(k, v)) for k, v in clean.items() if k != _EPOCH]
        self._execute("BEGIN IMMEDIATE")
        written = self._insert(seq, data)
        if written:
            self._connection.executemany(_UPSERT, words)
        self._execute("COMMIT")
        return written

    def skip_to(self, seq: int) -> None:
        """As in `Store`."""
        self._seq = max(self._seq, seq)

    def _after_interrupt(self) -> None:
        """A signal's exception came in between: find out whether the row was written."""
        if self._connection.in_transaction:
            self._execute("ROLLBACK")
        found = last_seq(self._connection)
        self._seq = max(self._seq, found or 0)

    def _failed(self, exc: sqlite3.Error) -> StorageError:
        try:
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
        except sqlite3.Error:
            return self._latch(exc)
        if _is_full(exc, self.path):
            return StorageFull(_full_text(self.path))
        return self._latch(exc)

    def _latch(self, exc: Exception) -> StorageError:
        self._broken = StorageBroken(
            f"writing to {self.path} failed ({exc}); nothing more is written to it. Look at the "
            "disk, then start the run again: it carries on from what is recorded"
        )
        return self._broken

    def _fenced(self) -> StorageError:
        self._broken = Fenced(
            f"another process has taken over the run in {self.path.parent}; this one stops "
            "without writing anything more"
        )
        return self._broken

    # -- reading, ending -------------------------------------------------------------------------

    def read_back(self) -> SqliteReader:
        """A second connection for reading while this one writes; closed with the store."""
        if self._back is None:
            self._back = self.read(self.path)
        return self._back

    def flush(self) -> None:
        """As in `Store`."""
        if self._broken is not None:
            raise self._broken
        if self._sync is not None:
            self._sync.flush()
        if self._broken is not None:
            raise self._broken

    def close(self) -> None:
        """As in `Store`."""
        if self._closed:
            return
        self._closed = True
        if self._sync is not None:
            self._sync.close()
        if self._room is not None:
            self._room.close()
        if self._broken is None:
            self._broken = StorageBroken("the store is closed; open the run again to write to it")
            self._seal()
            self._close_reader()
            self._connection.close()
        else:
            self._leave()

    def _leave(self) -> None:
        """Let go without touching the files.

        The last connection to close copies the log into the database and deletes it. A
        reader that closes after it keeps it from being the last, and may do neither.
        """
        with contextlib.suppress(StorageError):
            list(self.read_back().rows(self._seq))
        self._connection.close()
        self._close_reader()

    def _close_reader(self) -> None:
        if self._back is not None:
            self._back.close()

    def _seal(self) -> None:
        """Write down that the journal is whole. Without it the next start looks more closely."""
        seal = str(self._seq)
        try:
            self._execute(
                "UPDATE meta SET value = ?, crc = ? WHERE key = '.sealed' AND EXISTS "
                "(SELECT 1 FROM meta WHERE key = 'epoch' AND value = ?)",
                (seal, meta_crc(_SEALED, seal), self._epoch),
            )
            # Somebody who reads, for however long, is not waited for: the log then stays.
            self._execute("PRAGMA busy_timeout = 0")
            self._execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            return


def peek(database: Path) -> dict[str, str] | None:
    """The meta words of a `run.db`; None if there is none, or it cannot be read.

    Raises NewerSchema.
    """
    if not database.exists():
        return None
    try:
        with contextlib.closing(SqliteStore.read(database)) as reader:
            return reader.meta()
    except NewerSchema:
        raise
    except StorageError:
        return None


def _file_id(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of the same name; None if it is gone."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _claim(connection: sqlite3.Connection, epoch: int) -> None:
    """Write the epoch, and that the journal is in use. Raises Fenced if it is an old one."""
    connection.execute("BEGIN IMMEDIATE")
    words = read_meta(connection, [])
    last = words.get(_EPOCH, "0")
    if last.isdigit() and int(last) > epoch:
        connection.execute("ROLLBACK")
        raise Fenced(f"the run was taken over meanwhile (epoch {last}, this process has {epoch})")
    for key, value in ((_EPOCH, str(epoch)), (_SEALED, "")):
        connection.execute(_UPSERT, (key, value, meta_crc(key, value)))
    connection.execute("COMMIT")
    # Into the database file, so that a log that goes missing later is missed.
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _lost_in_log(connection: sqlite3.Connection, path: Path) -> list[str]:
    accepted = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    lost = lost_frames(_wal(path), max(0, accepted))
    if not lost:
        return []
    return [f"the end of the write-ahead log is damaged: {lost} pages of it are lost"]


def _is_full(exc: sqlite3.Error, path: Path) -> bool:
    code = getattr(exc, "sqlite_errorcode", None)
    if code in (sqlite3.SQLITE_FULL, _IOERR_SHMSIZE):
        return True
    return code == _IOERR_WRITE and free_bytes(path.parent) < _NO_ROOM


def _full_text(path: Path) -> str:
    return f"no room left for {path}; free some space: the run goes on by itself"


class _translated:  # noqa: N801 - used as a statement
    """Turn SQLite's errors while a file is opened into ours."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if not isinstance(exc, sqlite3.Error):
            return
        if _is_full(exc, self.path):
            raise StorageFull(_full_text(self.path)) from exc
        raise StorageError(
            f"{self.path} cannot be opened ({exc}); check that its directory is there and "
            "writable, and see `flowforge doctor`"
        ) from exc
