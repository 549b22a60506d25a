"""The marks that stand in a record where a value is kept in some special way.

Rule 1: no mark is ever part of a user's value; all of them are the engine's own.
Rule 2: what msgpack carries by itself, exactly, is `NATIVE`; all else has a code below.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

#: Types that msgpack returns equal and of the same type (integers up to 64 bits).
NATIVE: Final = frozenset({type(None), bool, int, float, str, bytes})

#: Types whose values `to_stored` hands on untouched; the first test on every result.
SCALARS: Final = frozenset({type(None), bool, int, float})

#: Longest str (characters) or bytes kept as it is instead of encoded.
SHORT: Final = 1000

#: Extension codes. A code is never given a second meaning: old runs must stay readable.
ENCODED, BLOB, ABSENT_CODE, BIG_INT, PICKLE, TUPLE = 1, 2, 3, 4, 5, 10


class Encoded(bytes):
    """A value that was encoded already. Encoding it again embeds it; decoding yields the value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Encoded {len(self)} bytes>"


class BlobRef(NamedTuple):
    """A large value that lives in the run's `blobs/`."""

    digest: str
    """Its content's BLAKE2b digest, in hexadecimal; also its file's name."""
    size: int
    """Bytes."""


class Absent:
    """The type of `ABSENT`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "ABSENT"


#: Stands for a result that was not persisted (`persist=False`).
ABSENT: Final = Absent()

Stored = None | bool | int | float | str | bytes | Encoded | BlobRef | Absent
"""What is kept of a result."""


class Opaque:
    """Stands for a value of a user's class when a record is read without trusting it."""

    __slots__ = ("content", "what")

    def __init__(self, what: str, content: Any = None) -> None:
        self.what = what
        """The class as `module:qualname`, or words for what it is."""
        self.content = content
        """The value's plain parts, as far as they can be shown without running its code."""

    def __repr__(self) -> str:
        name = self.what.rpartition(":")[2]
        return f"<{name}>" if self.content is None else f"<{name} {self.content!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Opaque):
            return NotImplemented
        return self.what == other.what and bool(self.content == other.content)

    def __hash__(self) -> int:
        return hash(self.what)
