"""The two walks of the codec: a value to msgpack, and back.

Rule 1: a value is packed as it is if msgpack returns it equal and of the same type;
        everything else becomes an extension: a code, and its parts, packed in turn.
Rule 2: each kind of value is one `Rule` (see `codec_rules.py`), both directions side by side.
Rule 3: depth is bounded both ways. Each extension level of a read costs 41 KB of C stack
        (msgpack keeps its parse stack there), so 32 of them fit the smallest thread.
Rule 4: no claim of a size is believed: a record's structure is walked before it is built.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgpack
from msgpack import ExtType

from engine.errors import CodecError
from engine.worker.codec_values import (
    BIG_INT,
    ENCODED,
    NATIVE,
    PICKLE,
    TUPLE,
    Encoded,
    Opaque,
)

#: Nested containers, and nested extensions among them, that are written part by part;
#: what lies deeper is pickled as one piece.
MAX_DEPTH: Final = 100
MAX_EXT_WRITE: Final = 16
MAX_EXT_READ: Final = 32
#: Times a container may be met again before the value counts as a tangle and is pickled:
#: 30 lists, each holding the one before twice, would unfold to 2**30.
MAX_SHARED: Final = 10_000
#: Bytes up to which a record is read without walking it first; a lie of this length
#: cannot claim more than 32 MB.
UNCHECKED: Final = 4096


#: Bytes of output after which a packer is not used again: it never gives its buffer back.
KEPT_BUFFER: Final = 1 << 20


class Tangled(Exception):
    """The value holds itself, or shares its parts so much that only pickle can carry it."""


class Rule(NamedTuple):
    """How one kind of value is written and read."""

    code: int
    dump: Callable[[Any], Any]
    """Value → its parts, themselves encodable."""
    load: Callable[[Any], Any]
    """Parts → value. Any exception means that the parts are damaged."""
    of_user: bool = False
    """Its parts name a class of the user's; read without trust it stays `Opaque`."""


# -- packing ----------------------------------------------------------------------------------


def _unpackable(value: Any) -> ExtType:
    """Called by msgpack for what it does not know: integers over 64 bits."""
    if type(value) is int:
        return ExtType(BIG_INT, int_bytes(value))
    raise TypeError(f"{type(value).__name__} reached the packer")


def int_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


class Packing:
    """Packers ready for use. Each allocates 256 KB when made, so they are kept."""

    __slots__ = ("_default", "_free")

    def __init__(self, default: Callable[[Any], Any]) -> None:
        self._default = default
        self._free: list[msgpack.Packer] = []

    def __call__(self, tree: Any) -> bytes:
        free = self._free
        try:
            packer = free.pop()
        except IndexError:
            packer = msgpack.Packer(default=self._default, strict_types=True)
        try:
            packed = packer.pack(tree)
        except UnicodeEncodeError:
            # Lone surrogates. Not the usual packer's job: it would be slower for every string.
            packed = msgpack.packb(
                tree, default=self._default, strict_types=True, unicode_errors="surrogatepass"
            )
        assert packed is not None
        if len(packed) <= KEPT_BUFFER:
            free.append(packer)
        return packed


pack: Final = Packing(_unpackable)


