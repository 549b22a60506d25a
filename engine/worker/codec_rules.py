"""How each kind of standard-library value is stored: both directions, side by side.

Rule 1: parts are plain values or values with a rule of their own.
Rule 2: modules that are dear to import are named here, not imported: a value of theirs
        exists only once somebody else has imported them.
Rule 3: a subclass is never taken for its base; see `codec_classes.py`.
"""

from __future__ import annotations

import collections
import datetime as dt
import pathlib
import struct
from typing import Any, Final

from engine.core.handles import Missing
from engine.worker.codec_values import TUPLE
from engine.worker.codec_walk import Rule, loaded_type

PLAIN_FACTORIES: Final[dict[str, Any]] = {
    f.__name__: f
    for f in (list, dict, set, int, float, str, tuple, bytes, bool, frozenset, complex)
}


def _pairs(mapping: Any) -> list[Any]:
    """Keys and values in turn. Unlike a msgpack map it keeps keys that only look equal apart."""
    return [x for pair in mapping.items() for x in pair]


def _unpair(flat: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(flat[::2], flat[1::2], strict=True))


# -- numbers and ranges ---------------------------------------------------------------------


def _load_range(parts: list[int]) -> range:
    return range(*parts)


def _load_slice(parts: list[Any]) -> slice:
    return slice(*parts)


def _load_decimal(text: str) -> Any:
    from decimal import Decimal

    return Decimal(text)


def _load_fraction(parts: list[int]) -> Any:
    from fractions import Fraction

    return Fraction(*parts)


def _load_uuid(data: bytes) -> Any:
    from uuid import UUID

    return UUID(bytes=data)


# -- bytes ------------------------------------------------------------------------------------


def _dump_view(view: memoryview) -> Any:
    return [view.format, list(view.shape or ()), view.readonly, view.tobytes()]


def _load_view(parts: list[Any]) -> memoryview:
    form, shape, readonly, data = parts
    raw = memoryview(data if readonly else bytearray(data))
    if shape == [len(data)] and form == "B":
        return raw
    return raw.cast(form, shape) if shape and data else raw.cast(form)


# -- time ---------------------------------------------------------------------------------------


def _dump_datetime(v: dt.datetime) -> list[Any]:
    return [v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.fold, v.tzinfo]


def _load_datetime(parts: list[Any]) -> dt.datetime:
    year, month, day, hour, minute, second, micro, fold, zone = parts
    return dt.datetime(year, month, day, hour, minute, second, micro, zone, fold=fold)


def _dump_time(v: dt.time) -> list[Any]:
    return [v.hour, v.minute, v.second, v.microsecond, v.fold, v.tzinfo]


def _load_time(parts: list[Any]) -> dt.time:
    hour, minute, second, micro, fold, zone = parts
    return dt.time(hour, minute, second, micro, zone, fold=fold)


def _dump_timezone(v: dt.timezone) -> list[Any]:
    offset, *name = v.__getinitargs__()  # type: ignore[attr-defined]
    return [offset, *name]


def _load_zone(key: str) -> Any:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(key)
    except ZoneInfoNotFoundError as exc:
        raise LookupError(
            f"the time zone {key!r} is not known on this machine; install tzdata"
        ) from exc


def _dump_zone(v: Any) -> Any:
    return v.key or NotImplemented


# -- containers -----------------------------------------------------------------------------------


def _dump_deque(v: collections.deque[Any]) -> list[Any]:
    return [v.maxlen, *v]


def _load_deque(parts: list[Any]) -> collections.deque[Any]:
    maxlen, *items = parts
    return collections.deque(items, maxlen)


def _dump_defaultdict(v: collections.defaultdict[Any, Any]) -> list[Any]:
    # A factory is called later, so it must come from a list of harmless ones, or be signed.
    factory = v.default_factory
    name = getattr(factory, "__name__", None)
    known = isinstance(name, str) and PLAIN_FACTORIES.get(name) is factory
    return [name if known else factory, *_pairs(v)]


def _load_defaultdict(parts: list[Any]) -> collections.defaultdict[Any, Any]:
    factory, *flat = parts
    if isinstance(factory, str):
        factory = PLAIN_FACTORIES[factory]
    return collections.defaultdict(factory, _unpair(flat))


def _load_counter(flat: list[Any]) -> collections.Counter[Any]:
    counter: collections.Counter[Any] = collections.Counter()
    dict.update(counter, _unpair(flat))
    return counter


def _dump_missing(v: Missing) -> list[Any]:
    return [v.state, v.reason, v.error]


def _load_secret(name: str) -> Any:
    from engine.worker.secrets import Secret

    return Secret.env(name)


EXACT: Final[dict[type, Rule]] = {
    tuple: Rule(TUPLE, list, tuple),
    set: Rule(11, list, set),
    frozenset: Rule(12, list, frozenset),
    dict: Rule(13, _pairs, lambda flat: dict(_unpair(flat))),
    complex: Rule(14, lambda v: struct.pack("<dd", v.real, v.imag),
                  lambda data: complex(*struct.unpack("<dd", data))),
    bytearray: Rule(15, bytes, bytearray),
    memoryview: Rule(16, _dump_view, _load_view),
    range: Rule(17, lambda v: [v.start, v.stop, v.step], _load_range),
    slice: Rule(18, lambda v: [v.start, v.stop, v.step], _load_slice),
    dt.datetime: Rule(19, _dump_datetime, _load_datetime),
    dt.date: Rule(20, dt.date.toordinal, dt.date.fromordinal),
    dt.time: Rule(21, _dump_time, _load_time),
    dt.timedelta: Rule(22, lambda v: [v.days, v.seconds, v.microseconds],
                       lambda parts: dt.timedelta(*parts)),
    dt.timezone: Rule(23, _dump_timezone, lambda parts: dt.timezone(*parts)),
    collections.deque: Rule(24, _dump_deque, _load_deque),
    collections.OrderedDict: Rule(25, _pairs, lambda flat: collections.OrderedDict(_unpair(flat))),
    collections.defaultdict: Rule(26, _dump_defaultdict, _load_defaultdict),
    collections.Counter: Rule(27, _pairs, _load_counter),
    pathlib.PurePosixPath: Rule(28, str, pathlib.PurePosixPath),
    pathlib.PureWindowsPath: Rule(29, str, pathlib.PureWindowsPath),
    pathlib.PosixPath: Rule(30, str, pathlib.PosixPath),
    pathlib.WindowsPath: Rule(31, str, pathlib.WindowsPath),
    Missing: Rule(32, _dump_missing, lambda parts: Missing(*parts)),
}

#: The same for modules that may not be loaded: (module, name) → rule.
BY_NAME: Final[dict[tuple[str, str], Rule]] = {
    ("decimal", "Decimal"): Rule(40, str, _load_decimal),
    ("fractions", "Fraction"): Rule(41, lambda v: [v.numerator, v.denominator], _load_fraction),
    ("uuid", "UUID"): Rule(42, lambda v: v.bytes, _load_uuid),
    ("zoneinfo", "ZoneInfo"): Rule(43, _dump_zone, _load_zone),
    ("engine.worker.secrets", "Secret"): Rule(44, lambda v: v.name, _load_secret),
}


def exact_rule(t: type) -> Rule | None:
    """The rule for values of exactly this type."""
    rule = EXACT.get(t)
    if rule is not None:
        return rule
    named = ((loaded_type(module, name), r) for (module, name), r in BY_NAME.items())
    return next((r for known, r in named if known is t), None)
