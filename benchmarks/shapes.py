"""The tasks' functions, the shapes of the graphs, and the answers that they must give.

Rule 1: standard library only. The raw baselines run the very same functions, in interpreters
        that have seen nothing of the engine.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from typing import Any

#: Workers everywhere: what PERFORMANCE's figures were taken with.
WORKERS = 2

#: What each task prints where captured output is measured; bytes, with the line's end.
LINE = "2026-11-22 21:48:50 step 0017 of the quarterly import: 4,096 rows, nothing odd\n"

_CHUNK = 1 << 18
_ZEROS = memoryview(bytes(_CHUNK))


def noop(i: int) -> int:
    """W1: as good as nothing."""
    return i & 7


def inc(x: int) -> int:
    """W2: one more than the task before."""
    return x + 1


def join3(a: int, b: int, c: int) -> int:
    """W3: from three tasks of the layer above."""
    return (a + b + c) & 255


def busy(size: int) -> int:
    """W5: hash `size` bytes; holds the GIL only between chunks of 256 KiB."""
    digest = hashlib.sha256()
    while size > 0:
        digest.update(_ZEROS[:size])
        size -= _CHUNK
    return digest.digest()[0]


def first_cell(size: int) -> float:
    """W5: a cell of the first step; returns when it began, on the clock of all processes."""
    began = time.monotonic()
    busy(size)
    return began


def cell(size: int, *above: float) -> float:
    """W5: a cell; hands down when the first of those above it began."""
    busy(size)
    return min(above)


def last_cell(size: int, *above: float) -> tuple[float, float]:
    """W5: a cell of the last step; returns when the first one began, and when this ended."""
    busy(size)
    return min(above), time.monotonic()


def above(i: int, width: int) -> tuple[int, int, int]:
    """W3: the tasks of the layer above that task `i` reads."""
    return i, (i + 1) % width, (i + 7) % width


def beside(i: int, width: int) -> list[int]:
    """W5: the cells of the step before that cell `i` reads."""
    return [j for j in (i - 1, i, i + 1) if 0 <= j < width]


def fan_answer(n: int) -> int:
    """What the results of W1 sum up to."""
    return sum(i & 7 for i in range(n))


def layers_answer(layers: int, width: int) -> int:
    """What the last layer of W3 sums up to."""
    row = [noop(i) for i in range(width)]
    for _ in range(layers - 1):
        row = [join3(*(row[j] for j in above(i, width))) for i in range(width)]
    return sum(row)


def check(got: Any, wanted: Any, what: str) -> None:
    """Raises AssertionError if an answer is wrong: a fast wrong engine has no figure."""
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, wanted {wanted!r}")


def check_sum(results: Iterable[int], wanted: int, what: str) -> None:
    """As `check`, of the sum of all results."""
    check(sum(results), wanted, what)


def median(values: Sequence[float]) -> float:
    """The middle one; the mean of the two in the middle. (`statistics` takes 15 ms to import.)"""
    ranked = sorted(values)
    half = len(ranked) // 2
    return ranked[half] if len(ranked) % 2 else (ranked[half - 1] + ranked[half]) / 2
