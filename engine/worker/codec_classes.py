"""How values of the user's own classes are stored: by the class's name and the value's parts.

Rule 1: values are rebuilt on the class as loaded now, without calling `__init__` or any
        other method of it; only `_missing_` of an enum may run.
Rule 2: a class with a pickling protocol of its own (`__reduce__`, `__getstate__`) knows
        better than we do, and is pickled.
Rule 3: each kind checks that the class found is of that kind, so that a forged record
        cannot make an object of some other class.
"""

from __future__ import annotations

import builtins
import collections
import copyreg
import dataclasses
import enum
import types
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from engine.errors import UnserialisableError
from engine.worker.classes import class_ref, resolve
from engine.worker.codec_walk import Rule

# -- an object's own attributes ----------------------------------------------------------------


def slot_names(cls: type) -> list[str]:
    """Names of all slots of a class, mangled as they are on the object."""
    return list(copyreg._slotnames(cls))  # type: ignore[attr-defined]


def state_of(value: Any) -> dict[str, Any]:
    """The attributes that an object carries itself, in `__dict__` and in slots."""
    state = dict(getattr(value, "__dict__", ()))
    for name in slot_names(type(value)):
        try:
            state[name] = object.__getattribute__(value, name)
        except AttributeError:
            continue
    return state


def set_state(value: Any, state: dict[str, Any]) -> None:
    """Put attributes back past frozen classes and properties."""
    slots = slot_names(type(value))
    own = getattr(value, "__dict__", None)
    for name, item in state.items():
        if name in slots:
            object.__setattr__(value, name, item)
        elif own is not None:
            own[name] = item


def _same_protocol(cls: type, base: type, getstate: tuple[Any, ...] = ()) -> bool:
    """True if `cls` is pickled just as `base` is."""
    mine = getattr(cls, "__getstate__", None)
    return (
        getattr(cls, "__reduce_ex__", None) is getattr(base, "__reduce_ex__", None)
        and getattr(cls, "__reduce__", None) is getattr(base, "__reduce__", None)
        and (mine is getattr(base, "__getstate__", None) or mine in getstate)
    )


def _expect(ok: bool, ref: str, kind: str) -> None:
    if not ok:
        raise LookupError(f"{ref!r} is no longer {kind}; change it back, or run the task again")


# -- enums ------------------------------------------------------------------------------------


def _dump_enum(v: enum.Enum) -> list[Any]:
    return [class_ref(type(v)), v.name, v.value]


def _load_enum(parts: list[Any]) -> enum.Enum:
    ref, name, value = parts
    cls = resolve(ref)
    _expect(issubclass(cls, enum.Enum), ref, "an enum")
    members: Any = cls.__members__  # type: ignore[attr-defined]
    member: enum.Enum = members[name] if name in members else cls(value)
    return member


# -- dataclasses --------------------------------------------------------------------------------

#: Given to slotted and frozen dataclasses by `dataclasses` itself.
_DATACLASS_GETSTATE: Final = tuple(
    f for f in (getattr(dataclasses, "_dataclass_getstate", None),) if f is not None
)


def _dump_dataclass(v: Any) -> list[Any]:
    return [class_ref(type(v)), state_of(v)]


def _load_dataclass(parts: list[Any]) -> Any:
    ref, state = parts
    cls = resolve(ref)
    _expect(dataclasses.is_dataclass(cls) and _plain_dataclass(cls), ref, "a plain dataclass")
    value: Any = object.__new__(cls)
    set_state(value, state)
    for field in dataclasses.fields(cls):
        if field.name not in state:
            _set_default(value, field)
    return value


def _set_default(value: Any, field: dataclasses.Field[Any]) -> None:
    """A field that the class has got since the value was stored."""
    if field.default is not dataclasses.MISSING:
        object.__setattr__(value, field.name, field.default)
    elif field.default_factory is not dataclasses.MISSING:
        object.__setattr__(value, field.name, field.default_factory())


def _plain_dataclass(cls: type) -> bool:
    return _same_protocol(cls, object, _DATACLASS_GETSTATE)


# -- subclasses of builtin types ------------------------------------------------------------------


