"""The codec: values come back equal and of the same type, or are refused with a path."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import math
import pathlib
import pickle
import struct
import threading
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.handles import Missing
from engine.errors import CodecError, StorageError, UnserialisableError
from engine.worker import classes, codec_pickle, signing
from engine.worker.codec import (
    ABSENT,
    BlobRef,
    Encoded,
    Opaque,
    check_pickles,
    decode,
    encode,
    from_stored,
    pack_column,
    to_stored,
    unpack_column,
)
from engine.worker.secrets import Secret


@pytest.fixture(autouse=True)
def key_file(tmp_path_factory, monkeypatch):
    path = tmp_path_factory.mktemp("keys") / "key"
    monkeypatch.setenv("FLOWFORGE_KEY_FILE", str(path))
    return path


made: list[object] = []


# -- classes as a flow file might have them --------------------------------------------


class Colour(enum.Enum):
    RED = 1
    GREEN = ("a", 2)


class Level(enum.IntEnum):
    LOW = 1


class Bits(enum.Flag):
    A = 1
    B = 2
    C = 4


@dataclasses.dataclass
class Row:
    x: int
    y: object = None
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: object = None

    def __post_init__(self):
        made.append(self)


@dataclasses.dataclass(eq=False)
class ById:
    x: int


class Plain:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return type(other) is Plain and other.x == self.x

    __hash__ = None


class Name(str):
    __slots__ = ("origin",)


class Count(int):
    pass


class Stack(list):
    pass


class Index(dict):
    pass


class Ordered(collections.OrderedDict):
    pass


class Ring(collections.deque):
    pass


Pair = collections.namedtuple("Pair", "left right")


class Refused(ValueError):
    def __init__(self, code, *, hint):
        super().__init__(f"refused with {code}")
        self.code = code
        self.hint = hint


class Sulky:
    """Pickles, but its pickle does not open."""

    def __reduce__(self):
        return _fail, ()


class Held:
    """Goes into a pickle, since nobody but itself says what it consists of."""

    def __init__(self, x):
        self.x = x

    def __reduce__(self):
        return Held, (self.x,), {"x": self.x}


def _fail():
    raise RuntimeError("not today")


def same(a, b):
    """Equal and of the same type all the way down; NaN equals NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, Row | Plain):
        return same(vars(a), vars(b))
    if isinstance(a, list | tuple | collections.deque):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    if isinstance(a, dt.datetime | dt.time):
        return a == b and a.fold == b.fold and a.tzinfo == b.tzinfo
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(
            a, b, equal_nan=a.dtype.kind in "fc"
        )
    if isinstance(a, BaseException):
        return same(a.args, b.args) and same(vars(a), vars(b)) and str(a) == str(b)
    return bool(a == b)


# -- round trips -----------------------------------------------------------------------

ZONES = st.sampled_from([
    None, dt.UTC, dt.timezone(dt.timedelta(hours=-3, minutes=30)),
    dt.timezone(dt.timedelta(hours=1), "X"), zoneinfo.ZoneInfo("Europe/Berlin"),
])
TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
HASHABLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT,
    st.binary(max_size=8), st.complex_numbers(allow_nan=False), st.decimals(allow_nan=False),
    st.fractions(), st.dates(),
    st.datetimes(timezones=ZONES), st.timedeltas(), st.uuids(), st.sampled_from(Colour),
    st.sampled_from([Level.LOW, Bits.A, Bits.A | Bits.C, Bits(0)]),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
    st.builds(Point, st.integers(0, 600), TEXT), st.builds(Name, TEXT),
    st.sampled_from([pathlib.Path("a/b"), pathlib.PurePosixPath("/x"),
                     pathlib.PureWindowsPath("c:\\x")]),
)
VALUES = st.recursive(
    st.one_of(HASHABLE, st.builds(bytearray, st.binary(max_size=8)), st.times(timezones=ZONES),
              st.just(math.nan)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(HASHABLE, inner, max_size=4), st.builds(Row, st.integers(), inner),
        st.builds(Pair, inner, inner), st.lists(inner, max_size=3).map(Stack),
        st.lists(inner, max_size=3).map(lambda v: collections.deque(v, maxlen=5)),
        st.dictionaries(HASHABLE, inner, max_size=3).map(Ordered),
        st.frozensets(HASHABLE, max_size=3), st.sets(HASHABLE, max_size=3), st.builds(Plain, inner),
    ),
    max_leaves=8,
)


