"""The tables of `run.db`, and how a connection to it is opened.

Rule 1: `SCHEMA[n]` takes a database from version n to n + 1. Entries are never changed once
        released, so an older run is migrated by running what it lacks, in one transaction. A
        step is SQL, or a function of the connection where checksums have to be made anew.
Rule 2: a newer version is refused, before anything is read.
Rule 3: looking changes nothing: an older run is migrated in a copy in memory for that.
Rule 4: only SQLite opens `run.db`: closing any other descriptor of it would drop the locks
        that this process holds on it (POSIX locks belong to the process).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

from engine.errors import NewerSchema, StorageError

#: "FLOW": tells our databases from others.
APPLICATION_ID: Final = 0x464C4F57

Step = str | Callable[[sqlite3.Connection], None]

SCHEMA: Final[tuple[tuple[Step, ...], ...]] = (
    (
        "CREATE TABLE journal (seq INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL)",
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL)",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ),
)
VERSION: Final = len(SCHEMA)

#: Seconds that a statement waits for another process's transaction.
BUSY_SECONDS: Final = 10.0
#: Bytes of a page of a new database. A commit checksums and writes whole pages: a row of 40
#: bytes takes 7.4 µs, and 8.9 with SQLite's usual 4096; one of 20 kB takes 43 instead of 41.
PAGE: Final = 2048
#: Pages of the write-ahead log at which a commit copies it into the database: 16 MB, so that
#: the milliseconds this takes come rarely.
CHECKPOINT_PAGES: Final = 8000


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection in autocommit mode; `mode` is ro, rw or rwc. Raises sqlite3.Error."""
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def connect_writer(path: Path, durability: str, *, new: bool = False) -> sqlite3.Connection:
    """The one writing connection. Raises sqlite3.Error, StorageError."""
    connection = connect(path, "rwc" if new else "rw")
    try:
        if new:
            connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("PRAGMA journal_mode = WAL")
        level = "FULL" if durability == "full" else "NORMAL"
        connection.execute(f"PRAGMA synchronous = {level}")
        # macOS: an ordinary fsync leaves the data in the drive's cache.
        connection.execute(f"PRAGMA fullfsync = {1 if durability == 'full' else 0}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        # The log never holds leftovers of an earlier round, so a whole frame with a wrong
        # checksum is damage and not history (see `wal_check.py`).
        connection.execute("PRAGMA journal_size_limit = 0")
        migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection for looking, which sees the tables as this version has them.

    Raises sqlite3.Error, NewerSchema, StorageError.
    """
    connection = connect(path, "ro")
    try:
        if check_version(connection, path) in (0, VERSION):  # 0: nothing in it yet, or damaged
            return connection
        copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.backup(copy)
        migrate(copy, path)
    except BaseException:
        connection.close()
        raise
    connection.close()
    return copy


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version. Raises NewerSchema, StorageError if it is no database of ours."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise NewerSchema(
            f"{path} was written by a newer FlowForge (format {version}, this one knows "
            f"{VERSION}); upgrade with: pip install -U flowforge"
        )
    if version and connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StorageError(f"{path} is not a FlowForge run; move it away")
    return version


def page_size(connection: sqlite3.Connection) -> int:
    """Bytes of a page of an open database: runs of earlier versions have others."""
    size: int = connection.execute("PRAGMA page_size").fetchone()[0]
    return size


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables up to date, all or nothing."""
    if check_version(connection, path) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Again, inside: somebody else may have done it meanwhile.
        version = check_version(connection, path)
        for step in SCHEMA[version:]:
            for act in step:
                if isinstance(act, str):
                    connection.execute(act)
                else:
                    act(connection)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
