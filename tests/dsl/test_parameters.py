import dataclasses
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest

from engine.dsl.parameters import bind, from_text
from engine.errors import ParameterError


class Colour(Enum):
    RED = "red"
    BLUE = 2


@dataclasses.dataclass
class Row:
    n: int


class Opaque:
    pass


def one(hint: Any, value: Any) -> Any:
    """A workflow's only parameter, of this type, given this value."""
    def flow(p): ...  # type: ignore[no-untyped-def]
    flow.__annotations__ = {"p": hint}
    return bind(flow, "flow", (), {"p": value}).arguments["p"]


def text(hint: Any, written: str) -> Any:
    def flow(p): ...  # type: ignore[no-untyped-def]
    flow.__annotations__ = {"p": hint}
    return from_text(flow, "flow", {"p": written})["p"]


OPAQUE = Opaque()


@pytest.mark.parametrize(
    ("hint", "value", "becomes"),
    [
        (int, 3, 3), (int, "3", 3), (float, 3, 3.0), (str, "x", "x"), (bool, "true", True),
        (date, "2026-11-22", date(2026, 11, 22)), (date, date(2026, 1, 2), date(2026, 1, 2)),
        (datetime, "2026-11-22T10:00:00", datetime(2026, 11, 22, 10)),
        (timedelta, timedelta(1), timedelta(1)),
        (Path, "a/b", Path("a/b")), (Path, Path("a"), Path("a")),
        (Path | None, None, None), (Path | None, "x", Path("x")), (int | Path, "x", Path("x")),
        (Colour, "red", Colour.RED), (Colour, Colour.BLUE, Colour.BLUE),
        (Colour, "BLUE", Colour.BLUE), (Colour, "Colour.RED", Colour.RED),
        (list[int], [1, "2"], [1, 2]), (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 1], {1}), (list[Path], ["a"], [Path("a")]),
        (dict[str, date], {"a": "2026-01-01"}, {"a": date(2026, 1, 1)}),
        (Literal["a", "b"], "b", "b"), (Literal[1, 2], "2", 2), (Decimal, "1.50", Decimal("1.50")),
        (UUID, "12345678123456781234567812345678", UUID(int=0x12345678123456781234567812345678)),
        (Row, {"n": 3}, Row(3)), (Row, Row(4), Row(4)), (Any, OPAQUE, OPAQUE),
        (Opaque, OPAQUE, OPAQUE), (Opaque | None, OPAQUE, OPAQUE), (int | None, None, None),
        (object, OPAQUE, OPAQUE), (bytes, b"x", b"x"),
    ],
)
def test_what_an_annotation_allows_is_converted(hint: Any, value: Any, becomes: Any) -> None:
    result = one(hint, value)
    assert result == becomes and type(result) is type(becomes)


@pytest.mark.parametrize(
    ("hint", "value", "says"),
    [
        (int, "x", "int"), (int, 1.5, "int"), (str, 3, "str"), (date, "soon", "date"),
        (Path, 3, "Path"), (Colour, "green", r"one of RED, BLUE"), (list[int], 3, "array"),
        (list[int], [1, "x"], r"\[1\]"), (Literal["a", "b"], "c", "c"), (Opaque, 3, "Opaque"),
        (int | Path, 3.5, "int"), (Row, {"m": 3}, "n"), (bool, "maybe", "bool"),
    ],
)
def test_what_it_does_not_allow_is_an_error_that_names_the_parameter(
    hint: Any, value: Any, says: str
) -> None:
    with pytest.raises(ParameterError, match=says) as caught:
        one(hint, value)
    assert "parameter 'p' of workflow 'flow' cannot be" in str(caught.value)


@pytest.mark.parametrize(
    ("hint", "written", "becomes"),
    [
        (int, "3", 3), (str, "3", "3"), (list[int], "1,2, 3", [1, 2, 3]),
        (list[int], "[1, 2]", [1, 2]), (list[str], "", []), (list[str], "[x", ["[x"]),
        (tuple[int, ...], "1,2", (1, 2)), (set[str] | None, "a,b", {"a", "b"}),
        (dict[str, int], '{"a": 1}', {"a": 1}), (Path, "~/x", Path("~/x")),
        (date | None, "2026-01-01", date(2026, 1, 1)), (int | None, "", None),
        (Colour, "RED", Colour.RED), (bool, "false", False), (Row, '{"n": 5}', Row(5)),
    ],
)
def test_parameters_from_the_command_line(hint: Any, written: str, becomes: Any) -> None:
    assert text(hint, written) == becomes


def test_without_an_annotation_the_default_tells_the_type() -> None:
    def flow(n=3, name="x", flag=False, rest=None): ...  # type: ignore[no-untyped-def]

    given = {"n": "7", "name": "7", "flag": "true", "rest": "7"}
    assert from_text(flow, "flow", given) == {"n": 7, "name": "7", "flag": True, "rest": "7"}
    with pytest.raises(ParameterError, match="'n'"):
        from_text(flow, "flow", {"n": "many"})


def test_defaults_are_part_of_the_parameters_and_are_not_checked() -> None:
    def flow(a: int, b: Path = None, *rest: int, **more: float): ...  # noqa: RUF013

    bound = bind(flow, "flow", ("1", "p", "2"), {"x": "0.5"})
    assert bound.arguments == {"a": 1, "b": Path("p"), "rest": (2,), "more": {"x": 0.5}}
    assert bind(flow, "flow", (1,), {}).arguments["b"] is None


@pytest.mark.parametrize(
    ("args", "given", "says"),
    [
        ((), {}, "missing a required argument: 'count'"),
        ((1, 2), {}, "too many positional"),
        ((), {"cuont": 1}, "no parameter 'cuont'; did you mean 'count'"),
        ((), {"zzz": 1}, "it has: count"),
    ],
)
def test_calls_that_do_not_fit(args: Any, given: Any, says: str) -> None:
    def flow(count: int): ...

    with pytest.raises(ParameterError, match=says):
        bind(flow, "flow", args, given)


def test_annotations_that_cannot_be_resolved_do_not_hide_the_others() -> None:
    class Local:
        pass

    def flow(a: "Nowhere", b: "int", c: "Local"): ...  # type: ignore[name-defined]  # noqa: F821

    assert bind(flow, "flow", ("x", "2", 3), {}).arguments == {"a": "x", "b": 2, "c": 3}
