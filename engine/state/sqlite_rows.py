"""Reading `run.db`: rows checked one by one, past whatever is damaged.

Rule 1: reads are short. A reader that held a transaction open would keep the write-ahead
        log from ever starting over.
Rule 2: SQLite's own error on a page is not the end: rows on other pages are looked up one
        by one.
Rule 3: nothing is skipped in silence: what cannot be read comes as a row without data, and
        goes into `damage`.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from typing import Final

from engine.errors import StorageError
from engine.state.store import Row

#: Rows fetched in one go.
_CHUNK: Final = 500
#: Rows looked for one by one past a broken page if the end of the journal is unknown too.
_BLIND: Final = 20_000

_SELECT: Final = "SELECT seq, crc, data FROM journal WHERE seq > ? ORDER BY seq LIMIT ?"
_ONE: Final = "SELECT seq, crc, data FROM journal WHERE seq = ?"


def row_crc(seq: int, data: bytes) -> int:
    """The checksum of a row; started at its seq, so that a row under another number fails."""
    return zlib.crc32(data, seq & 0xFFFFFFFF)


def meta_crc(key: str, value: str) -> int:
    """The checksum of a meta word."""
    return zlib.crc32(f"{key}\0{value}".encode("utf-8", "surrogatepass"))


def read_rows(connection: sqlite3.Connection, after: int, damage: list[str]) -> Iterator[Row]:
    """Rows with a higher seq, in order, gaps filled with rows without data.

    Raises StorageError if the connection was closed meanwhile.
    """
    at = after
    while True:
        try:
            chunk = connection.execute(_SELECT, (at, _CHUNK)).fetchall()
        except sqlite3.ProgrammingError as exc:
            raise StorageError("the run's journal was closed while it was being read") from exc
        except sqlite3.Error as exc:
            _note(damage, f"part of the journal after row {at} cannot be read ({exc})")
            yield from _one_by_one(connection, at, damage)
            return
        if not chunk:
            return
        for seq, crc, data in chunk:
            if not _sound(seq, at):
                _note(damage, f"the journal holds a row numbered {seq!r}")
                return
            while at < seq - 1:
                at += 1
                yield _missing(at, damage)
            at = seq
            yield _checked(seq, crc, data, damage)


def _sound(seq: object, at: int) -> bool:
    return type(seq) is int and at < seq < at + 10_000_000


def _checked(seq: int, crc: object, data: object, damage: list[str]) -> Row:
    if type(data) is bytes and crc == row_crc(seq, data):
        return Row(seq, data)
    _note(damage, f"row {seq} of the journal is damaged")
    return Row(seq, None)


def _missing(seq: int, damage: list[str]) -> Row:
    _note(damage, f"row {seq} of the journal is missing")
    return Row(seq, None)


def _one_by_one(connection: sqlite3.Connection, after: int, damage: list[str]) -> Iterator[Row]:
    last = last_seq(connection)
    lost: list[int] = []
    for seq in range(after + 1, (after + _BLIND if last is None else last) + 1):
        row = _single(connection, seq)
        if row is None:
            lost.append(seq)
            continue
        # Rows lost at the very end are not rows that were ever known to exist.
        yield from (_missing(s, damage) for s in lost)
        lost.clear()
        yield _checked(*row, damage)
    if last is not None:
        yield from (_missing(s, damage) for s in lost)


def _single(connection: sqlite3.Connection, seq: int) -> tuple[int, object, object] | None:
    try:
        row: tuple[int, object, object] | None = connection.execute(_ONE, (seq,)).fetchone()
    except sqlite3.Error:
        return None
    return row if row is not None and row[0] == seq else None


def last_seq(connection: sqlite3.Connection) -> int | None:
    """The highest seq; 0 for an empty journal, None if it cannot be read."""
    try:
        found = connection.execute("SELECT max(seq) FROM journal").fetchone()[0]
    except sqlite3.Error:
        return None
    return found if type(found) is int and found >= 0 else None if found is not None else 0


def read_meta(connection: sqlite3.Connection, damage: list[str]) -> dict[str, str]:
    """All meta words whose checksum is right, the store's own among them."""
    words: dict[str, str] = {}
    try:
        for key, value, crc in connection.execute("SELECT key, value, crc FROM meta"):
            if type(key) is str and type(value) is str and crc == meta_crc(key, value):
                words[key] = value
            else:
                _note(damage, f"the word {key!r:.40} about the run is damaged")
    except sqlite3.ProgrammingError as exc:
        raise StorageError("the run's journal was closed while it was being read") from exc
    except sqlite3.Error as exc:
        _note(damage, f"the words about the run cannot be read ({exc})")
    return words


def _note(damage: list[str], text: str) -> None:
    if text not in damage:
        damage.append(text)