@pytest.mark.fault(30)
@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_values_come_back_equal_and_of_the_same_type(value):
    assert same(decode(encode(value)), value)


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, max_size=6))
def test_a_column_comes_back_as_it_was(values):
    column = [to_stored(v) for v in values]
    again = unpack_column(pack_column(column))
    assert [type(s) for s in again] == [type(s) for s in column]
    assert all(same(from_stored(a), from_stored(b)) for a, b in zip(again, column, strict=True))


EXAMPLES = [
    2**63, -(2**63) - 1, 2**64, 1 << 20_000, -0.0, math.inf, "\ud800x", "", b"", (), {}, [], set(),
    frozenset(), {(1, 2): {3}}, {1: "a", "1": "b", None: 0, 2.5: 1}, {frozenset({1}): (1,)},
    bytearray(b"x"), [bytearray(b"x"), b"x"], range(0), range(2**70, 2**71, 3), slice(1, None, "x"),
    Decimal("1.500"), Decimal("-0"), Decimal("Infinity"), Decimal("1E+999999"), Fraction(-1, 3),
    dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    dt.time(1, 2, 3, 4, fold=1), dt.timedelta(days=-1, microseconds=7), dt.date.max,
    uuid.UUID(int=7), collections.Counter("abca"), collections.Counter(a=-1),
    collections.OrderedDict([("b", 1), ("a", 2)]), collections.deque([1, (2,)], maxlen=3),
    collections.defaultdict(list, {"a": [1]}), collections.defaultdict(None, {(): 1}),
    collections.defaultdict(Row), Colour.GREEN, Level.LOW, Bits.A | Bits.B,
    Count(5), Name("n"), Stack([1, (2,)]), Index(a=(1,)), Ordered(b=1, a=2), Ring([1], 2),
    Row(1, Row(2, (3,)), ["a"]), Point(6, Point(1)), Pair((1,), None), Plain([1, (2,)]),
    Ellipsis, NotImplemented, int, Row, Colour, len, math.pi, Missing("FAILED", "error", "E: x"),
    Secret.env("TOKEN"), ValueError("x", 1), KeyError("k"), Refused(7, hint="later"),
    UnserialisableError("a.b", "why"), StopIteration(3),
]


@pytest.mark.fault(30)
@pytest.mark.parametrize("value", EXAMPLES, ids=lambda v: type(v).__name__)
def test_examples_come_back_equal_and_of_the_same_type(value):
    assert same(decode(encode(value)), value)
    assert same(decode(encode([value, {"k": value}])), [value, {"k": value}])
    stored = to_stored(value)
    assert same(from_stored(unpack_column(pack_column([stored]))[0]), value)


@pytest.mark.parametrize("exc", [
    FileNotFoundError(2, "no such file", "/x", None, "/y"),
    UnicodeDecodeError("u8", b"x", 0, 1, "y"),
    ImportError("no", name="m", path="/p"), SystemExit(3),
    SyntaxError("bad", ("f.py", 1, 2, "text", 1, 3)),
], ids=lambda e: type(e).__name__)
def test_builtin_exceptions_keep_their_fields(exc):
    again = decode(encode(exc))
    assert same(again, exc)
    for name in ("errno", "filename", "filename2", "reason", "object", "name", "path", "code",
                 "lineno", "text"):
        assert getattr(again, name, None) == getattr(exc, name, None)


def test_an_exception_group_keeps_its_members():
    again = decode(encode(ExceptionGroup("two", [ValueError(1), Refused(2, hint="h")])))
    assert again.message == "two"
    assert [type(e) for e in again.exceptions] == [ValueError, Refused]
    assert again.exceptions[1].hint == "h"


def test_a_long_chain_of_causes_comes_back_as_far_as_it_is_kept():
    error = None
    for i in range(300):
        following = ValueError(i)
        following.__cause__ = error
        error = following
    again = decode(encode(error))
    numbers = []
    while again is not None:
        numbers.append(again.args[0])
        again = again.__cause__
    assert numbers == list(range(299, 278, -1))