class Writer:
    """One walk over one value."""

    __slots__ = ("_ext", "_met", "_open", "_pickle", "_repeats", "_rule_for")

    def __init__(
        self, rule_for: Callable[[type], Rule | None], pickle: Callable[[Any], bytes]
    ) -> None:
        self._rule_for = rule_for
        self._pickle = pickle
        self._open: set[int] = set()
        self._met: dict[int, Any] = {}
        self._repeats = 0
        self._ext = 0

    def tree(self, value: Any) -> Any:
        """`value` as something that msgpack carries exactly. Raises Tangled."""
        t = type(value)
        if t in NATIVE:
            return value
        if t is Encoded:
            return ExtType(ENCODED, bytes(value))
        if (t is tuple or t is list) and set(map(type, value)) <= NATIVE:
            # Most of what there is, and nothing that could hold itself: no book-keeping.
            return value if t is list else ExtType(TUPLE, pack(list(value)))
        here = id(value)
        self._meet(here, value)
        if len(self._open) >= MAX_DEPTH or self._ext >= MAX_EXT_WRITE:
            return ExtType(PICKLE, self._pickle(value))
        self._open.add(here)
        try:
            if t is list:
                return self._list(value)
            if t is dict and set(map(type, value)) <= NATIVE:
                return self._dict(value)
            return self._extension(value, t)
        finally:
            self._open.discard(here)

    def _meet(self, here: int, value: Any) -> None:
        if here in self._open:
            raise Tangled
        if here in self._met:
            self._repeats += 1
            if self._repeats > MAX_SHARED:
                raise Tangled
        # Kept alive until the walk ends, so that no later part can get the same id.
        self._met[here] = value

    def _list(self, value: list[Any]) -> list[Any]:
        tree = self.tree
        return [v if type(v) in NATIVE else tree(v) for v in value]

    def _dict(self, value: dict[Any, Any]) -> dict[Any, Any]:
        if set(map(type, value.values())) <= NATIVE:
            return value
        tree = self.tree
        return {k: v if type(v) in NATIVE else tree(v) for k, v in value.items()}

    def _extension(self, value: Any, t: type) -> ExtType:
        rule = self._rule_for(t)
        parts = None if rule is None else rule.dump(value)
        if rule is None or parts is NotImplemented:
            return ExtType(PICKLE, self._pickle(value))
        self._ext += 1
        try:
            inner = self._list(parts) if type(parts) is list else self.tree(parts)
            return ExtType(rule.code, pack(inner))
        finally:
            self._ext -= 1


# -- unpacking --------------------------------------------------------------------------------


def unpack(data: bytes, ext_hook: Callable[[int, bytes], Any]) -> Any:
    """One msgpack value. Raises CodecError for damage, wrong sizes and bottomless nesting."""
    try:
        if len(data) > UNCHECKED:
            _check(data)
        return msgpack.unpackb(
            data, ext_hook=ext_hook, strict_map_key=False, unicode_errors="surrogatepass"
        )
    except CodecError:
        raise
    except RecursionError as exc:
        raise CodecError("the record is nested too deeply to be read") from exc
    except Exception as exc:
        why = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
        raise CodecError(f"the record is damaged ({why})") from exc


def _check(data: bytes) -> None:
    """Walk the structure without building it: a claimed size costs nothing here."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data), strict_map_key=False)
    unpacker.feed(data)
    unpacker.skip()


class Reader:
    """One walk over one record."""

    __slots__ = ("_depth", "_rules", "_trusted", "_unpickle")

    def __init__(
        self, rules: dict[int, Rule], unpickle: Callable[[bytes], Any], trusted: bool
    ) -> None:
        self._rules = rules
        self._unpickle = unpickle
        self._trusted = trusted
        self._depth = 0

    def value(self, data: bytes) -> Any:
        """The value in a record. Raises CodecError."""
        return unpack(data, self._extension)

    def _extension(self, code: int, data: bytes) -> Any:
        if code == BIG_INT:
            return int.from_bytes(data, "little", signed=True)
        if code == PICKLE:
            if not self._trusted:
                return Opaque("pickled value")
            return self._unpickle(data)
        if self._depth >= MAX_EXT_READ:
            raise CodecError("the record is nested too deeply to be read")
        self._depth += 1
        try:
            parts = self.value(data)
        finally:
            self._depth -= 1
        return parts if code == ENCODED else self._load(code, parts)

    def _load(self, code: int, parts: Any) -> Any:
        rule = self._rules.get(code)
        if rule is None:
            raise CodecError(
                f"the record holds a value of kind {code}, which this version does not know; "
                "upgrade FlowForge to read it"
            )
        if rule.of_user and not self._trusted:
            return Opaque(str(parts[0]), parts[1:] if len(parts) > 2 else parts[1])
        try:
            return rule.load(parts)
        except LookupError as exc:
            raise CodecError(exc.args[0] if exc.args else repr(exc)) from exc


def loaded_type(module: str, name: str) -> type | None:
    """A type of a module if that module is loaded: no value of it can exist otherwise."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None
