"""What a row of the table is: what it measures, at what size, against what, and its target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.shapes import median

#: The unit of most rows.
MICROSECONDS = "µs a task"


@dataclass(frozen=True, slots=True)
class Scale:
    """How large and how often."""

    name: str
    divisor: int
    """Sizes are divided by this."""
    repeats: int
    seconds: float
    """How long a task of the async row sleeps."""

    def size(self, full: int, least: int = 4) -> int:
        """A size of this scale, for what is `full` in the whole benchmark."""
        return max(least, full // self.divisor)


FULL = Scale("full", 1, 5, 1.0)
QUICK = Scale("quick", 10, 1, 0.2)
TINY = Scale("tiny", 1_000, 1, 0.01)
SCALES = {scale.name: scale for scale in (FULL, QUICK, TINY)}


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure may be at most: a multiple of a raw baseline, plus a constant or another.

    Without any of them the row is only shown.
    """

    times: float = 0.0
    plus: float = 0.0
    """In the row's unit."""
    plus_raw: str = ""
    """The name of a second baseline, added once."""
    text: str = ""

    def limit(self, raw: Mapping[str, float], base: str) -> float | None:
        """In the row's unit; None if there is no target."""
        if not (self.times or self.plus):
            return None
        second = raw[self.plus_raw] if self.plus_raw else 0.0
        return (self.times * raw[base] if self.times else 0.0) + self.plus + second

    def __str__(self) -> str:
        if self.text:
            return self.text
        parts = [f"{self.times:g} × raw"] if self.times else []
        parts += [f"{self.plus:,g}"] if self.plus else []
        parts += [self.plus_raw] if self.plus_raw else []
        return "≤ " + " + ".join(parts) if parts else "–"


@dataclass(slots=True)
class Measured:
    """The repeats of one row, in the row's unit."""

    totals: list[float]
    """With the engine's start: from the call of `.run()` to the results in the caller's hands."""
    nets: list[float]
    """Less what a run of one task takes (median of one before each repeat)."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, not measured yet."""

    group: str
    name: str
    measure: Callable[[Scale, Path], Measured]
    target: Target = Target()
    base: str = ""
    """The raw baseline to measure before and after; empty: none is meaningful."""
    unit: str = MICROSECONDS

    @property
    def raw(self) -> list[str]:
        """The baselines that the row needs."""
        return [name for name in (self.base, self.target.plus_raw) if name]


@dataclass(slots=True)
class Line:
    """One line of the table, measured."""

    group: str
    name: str
    unit: str
    target: str
    measured: Measured | None = None
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    base: str = ""
    limit: float | None = None
    failure: str = ""
    scale: str = "full"

    @property
    def raw(self) -> float | None:
        """The mean of the baseline before and after; None without both."""
        around = [found[self.base] for found in (self.before, self.after) if self.base in found]
        return sum(around) / 2 if len(around) == 2 else None

    @property
    def met(self) -> str:
        """yes, or net (only without the engine's start), or no; empty without a verdict."""
        if self.measured is None:
            return "failed"
        if self.limit is None or self.scale != FULL.name:
            return ""
        if median(self.measured.totals) <= self.limit:
            return "yes"
        return "net" if median(self.measured.nets) <= self.limit else "no"

    def to_data(self) -> dict[str, Any]:
        """For the JSON file."""
        return {**asdict(self), "raw": self.raw, "met": self.met}


def netted(totals: list[float], starts: list[float], n: int, scale: float = 1e6) -> Measured:
    """From seconds of whole runs of `n` tasks and of runs of one; `scale` makes the unit."""
    start = median(starts)
    return Measured(
        [t / n * scale for t in totals],
        [max(0.0, t - start) / n * scale for t in totals],
        f"one task {start * 1e3:.0f} ms",
    )
