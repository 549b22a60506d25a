"""The format of a task-log segment: blocks, one after the other, each written at once.

    magic 4 | head CRC 4 | body CRC 4 | tids size 4 | body size 4 | rows 4 | first 8 | last 8
    tids: the ids of the task runs in the block, ascending, 4 bytes each
    body: msgpack, a list of rows

Rule 1: a reader finds one task run among a hundred thousand by hopping from head to head;
        it reads no body that does not concern it.
Rule 2: a block counts if its checksums hold. A torn end is not there yet; damage in the
        middle costs that block alone, because the next magic is found again.
Rule 3: integers are little-endian; times are seconds since the Unix epoch.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple
from zlib import crc32

import msgpack

MAGIC = b"FFL1"
_HEAD = Struct("<4sIIIIIdd")
HEAD_SIZE = _HEAD.size
_SIZES = Struct("<IIIdd")

#: A larger claim in a head is damage, not a block: a writer flushes at a few hundred kilobytes,
#: and one append adds at most what a caller holds in one string.
_LARGEST = 1 << 31

Row = tuple[int, int, int, str, int, float, str]
"""tid, generation, attempt, stream, level, time, text. The text has its newlines; without one at
the end, the line goes on in the next row of the same attempt and stream."""


class Head(NamedTuple):
    """What a block says about itself. `offset` and `end`: bytes in the segment."""

    offset: int
    end: int
    body_offset: int
    body_crc: int
    rows: int
    first: float
    last: float
    tids: array[int]

    def holds(self, tid: int) -> bool:
        """True if the block has rows of that task run."""
        at = bisect_left(self.tids, tid)
        return at < len(self.tids) and self.tids[at] == tid


def pack(rows: Sequence[Row]) -> bytes:
    """One block. The rows must not be empty."""
    body: bytes = msgpack.packb(rows, unicode_errors="surrogatepass")
    tids = _little(array("i", sorted({row[0] for row in rows}))).tobytes()
    times = [row[5] for row in rows]
    sizes = _SIZES.pack(len(tids), len(body), len(rows), min(times), max(times))
    prefix = MAGIC + crc32(tids, crc32(sizes)).to_bytes(4, "little")
    return b"".join((prefix, crc32(body).to_bytes(4, "little"), sizes, tids, body))


def tids_size(head: bytes) -> int | None:
    """How many bytes of ids follow the fixed part of a head; None if it is none."""
    magic, _, _, size, body_size, *_ = _HEAD.unpack(head)
    return size if magic == MAGIC and size % 4 == 0 and size + body_size < _LARGEST else None


def parse_head(head: bytes, tids: bytes, offset: int) -> Head | None:
    """The head that stands at `offset`; None if its checksum does not hold."""
    _, head_crc, body_crc, size, body_size, count, first, last = _HEAD.unpack(head)
    if crc32(tids, crc32(head[12:])) != head_crc:
        return None
    ids = array("i")
    ids.frombytes(tids)
    body_offset = offset + HEAD_SIZE + size
    return Head(
        offset, body_offset + body_size, body_offset, body_crc, count, first, last, _little(ids)
    )


def parse_body(body: bytes, crc: int) -> list[Row] | None:
    """The rows of a block; None if they are damaged."""
    if crc32(body) != crc:
        return None
    rows: list[Row] = msgpack.unpackb(body, use_list=False, unicode_errors="surrogatepass")
    return rows


def _little(ids: array[int]) -> array[int]:
    if sys.byteorder == "big":
        ids.byteswap()
    return ids
