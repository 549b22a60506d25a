"""Rows of characters that show figures: area charts, bars, heat. Pure; no styles in here.

Rule 1: a chart of `width` by `height` cells costs its cells, whatever it shows.
Rule 2: what is there shows: a value above zero has at least the smallest mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_ASCII = " .:-=+*#"
#: From idle to busy all the time.
_HEAT = " ░▒▓█"
_ASCII_HEAT = " .-=#"


def area(values: Sequence[float], height: int, *, unicode: bool = True) -> list[str]:
    """A column a value, in `height` rows, the first on top; the largest fills all of them."""
    marks = _EIGHTHS if unicode else _ASCII
    steps = len(marks) - 1
    most = max(values, default=0.0)
    if most <= 0:
        return [" " * len(values)] * height
    whole = height * steps
    levels = [max(v > 0, min(whole, round(v / most * whole))) for v in values]
    return [
        "".join([marks[max(0, min(steps, level - row * steps))] for level in levels])
        for row in range(height - 1, -1, -1)
    ]


def fitted(values: Sequence[float], width: int) -> tuple[list[float], int]:
    """`values` in at most `width` cells: sums of as many each as it takes, and how many that is."""
    if width <= 0 or not values:
        return [], 1
    each = ceil(len(values) / width)
    if each == 1:
        return list(values), 1
    return [sum(values[i:i + each]) for i in range(0, len(values), each)], each


def heat(fractions: Sequence[float], *, unicode: bool = True) -> str:
    """A cell a fraction between 0 and 1, darker where it is more."""
    marks = _HEAT if unicode else _ASCII_HEAT
    last = len(marks) - 1
    return "".join([marks[max(f > 0, min(last, round(f * last)))] for f in fractions])