def test_a_cause_that_cannot_be_stored_does_not_hide_the_error():
    error = ValueError("shown")
    error.__cause__ = TypeError(threading.Lock())
    again = decode(encode(error))
    assert again.args == ("shown",)
    assert type(again.__cause__) is TypeError


def test_attributes_of_subclasses_and_slots_are_kept():
    name = Name("n")
    name.origin = (1, 2)
    stack = Stack([1])
    stack.label = {"a"}
    assert decode(encode(name)).origin == (1, 2)
    assert decode(encode(stack)).label == {"a"}


def test_keys_that_only_look_equal_stay_apart():
    again = decode(encode({ById(1): "a", ById(1): "b"}))
    assert sorted(again.values()) == ["a", "b"]


def test_a_memoryview_keeps_format_shape_and_writability():
    flat = decode(encode(memoryview(bytearray(b"abc"))))
    assert flat == b"abc" and not flat.readonly
    grid = memoryview(bytes(range(24))).cast("i", [2, 3])
    again = decode(encode(grid))
    assert (again.format, again.shape, again.readonly, again) == ("i", (2, 3), True, grid)


@pytest.mark.fault(30)
@pytest.mark.parametrize("array", [
    np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array(3.5),
    np.zeros((0, 4)), np.array(["a", "béc"]), np.array([b"x"]), np.array([1 + 2j]),
    np.array(["2026-01-01"], dtype="M8[D]"), np.array([True]), np.arange(10)[::-2],
    np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]), np.array([{1}, None], dtype=object),
    np.array([np.nan]), np.arange(3, dtype=">i4"), np.array([1.5], dtype=np.longdouble),
], ids=lambda a: f"{a.dtype}-{a.shape}")
def test_arrays_come_back_the_same_and_writable(array):
    again = decode(encode(array))
    assert same(again, array)
    assert again.flags.writeable
    assert again.flags.f_contiguous or not array.flags.f_contiguous


@pytest.mark.parametrize("scalar", [
    np.float64(1.5), np.int8(-3), np.bool_(True), np.str_("x\0"), np.bytes_(b""),
    np.datetime64("2026"),
    np.complex64(1j), np.uint64(2**64 - 1),
], ids=repr)
def test_numpy_scalars_keep_their_type(scalar):
    assert same(decode(encode(scalar)), scalar)


@pytest.mark.fault(31)
def test_what_is_stored_does_not_change_with_the_value():
    value = {"rows": [Row(1, [1]), Plain([1])]}
    stored = to_stored(value)
    value["rows"][0].y.append(2)
    value["rows"][1].x.append(2)
    value["rows"].clear()
    again = from_stored(stored)
    assert again["rows"][0].y == [1] and again["rows"][1].x == [1]


def test_a_value_that_holds_itself_comes_back_holding_itself():
    value = [1]
    value.append(value)
    again = decode(encode(value))
    assert again[1] is again


def test_a_tangle_does_not_unfold():
    value = [1]
    for _ in range(40):
        value = [value, value]
    data = encode(value)
    assert len(data) < 10_000
    again = decode(data)
    assert again[0] is again[1]


def test_deep_values_come_back_or_are_refused_but_do_not_crash():
    for depth in (50, 150):
        value: object = 1
        for _ in range(depth):
            value = (value, [depth])
        assert decode(encode(value)) == value
    value = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(UnserialisableError, match="nested too deeply"):
        encode(value)


def test_no_init_runs_when_a_dataclass_is_rebuilt():
    data = encode(Point(1))
    made.clear()
    assert decode(data).x == 1
    assert made == []


# -- refusals --------------------------------------------------------------------------


@pytest.mark.fault(30)
def test_the_path_to_the_culprit_is_named():
    client = Plain(1)
    client._lock = threading.Lock()
    holder = Plain(1)
    holder.client = client
    with pytest.raises(UnserialisableError, match=r"^result\.client\._lock cannot"):
        encode(holder)
    with pytest.raises(UnserialisableError, match=r"^cfg\['k'\]\[1\]\.y\.client\._lock cannot"):
        encode({"k": [1, Row(1, holder)]}, root="cfg")