class Base(NamedTuple):
    """A builtin type whose subclasses are stored by class, content and attributes."""

    kind: type
    dump: Callable[[Any], Any]
    make: Callable[[type, Any], Any]


def _make(base: type) -> Callable[[type, Any], Any]:
    new: Any = base.__new__
    return lambda cls, content: new(cls, content)


def _filled(base: type, fill: Callable[[Any, Any], Any]) -> Callable[[type, Any], Any]:
    new: Any = base.__new__

    def make(cls: type, content: Any) -> Any:
        value = new(cls)
        fill(value, content)
        return value

    return make


def _dump_pairs(v: Any) -> list[Any]:
    return [x for pair in dict.items(v) for x in pair]


def _fill_pairs(value: Any, flat: list[Any]) -> None:
    # Not dict.update: an OrderedDict keeps its order outside the dict.
    setitem: Any = next(
        b.__setitem__ for b in type(value).__mro__ if b in (collections.OrderedDict, dict)
    )
    for key, item in zip(flat[::2], flat[1::2], strict=True):
        setitem(value, key, item)


def _dump_deque(v: collections.deque[Any]) -> list[Any]:
    return [v.maxlen, list(collections.deque.__iter__(v))]


def _fill_deque(value: Any, parts: list[Any]) -> None:
    maxlen, items = parts
    collections.deque.__init__(value, items, maxlen)


BASES: Final[dict[str, Base]] = {
    "OrderedDict": Base(
        collections.OrderedDict,
        lambda v: [x for pair in collections.OrderedDict.items(v) for x in pair],
        _filled(collections.OrderedDict, _fill_pairs),
    ),
    "Counter": Base(
        collections.Counter, _dump_pairs, _filled(collections.Counter, _fill_pairs)
    ),
    "dict": Base(dict, _dump_pairs, _filled(dict, _fill_pairs)),
    "list": Base(list, lambda v: list(list.__iter__(v)), _filled(list, list.extend)),
    "tuple": Base(tuple, lambda v: list(tuple.__iter__(v)), _make(tuple)),
    "set": Base(set, lambda v: list(set.__iter__(v)), _filled(set, set.update)),
    "frozenset": Base(frozenset, lambda v: list(frozenset.__iter__(v)), _make(frozenset)),
    "deque": Base(
        collections.deque, _dump_deque, _filled(collections.deque, _fill_deque)
    ),
    "int": Base(int, int.__int__, _make(int)),
    "float": Base(float, float.__float__, _make(float)),
    "complex": Base(complex, lambda v: complex(v.real, v.imag), _make(complex)),
    "str": Base(str, lambda v: str.__str__(v)[:], _make(str)),
    "bytes": Base(bytes, lambda v: bytes.__add__(v, b""), _make(bytes)),
    "bytearray": Base(
        bytearray, lambda v: bytes(memoryview(v)), _filled(bytearray, bytearray.extend)
    ),
}


def _base_name(cls: type) -> str | None:
    """The builtin type that `cls` is stored as a kind of; None where that would lose something."""
    for name, base in BASES.items():
        if issubclass(cls, base.kind):
            between = cls.__mro__[: cls.__mro__.index(base.kind)]
            # A class written in C keeps data that content and attributes do not show.
            known = all(isinstance(c.__dict__.get("__module__"), str) for c in between)
            return name if known and _same_protocol(cls, base.kind) else None
    return None


def _dump_subclass(v: Any) -> Any:
    cls = type(v)
    name = _base_name(cls)
    if name is None:
        return NotImplemented
    return [class_ref(cls), name, BASES[name].dump(v), state_of(v)]


def _load_subclass(parts: list[Any]) -> Any:
    ref, name, content, state = parts
    cls = resolve(ref)
    _expect(_base_name(cls) == name, ref, f"a plain subclass of {name}")
    value = BASES[name].make(cls, content)
    set_state(value, state)
    return value


# -- exceptions -----------------------------------------------------------------------------------

_OF_THE_RAISE: Final = frozenset({
    "args", "obj", "__cause__", "__context__", "__traceback__", "__suppress_context__", "__dict__",
})
#: Links of a chain of causes that are kept.
MAX_CHAIN: Final = 20
_FIELDS = (types.MemberDescriptorType, types.GetSetDescriptorType)


