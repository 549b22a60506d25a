"""Has the write-ahead log lost anything that SQLite would pass over in silence?

SQLite reads its log up to the first frame whose checksum is wrong and ignores the rest,
because that is what a power cut leaves behind. A flipped bit in the middle looks the same
to it, and everything committed after it is gone without a word. So the frames that it did
not accept are looked at here. One that was written only in part does not count: its commit
was never acknowledged. It ends where the file does, or in what fills the room ahead of the log
(`wal_room.py`).

Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

from engine.state.sqlite_schema import PAGE

HEADER: Final = 32
FRAME: Final = 24
#: What the room ahead of the log consists of. Frames are multiples of it in length, and no page
#: of SQLite's ends like that. (One cut off within its last seven bytes is taken for damaged.)
FILLER: Final = b"\xffno row\xff"
_MAGIC: Final = {0x377F0682: "<", 0x377F0683: ">"}


def lost_frames(wal: Path, accepted: int) -> int:
    """How many written frames SQLite ignores, having accepted the first `accepted`."""
    try:
        with wal.open("rb") as file:
            return _lost(file, wal.stat().st_size, accepted)
    except FileNotFoundError:
        return 0


def _lost(file: BinaryIO, size: int, accepted: int) -> int:
    header = file.read(HEADER)
    if size <= HEADER:
        return 0
    magic, _version, page, _round = struct.unpack(">4I", header[:16])
    order = _MAGIC.get(magic)
    if order is None or _sums(header[:24], (0, 0), order) != struct.unpack(">2I", header[24:]):
        data = file.read()
        room = data.find(8 * FILLER)
        return max(1, (len(data) if room < 0 else room) // (FRAME + PAGE))
    salts, seed = header[16:24], header[24:32]
    if accepted:
        file.seek(HEADER + (accepted - 1) * (FRAME + page))
        seed = file.read(FRAME + page)[16:24]
    return _bad_frames(file, page, order, salts, seed)


def _bad_frames(file: BinaryIO, page: int, order: str, salts: bytes, seed: bytes) -> int:
    """Frames from here on that belong to this round and were committed, or are damaged."""
    count = bad = 0
    while len(frame := file.read(FRAME + page)) == FRAME + page:
        if frame.endswith(FILLER):
            break
        # Frames of an earlier round agree in neither half.
        if frame[8:12] != salts[:4] and frame[12:16] != salts[4:]:
            break
        count += 1
        committed = frame[4:8] != bytes(4)
        sums = _sums(frame[:8] + frame[FRAME:], struct.unpack(">2I", seed), order)
        seed = frame[16:24]
        if committed or sums != struct.unpack(">2I", seed):
            bad = count
    return bad


def _sums(data: bytes, seed: tuple[int, ...], order: str) -> tuple[int, int]:
    """SQLite's running checksum: two sums of 32 bits that feed each other."""
    a, b = seed
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for x, y in zip(words[::2], words[1::2], strict=True):
        a = (a + x + b) & 0xFFFFFFFF
        b = (b + y + a) & 0xFFFFFFFF
    return a, b
