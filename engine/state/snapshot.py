"""The whole state of a run in one file: quick to load, and a second copy.

Rule 1: it is replaced atomically; a reader sees the old one or the new one.
Rule 2: a damaged, foreign or newer snapshot is no snapshot: the journal is the authority.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

from engine.state.disk import storage_error, write_atomically

#: Ends in the version of the frame; what the body holds has a version of its own.
_MAGIC: Final = b"FFSNAP01"
_HEAD: Final = struct.Struct("<8sQQI")


def write_snapshot(path: Path, seq: int, body: bytes, sync: bool) -> None:
    """Store the state as of journal row `seq`. Raises StorageFull, StorageBroken."""
    try:
        write_atomically(path, (_head(seq, body), body), sync=sync)
    except OSError as exc:
        raise storage_error(path, exc) from exc


def read_snapshot(path: Path) -> tuple[int, bytes] | None:
    """The state and the journal row it goes up to; None if there is no undamaged one."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) < _HEAD.size:
        return None
    seq = _HEAD.unpack_from(data)[1]
    body = data[_HEAD.size :]
    return (seq, body) if data[: _HEAD.size] == _head(seq, body) else None


def _head(seq: int, body: bytes) -> bytes:
    crc = zlib.crc32(body, zlib.crc32(struct.pack("<QQ", seq, len(body))))
    return _HEAD.pack(_MAGIC, seq, len(body), crc)