def _native_base(cls: type) -> type[BaseException]:
    """The nearest of Python's own exception classes."""
    base: type[BaseException] = next(
        c for c in cls.__mro__ if getattr(builtins, c.__name__, None) is c
    )
    return base


def _native_fields(base: type) -> list[str]:
    """What a builtin exception class keeps outside `args`: `errno`, `filename`, `name`…"""
    names = (n for c in base.__mro__ for n, d in vars(c).items() if isinstance(d, _FIELDS))
    return [n for n in names if n not in _OF_THE_RAISE]


def _dump_exception(v: BaseException) -> list[Any]:
    return [*_exception_parts(v), [[how, _link(exc)] for how, exc in _chain(v)]]


def _exception_parts(v: BaseException) -> list[Any]:
    fields = {n: getattr(v, n, None) for n in _native_fields(_native_base(type(v)))}
    kept = {n: x for n, x in fields.items() if x is not None}
    if isinstance(v, BaseExceptionGroup):
        return [class_ref(type(v)), list(v.args), state_of(v), {}, [v.message, list(v.exceptions)]]
    return [class_ref(type(v)), list(v.args), state_of(v), kept, []]


def _chain(v: BaseException) -> list[tuple[str, BaseException]]:
    """What led to it, as a traceback would show it; flat, because a chain may be long."""
    links: list[tuple[str, BaseException]] = []
    at = v
    while len(links) < MAX_CHAIN:
        how = "__cause__" if at.__cause__ is not None else "__context__"
        following = getattr(at, how)
        if following is None or (how == "__context__" and at.__suppress_context__):
            break
        links.append((how, following))
        at = following
    return links


def _link(exc: BaseException) -> Any:
    """A cause; without its parts if these cannot be stored, for the error itself must be."""
    from engine.worker.codec import encode
    from engine.worker.codec_values import Encoded

    try:
        return Encoded(encode(_exception_parts(exc)))
    except UnserialisableError:
        return [class_ref(type(exc)), [f"{type(exc).__name__} (not storable)"], {}, {}, []]


def _load_exception(parts: list[Any]) -> BaseException:
    *own, chain = parts
    value = at = _rebuild_exception(own)
    for how, link in chain:
        following = _rebuild_exception(link)
        if how == "__cause__":
            at.__cause__ = following
        else:
            at.__context__ = following
        at = following
    return value


def _rebuild_exception(parts: list[Any]) -> BaseException:
    ref, args, state, fields, group = parts
    cls = resolve(ref)
    _expect(issubclass(cls, BaseException), ref, "an exception class")
    base = _native_base(cls)
    new: Any = base.__new__
    value: BaseException = new(cls, *(group or args))
    if not group:
        _init_native(base, value, args)
    value.args = tuple(args)
    for name, item in fields.items():
        try:
            setattr(value, name, item)
        except (AttributeError, TypeError):
            continue
    set_state(value, state)
    return value


def _init_native(base: type[BaseException], value: BaseException, args: list[Any]) -> None:
    init: Any = base.__init__
    try:
        init(value, *args)
    except TypeError:
        # Its `args` are not what it was made from (a UnicodeError with a message alone).
        return


ENUM: Final = Rule(50, _dump_enum, _load_enum, of_user=True)
DATACLASS: Final = Rule(51, _dump_dataclass, _load_dataclass, of_user=True)
SUBCLASS: Final = Rule(52, _dump_subclass, _load_subclass, of_user=True)
EXCEPTION: Final = Rule(53, _dump_exception, _load_exception, of_user=True)


def class_rule(t: type) -> Rule | None:
    """The rule for values of a class that is not among the exact ones; None: pickle them."""
    if issubclass(t, enum.Enum):
        return ENUM
    if issubclass(t, BaseException):
        return EXCEPTION if _same_protocol_as_native(t) else None
    if any(issubclass(t, base.kind) for base in BASES.values()):
        return SUBCLASS if _base_name(t) is not None else None
    if dataclasses.is_dataclass(t) and _plain_dataclass(t):
        return DATACLASS
    return None


def _same_protocol_as_native(t: type[BaseException]) -> bool:
    return _same_protocol(t, _native_base(t))
