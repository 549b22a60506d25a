"""Keeps written room ahead of the write-ahead log, so that a commit does not make it longer.

To sync a file that has grown, the file system must record its new size as well: 176 µs here,
and 75 where what was written lies within the file. SQLite knows no such reserve for its log,
but takes any end: a frame whose salts are not the log's is where the log ends. The room is filled
with what tells a frame that was cut off from one that was damaged: see `FILLER`.

Rule 1: only for `full` durability; nothing else waits for a sync.
Rule 2: the log is right without it. Whatever fails here is left to SQLite to find out.
Rule 3: only the log is opened here, never the database: see rule 3 of `sqlite_schema.py`. It is
        opened for appending: should somebody else have taken over meanwhile, room still comes
        behind whatever they wrote, never upon it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from engine.state.wal_check import FILLER, FRAME, HEADER

#: Bytes written ahead at a time: some sixty commits of a chain.
AHEAD: Final = 1 << 17
#: Not the last bytes of a disk: there must be more free than this many times `AHEAD`.
SPARE: Final = 64
#: Pages that a commit may write besides those that hold its row.
_OTHER_PAGES: Final = 4


class WalRoom:
    """What lies behind the log's end. Used by the thread that commits.

    `page` is the database's page size, in bytes.
    """

    def __init__(self, wal: Path, page: int) -> None:
        self._wal = wal
        self._page = page
        self._fd = -1
        self._salts = b""
        self._end = HEADER
        self._sure = 0
        """Bytes that still fit in any case, before the end is looked up again."""

    def committed(self, size: int) -> None:
        """A row of that many bytes was committed."""
        self._sure -= size + size // 8 + _OTHER_PAGES * (FRAME + self._page)
        if self._sure < 0:
            with suppress(OSError):
                self._look()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            with suppress(OSError):  # a task may have closed what is not its own
                os.close(self._fd)
            self._fd = -1

    def _look(self) -> None:
        if self._fd < 0:
            self._fd = os.open(self._wal, os.O_RDWR | os.O_APPEND)
        end, size = self._find_end(), os.fstat(self._fd).st_size
        if size - end < AHEAD // 2 and self._is_roomy():
            size += os.write(self._fd, _filling(size))
        self._sure = max(size - end, AHEAD // 4)

    def _find_end(self) -> int:
        """Where the next frame goes; from the start again if the log began a new round."""
        salts = os.pread(self._fd, HEADER, 0)[16:24]
        if salts != self._salts:
            self._salts, self._end = salts, HEADER
        while os.pread(self._fd, 8, self._end + 8) == salts:
            self._end += FRAME + self._page
        return self._end

    def _is_roomy(self) -> bool:
        disk = os.fstatvfs(self._fd)
        return disk.f_bavail * disk.f_frsize > SPARE * AHEAD


def _filling(at: int) -> bytes:
    """`AHEAD` bytes of filler for that place in the file: whole ones where frames end."""
    cut = at % len(FILLER)
    return (FILLER * (AHEAD // len(FILLER) + 1))[cut:cut + AHEAD]
