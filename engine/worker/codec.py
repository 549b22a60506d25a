"""Results and arguments as bytes, and back: equal, and of the same type, or refused.

Rule 1: what comes back is equal and of the same type; a value for which that cannot be had
        fails when it is encoded, at the task that returned it, with the path to the culprit.
Rule 2: bytes are data. No code of theirs runs unless this user signed it (`signing.py`),
        and with `trusted=False` none runs at all.
Rule 3: batches matter more than values: a column of plain results is one msgpack call.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgpack
from msgpack import ExtType

from engine.errors import CodecError, StorageError, UnserialisableError
from engine.worker import codec_pickle
from engine.worker.codec_classes import DATACLASS, ENUM, EXCEPTION, SUBCLASS, class_rule
from engine.worker.codec_numpy import ARRAY, SCALAR, numpy_rule
from engine.worker.codec_rules import BY_NAME, EXACT, exact_rule
from engine.worker.codec_values import (
    ABSENT,
    ABSENT_CODE,
    BIG_INT,
    BLOB,
    ENCODED,
    NATIVE,
    PICKLE,
    SCALARS,
    SHORT,
    Absent,
    BlobRef,
    Encoded,
    Opaque,
    Stored,
)
from engine.worker.codec_walk import (
    Packing,
    Reader,
    Rule,
    Tangled,
    Writer,
    int_bytes,
    pack,
    unpack,
)

__all__ = [
    "ABSENT", "SCALARS", "Absent", "BlobRef", "CodecError", "Encoded", "Opaque", "Stored",
    "check_pickles", "decode", "encode", "from_stored", "pack_column", "to_stored", "unpack_column",
]

_RULES: Final[dict[int, Rule]] = {
    rule.code: rule
    for rule in (*EXACT.values(), *BY_NAME.values(), ENUM, DATACLASS, SUBCLASS, EXCEPTION,
                 ARRAY, SCALAR)
}
_by_type: dict[type, Rule | None] = {}


def _rule_for(t: type) -> Rule | None:
    try:
        return _by_type[t]
    except KeyError:
        rule = _by_type[t] = exact_rule(t) or numpy_rule(t) or class_rule(t)
        return rule


# -- one value --------------------------------------------------------------------------------


def encode(value: Any, root: str = "result") -> bytes:
    """`value` as bytes. `root` is what the value is called in an error's path.

    Raises UnserialisableError naming the part to blame, StorageError without a signing key.
    """
    t = type(value)
    if t is Encoded:
        return bytes(value)
    try:
        if t in NATIVE:
            return pack(value)
        try:
            return pack(Writer(_rule_for, codec_pickle.dumps).tree(value))
        except (Tangled, RecursionError):
            return pack(ExtType(PICKLE, codec_pickle.dumps(value)))
    except (StorageError, UnserialisableError):
        raise
    except Exception as exc:
        raise codec_pickle.blame(value, exc, root) from exc


def decode(data: bytes, *, trusted: bool = True) -> Any:
    """The value in `data`.

    With `trusted=False` nothing of the user's is imported, called or unpickled: values of
    classes come back as `Opaque`. Raises CodecError (a StorageError) for anything wrong.
    """
    return Reader(_RULES, codec_pickle.loads, trusted).value(data)


def check_pickles(data: bytes) -> None:
    """Raise CodecError if `data` holds a pickle that does not open in this process.

    It can be another version of Python or of a library that wrote it. Costs a search, where
    there is none.
    """
    if codec_pickle.may_be_in(data):
        decode(data)


# -- what is kept of a result --------------------------------------------------------------------


def to_stored(value: Any) -> Stored:
    """What is kept of a result: short plain values as they are, anything else `Encoded`.

    Raises UnserialisableError.
    """
    t = type(value)
    if t in SCALARS:
        return cast(Stored, value)
    if (t is str or t is bytes) and len(value) <= SHORT:
        return cast(Stored, value)
    return Encoded(encode(value))


def from_stored(stored: Stored) -> Any:
    """The result again. `BlobRef` and `ABSENT` come back as they are. Raises CodecError."""
    return decode(stored) if type(stored) is Encoded else stored


# -- a batch of results ---------------------------------------------------------------------------


def _mark(value: Any) -> ExtType:
    t = type(value)
    if t is Encoded:
        return ExtType(ENCODED, bytes(value))
    if t is int:
        return ExtType(BIG_INT, int_bytes(value))
    if t is BlobRef:
        return ExtType(BLOB, pack([value.digest, value.size]))
    if value is ABSENT:
        return ExtType(ABSENT_CODE, b"")
    raise TypeError(f"a {t.__name__} is not a stored value; pass it through to_stored() first")


def _unmark(code: int, data: bytes) -> Any:
    if code == ENCODED:
        return Encoded(data)
    if code == BIG_INT:
        return int.from_bytes(data, "little", signed=True)
    if code == BLOB:
        digest, size = msgpack.unpackb(data)
        if type(digest) is str and type(size) is int:
            return BlobRef(digest, size)
    if code == ABSENT_CODE:
        return ABSENT
    raise CodecError(f"a batch of results holds an unknown mark ({code}); the row is damaged")


_pack_column: Final = Packing(_mark)


def pack_column(column: list[Stored]) -> bytes:
    """A batch of stored results as bytes."""
    return _pack_column(column)


def unpack_column(data: bytes) -> list[Stored]:
    """The batch again; what is `Encoded` in it stays so. Raises CodecError."""
    column = unpack(data, _unmark)
    if type(column) is not list:
        raise CodecError("a batch of results is not a list; the row is damaged")
    return column
