"""`Signature.fits` against the judge: what Python itself says to the same call."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.dsl.signature import Signature


def f0(): ...
def f1(a, b=1): ...
def f2(a, /, b, *, c, d=2): ...
def f3(a, *rest, k=1): ...
def f4(a, b=2, /, **more): ...
def f5(*, a, b=1, **more): ...
def f6(a=1, /, *rest, b, **more): ...


FUNCTIONS: list[Any] = [f0, f1, f2, f3, f4, f5, f6]


@given(
    st.sampled_from(FUNCTIONS),
    st.integers(0, 4),
    st.lists(st.sampled_from(["a", "b", "c", "d", "k", "more"]), unique=True),
)
def test_it_judges_calls_as_python_does(fn: Any, count: int, names: list[str]) -> None:
    signature = Signature(fn)
    try:
        fn(*range(count), **dict.fromkeys(names))
        good = True
    except TypeError:
        good = False
    assert signature.fits(count, names) is good
    assert (signature.complaint(count, names) == "") is good


def test_what_tells_nothing_lets_every_call_through() -> None:
    assert Signature(print).text  # has a signature
    assert Signature(dict).fits(3, ["x"])
