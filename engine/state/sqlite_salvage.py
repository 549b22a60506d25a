"""Opening a `run.db` that may be damaged: what is wrong with it, and a new one from the rest.

Rule 1: the damaged file is never written to; it is renamed and kept.
Rule 2: rows keep their numbers, so that what is missing shows as gaps.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engine.state.sqlite_rows import last_seq, meta_crc, read_meta, read_rows, row_crc
from engine.state.sqlite_schema import connect_reader, connect_writer

_BESIDE: Final = ("-wal", "-shm")
#: Complaints of SQLite's own check that are passed on; there may be one a page.
_COMPLAINTS: Final = 3
#: A page could not be read, or not all of it.
_IOERR_READ, _IOERR_SHORT_READ = 266, 522


@dataclass
class Findings:
    """What a look at a file found."""

    notes: list[str] = field(default_factory=list)
    """In words for the user; empty: nothing."""
    unusable: bool = False
    """Its structure is broken: it must not be written to."""


def examine(path: Path) -> Findings:
    """Look for damage of structure. Damaged rows are found when they are read.

    Raises NewerSchema, StorageError.
    """
    found = Findings()
    log_missing = log_is_missing(path)
    try:
        with contextlib.closing(connect_reader(path)) as connection:
            _check_structure(connection, found)
            check_end(connection, found.notes, log_missing)
    except sqlite3.DatabaseError as exc:
        if cannot_open(exc):
            raise
        found.notes.append(f"run.db is damaged ({exc})")
        found.unusable = True
    return found


def cannot_open(exc: sqlite3.DatabaseError) -> bool:
    """True where the file may well be sound: no permission, no descriptors, locked."""
    code = getattr(exc, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR
    if code in (_IOERR_READ, _IOERR_SHORT_READ):
        return False
    broken = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR,
              sqlite3.SQLITE_FORMAT)
    return code & 0xFF not in broken


def _check_structure(connection: sqlite3.Connection, found: Findings) -> None:
    for (verdict,) in connection.execute(f"PRAGMA quick_check({_COMPLAINTS})"):
        if verdict != "ok":
            found.notes.append(f"run.db is damaged ({str(verdict).splitlines()[-1]})")
            found.unusable = True


def log_is_missing(path: Path) -> bool:
    """True if there is no write-ahead log beside the file, or nothing in it."""
    wal = path.with_name(path.name + "-wal")
    return not wal.exists() or wal.stat().st_size == 0


def check_end(connection: sqlite3.Connection, notes: list[str], log_missing: bool) -> None:
    """Rows lost at the end leave no gap; the seal of the last owner tells of them.

    `log_missing`: as it was before the connection was made. Raises sqlite3.DatabaseError.
    """
    sealed = read_meta(connection, notes).get(".sealed")
    last = connection.execute("SELECT max(seq) FROM journal").fetchone()[0] or 0
    if sealed is None:
        notes.append("run.db has lost the words about how it was closed")
    elif sealed == "" and log_missing:
        notes.append(
            "the write-ahead log (run.db-wal) is missing: what was recorded last is lost"
        )
    elif sealed.isdigit() and int(sealed) > last:
        notes.append(f"the last {int(sealed) - last} rows of the journal are lost")


def rebuild(path: Path, epoch: int) -> str:
    """Carry what can be read into a new file in `path`'s place; returns the old one's new name.

    Raises sqlite3.Error, OSError.
    """
    fresh = _rebuilt(path)
    kept = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for name in (fresh.name, *(fresh.name + end for end in _BESIDE)):
        path.with_name(name).unlink(missing_ok=True)
    target = connect_writer(fresh, "full", new=True)
    try:
        _copy(path, target, epoch)
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        target.close()
    for end in ("", *_BESIDE):
        old = path.with_name(path.name + end)
        if old.exists():
            old.rename(path.with_name(kept.name + end))
    fresh.rename(path)
    return kept.name


def _rebuilt(path: Path) -> Path:
    return path.with_name(f"{path.name}.rebuilt")


def finish_rebuild(path: Path) -> None:
    """Put the new file in place if a rebuild was cut off right before it did."""
    if not path.exists() and _rebuilt(path).exists():
        _rebuilt(path).rename(path)


def _copy(path: Path, target: sqlite3.Connection, epoch: int) -> None:
    words = {"epoch": str(epoch)}
    target.execute("BEGIN IMMEDIATE")
    try:
        with contextlib.closing(connect_reader(path)) as source:
            words = read_meta(source, []) | words
            sound = ((r.seq, row_crc(r.seq, r.data), r.data)
                     for r in read_rows(source, 0, []) if r.data is not None)
            target.executemany("INSERT INTO journal VALUES (?, ?, ?)", sound)
    except sqlite3.DatabaseError as exc:
        if cannot_open(exc):
            raise
        # Not even its tables are there: the run starts from its snapshot, or anew.
    words[".sealed"] = str(last_seq(target) or 0)
    target.executemany(
        "INSERT INTO meta VALUES (?, ?, ?)", [(k, v, meta_crc(k, v)) for k, v in words.items()]
    )
    target.execute("COMMIT")
