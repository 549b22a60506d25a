"""Canonical bytes: equal data alike in every process, different data apart."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import pathlib
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Optional, Union

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.state.canonical import Canonical, digest, value_digest


class Plain:
    def __init__(self, x: object) -> None:
        self.x = x


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: object
    y: object = 0


Pair = collections.namedtuple("Pair", "a b")

#: No two of these are the same value.
DIFFERENT = [
    None, True, False, 0, 1, 1.0, -0.0, "1", b"1", 2**70, 2**70 + 1, 1j, float("inf"),
    (1, 2), [1, 2], {1, 2}, frozenset({1, 2, 3}), {"a": 1}, {"a": 2}, {1: "a"}, {"b": 1, "a": 1},
    {"a": 1, "b": 1}, Pair(1, 2), Point(1, 2), Point(1, 3), Point(Plain(1)), Plain(1), Plain(2),
    Colour.RED, Colour.BLUE, range(3), range(4), slice(1, 2), "\ud800", "é", 10**5000,
    re.compile("x"), re.compile("x", re.I), pathlib.PurePosixPath("/x"),
    datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2),
    datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), datetime.timedelta(1),
    decimal.Decimal("1.0"), decimal.Decimal("1.00"), fractions.Fraction(1, 3), uuid.UUID(int=1),
    collections.Counter("ab"), collections.OrderedDict(a=1), collections.deque([1]),
    collections.deque([1], 3), numpy.arange(3), numpy.arange(4), numpy.arange(3, dtype="i2"),
    numpy.array([["a"]], dtype=object), numpy.float32(1), ValueError("a"), ValueError("b"),
    len, print, Plain, Point, sys,
]


def test_different_values_have_different_bytes() -> None:
    seen: dict[bytes, object] = {}
    for value in DIFFERENT:
        data = Canonical().bytes(value)
        assert data not in seen, f"{value!r} looks like {seen[data]!r}"
        seen[data] = value


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
)


@given(_plain)
def test_a_copy_has_the_same_bytes(value: object) -> None:
    import copy

    assert Canonical().bytes(copy.deepcopy(value)) == Canonical().bytes(value)


def test_nothing_depends_on_the_hash_seed() -> None:
    script = (
        "from engine.state.canonical import value_digest;"
        "print(value_digest([{'a','b','c'}, frozenset('xyzuvw'), {('k', 1): {'q', 'r'}}]).hex())"
    )
    root = pathlib.Path(__file__).parents[2]
    out = {
        subprocess.run(
            [sys.executable, "-c", script], cwd=root, check=True, capture_output=True,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(out) == 1


def test_what_cannot_be_looked_into_counts_by_its_type() -> None:
    assert value_digest(threading.Lock()) == value_digest(threading.Lock())
    assert value_digest(threading.Lock()) != value_digest(threading.Event())
    assert value_digest(i for i in "a") == value_digest(i for i in "b")


def test_a_ring_and_a_value_nested_very_deep_are_no_error() -> None:
    ring: list[object] = []
    ring.append((ring,))
    looped = Plain(1)
    looped.x = looped
    deep: object = 0
    for _ in range(100_000):
        deep = [deep]
    for value in (ring, looped, deep):
        assert value_digest(value) == value_digest(value)


def test_an_object_whose_pickling_raises_is_no_error() -> None:
    class Stubborn:
        def __reduce_ex__(self, protocol: object) -> str:
            raise KeyError("no")

    assert Canonical().bytes(Stubborn())


def test_shallow_looks_into_data_classes_but_not_into_other_objects() -> None:
    shallow = Canonical(deep=False).bytes
    assert shallow(Plain(1)) == shallow(Plain(2))
    assert shallow(Point(1)) != shallow(Point(2))
    assert shallow(collections.deque([1])) != shallow(collections.deque([2]))


def test_type_hints_count_by_what_they_are_made_of() -> None:
    alike = [(int | None, Optional[int]), (int | str, Union[int, str]),  # noqa: UP007, UP045
             (list["Point"], list["Point"])]
    apart = [int | None, int | str, list[int], list[str], dict[str, int], Literal[1], Literal["1"],
             Callable[[int], str], Callable[[str], int], list["Point"], list["Pair"]]

    for deep in (True, False):
        write = Canonical(deep=deep).bytes
        assert all(write(one) == write(other) for one, other in alike)
        assert len({write(hint) for hint in apart}) == len(apart)


def test_functions_are_handed_to_the_caller() -> None:
    met = []

    def mark(thing: object) -> bytes:
        met.append(thing)
        return b"f"

    Canonical(code=mark).bytes({"csv": len, "point": Point(Plain)})
    assert met == [len, Point, Plain]


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_a_digest_is_eight_bytes(size: int) -> None:
    assert len(digest(bytes(size))) == 8