@pytest.mark.parametrize("value", [
    (x for x in ()), lambda: 1, threading.Lock(), [pathlib],
], ids=["generator", "lambda", "lock", "module"])
def test_what_cannot_be_stored_is_refused(value):
    with pytest.raises(UnserialisableError, match="cannot be serialised"):
        encode(value)


def test_a_pickle_that_does_not_open_again_fails_where_it_is_made():
    with pytest.raises(UnserialisableError, match=r"result\[0\].*opened again.*not today"):
        encode([Sulky()])


def test_paths_inside_a_pickle_are_not_written_as_one_python_alone_has_them():
    value = Held(pathlib.Path("a/b"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(value.x), "__module__", "pathlib._local")  # as on 3.13
        data = encode(value)
    assert b"pathlib" in data and b"_local" not in data
    assert decode(data).x == pathlib.Path("a/b")


def test_a_pickle_that_does_not_open_is_found_among_other_values():
    check_pickles(encode([Held(1), Row(1, (2,))]))
    check_pickles(encode({"plain": [1, "a"]}))
    data = encode({"rows": [Row(1, (2,))], "held": (Held(1),)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Held, "__setstate__", lambda *_: _fail(), raising=False)
        with pytest.raises(CodecError, match="not today"):
            check_pickles(data)


# -- embedding, marks ------------------------------------------------------------------


def test_encoded_values_are_embedded_and_come_out_real():
    inner = Encoded(encode(Row(1, (2,))))
    assert encode(inner) == inner
    assert decode(encode((1, {"a": inner}))) == (1, {"a": Row(1, (2,))})
    holder = Plain(inner)
    assert decode(encode(holder)).x == Row(1, (2,))


def test_a_column_of_marks():
    column = [1, "a", b"b", None, 2**80, ABSENT, BlobRef("ab", 7), Encoded(encode((1,))), "\ud800"]
    again = unpack_column(pack_column(column))
    assert again == column
    assert again[5] is ABSENT and type(again[6]) is BlobRef and type(again[7]) is Encoded
    assert pickle.loads(pickle.dumps(ABSENT)) is ABSENT


def test_a_column_refuses_what_is_not_a_stored_value():
    with pytest.raises(TypeError, match="to_stored"):
        pack_column([(1, 2)])


def test_short_plain_values_are_kept_as_they_are_and_long_ones_encoded():
    plain = [1, 2.5, "a", b"a", None, True]
    assert [to_stored(v) for v in plain] == plain
    assert type(to_stored("x" * 2000)) is Encoded
    assert type(to_stored(Level.LOW)) is Encoded
    assert type(to_stored(np.float64(1))) is Encoded


# -- damage and attack -----------------------------------------------------------------


@pytest.mark.fault(53)
@pytest.mark.parametrize("bomb", [
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 100_000,
    (b"\xdd" + (1_000_000).to_bytes(4, "big")) * 200_000, b"", b"\xc1", b"\x01\x02",
    b"\xc7\x00\x63", b"\xc7\x01\x0a\x01", b"\xd9\x02\xff\xff", b"\x81\x90\x01",
], ids=["array", "map", "bytes", "nesting", "nested claims", "empty", "unused", "trailing", "kind",
        "tuple of 1", "utf-8", "key"])
def test_bombs_and_damage_are_one_clean_error(bomb):
    for trusted in (True, False):
        with pytest.raises(CodecError):
            decode(bomb, trusted=trusted)
    with pytest.raises(CodecError):
        unpack_column(bomb)


@pytest.mark.fault(53)
def test_nested_extensions_without_end_are_refused():
    import msgpack

    data = b"\x01"
    for _ in range(5000):
        data = msgpack.packb(msgpack.ExtType(10, b"\x91" + data))
        if len(data) > 1 << 20:
            break
    with pytest.raises(CodecError):
        decode(data)


@pytest.mark.fault(53)
def test_flipped_bits_never_raise_anything_but_codec_errors():
    whole = encode([Row(1, (2,)), dt.datetime(2026, 1, 2, tzinfo=dt.UTC), {1: {2}}, np.arange(3),
                    Colour.RED, OSError(2, "x"), Name("n"), Decimal("1.5")])
    for at in range(len(whole) * 8):
        body = bytearray(whole)
        body[at // 8] ^= 1 << at % 8
        for trusted in (True, False):
            try:
                decode(bytes(body), trusted=trusted)
            except CodecError:
                continue


@pytest.mark.fault(51)
def test_nothing_is_unpickled_without_trust():
    shown = decode(encode([Plain(1), Row(1, (2,)), Colour.RED, 3]), trusted=False)
    assert shown[3] == 3
    assert all(type(v) is Opaque for v in shown[:3])
    assert "Row" in repr(shown[1]) and "'x': 1" in repr(shown[1])


@pytest.mark.fault(51)
def test_a_pickle_signed_with_another_key_is_not_opened(key_file, monkeypatch):
    data = encode(Plain(1))
    monkeypatch.setenv("FLOWFORGE_KEY_FILE", str(key_file) + ".other")
    with pytest.raises(CodecError, match="signing key"):
        decode(data)
    monkeypatch.setenv("FLOWFORGE_KEY_FILE", str(key_file))
    assert decode(data) == Plain(1)


@pytest.mark.fault(51)
def test_a_changed_pickle_is_not_opened(monkeypatch):
    monkeypatch.setattr(codec_pickle._Unpickler, "load", lambda self: pytest.fail("unpickled"))
    forged = bytes(signing.SIZE) + pickle.dumps(Plain(1))
    with pytest.raises(CodecError, match="not written with your signing key"):
        codec_pickle.loads(forged)


@pytest.mark.fault(51)
@pytest.mark.parametrize(
    "ref", ["os:system", "collections:OrderedDict", "builtins:object", "..:x", "a:b"]
)
def test_a_record_cannot_make_objects_of_unfitting_classes(ref):
    real = encode(Row(1, 2))
    name = classes.class_ref(Row).encode()
    assert name in real
    import msgpack

    parts = msgpack.packb([ref, {"x": 1}])
    with pytest.raises(CodecError):
        decode(msgpack.packb(msgpack.ExtType(51, parts)))


# -- classes after a restart -----------------------------------------------------------


def test_a_class_made_in_a_function_is_found_again_once_registered():
    def flow():
        @dataclasses.dataclass
        class Local:
            x: int

        class Kind(enum.Enum):
            A = 1

        classes.register(Local)
        classes.register(Kind)
        return Local, Kind

    old, old_kind = flow()
    data = encode([old(1), old_kind.A])
    new, new_kind = flow()
    again = decode(data)
    assert type(again[0]) is new and again[1] is new_kind.A
    assert old not in classes.flow_classes() and new in classes.flow_classes()


def test_fields_added_to_a_class_get_their_defaults(monkeypatch):
    data = encode(Row(1, 2))

    @dataclasses.dataclass
    class Newer:
        x: int
        y: object
        tags: list = dataclasses.field(default_factory=list)
        more: int = 5
        made: dict = dataclasses.field(default_factory=dict)

    monkeypatch.setattr(f"{__name__}.Row", Newer)
    again = decode(data)
    assert (again.x, again.more, again.made) == (1, 5, {})


def test_a_class_that_is_gone_is_named(monkeypatch):
    data = encode([Row(1)])
    monkeypatch.delattr(f"{__name__}.Row")
    with pytest.raises(CodecError, match="Row"):
        decode(data)


# -- the key ---------------------------------------------------------------------------


def test_the_key_is_made_once_for_its_owner_alone(key_file):
    encode(Plain(1))
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in key_file.parent.iterdir()] == ["key"]


@pytest.mark.fault(52)
def test_a_key_open_to_others_is_refused(key_file):
    key_file.write_bytes(bytes(32))
    key_file.chmod(0o644)
    with pytest.raises(StorageError, match="chmod 600"):
        encode(Plain(1))


def test_a_damaged_key_is_refused(key_file):
    key_file.write_bytes(b"short")
    key_file.chmod(0o600)
    with pytest.raises(StorageError, match="damaged"):
        encode(Plain(1))


def test_threads_that_make_the_key_at_once_agree(key_file):
    seen = []
    start = threading.Barrier(8)

    def make():
        start.wait()
        signing._keys.pop(key_file, None)
        seen.append(signing.sign(b"x"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(seen)) == 1
