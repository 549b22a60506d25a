"""Short numbers are short, right, and never say more than is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowforge_tui.amounts import brief_bytes, brief_number, brief_seconds
from flowforge_tui.charts import area, fitted, heat


@pytest.mark.parametrize(("number", "text"), [
    (-1, "–"), (0, "0"), (0.42, "0.4"), (3, "3"), (9.96, "10"), (4_812.3, "4,812"),
    (9_999.6, "10.0k"), (61_204, "61.2k"), (999_499, "999k"), (999_500, "1.00M"), (1.25e6, "1.25M"),
])
def test_numbers(number: float, text: str) -> None:
    assert brief_number(number) == text


@pytest.mark.parametrize(("seconds", "text"), [
    (-1, "–"), (0, "0µs"), (850e-6, "850µs"), (0.0016, "1.6ms"), (0.012, "12ms"),
    (0.9999, "1.0s"), (4.12, "4.1s"), (59.96, "1:00"), (200, "3:20"), (7_500, "2:05:00"),
    (273_600, "3d 04h"),
])
def test_seconds(seconds: float, text: str) -> None:
    assert brief_seconds(seconds) == text


@pytest.mark.parametrize(("size", "text"), [
    (-1, "–"), (0, "0B"), (512, "512B"), (999.6, "0.98K"), (84.2 * 2**20, "84.2M"),
    (1.25 * 2**30, "1.25G"), (3 * 2**40, "3.00T"),
])
def test_bytes(size: float, text: str) -> None:
    assert brief_bytes(size) == text


@given(st.floats(min_value=0, max_value=9e14))
def test_none_is_longer_than_six_cells(number: float) -> None:
    assert len(brief_number(number)) <= 6
    assert len(brief_bytes(number)) <= 6


def test_an_area_fills_from_below() -> None:
    assert area([0, 1, 2, 4], 1) == [" ▂▄█"]
    assert area([0, 1, 2, 4], 2) == ["   █", " ▄██"]
    assert area([0, 1, 3], 1, unicode=False) == [" :#"]
    assert area([0, 0], 2) == ["  ", "  "]


def test_what_is_there_shows() -> None:
    assert area([1e-9, 1e9], 1) == ["▁█"]
    assert heat([0, 1e-9, 0.5, 1, 7]) == " ░▒██"
    assert heat([0, 0.5, 1], unicode=False) == " -#"


@given(st.lists(st.integers(0, 1_000), max_size=300), st.integers(1, 80))
def test_fitting_keeps_the_sum_and_the_width(values: list[int], width: int) -> None:
    found, each = fitted([float(v) for v in values], width)

    assert sum(found) == sum(values)
    assert len(found) <= width
    assert each == 1 or len(values) > width
