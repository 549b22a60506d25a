"""The table, and the same as JSON."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measured import Line, Scale
from benchmarks.shapes import WORKERS, median

_HEAD = ("workload", "median", "min", "net", "unit", "raw before/after", "ratio", "net ratio",
         "target", "met", "note")
_WIDTHS = (47, 7, 7, 7, 12, 17, 6, 9, 18, 3, 0)
_LEFT = {0, 4, 8, 9, 10}

FOOT = f"""\
median, min   of several runs, new ones, with {WORKERS} workers, `process` durability (`full` where
              a row says so), from the call of .run() (of the command: its start) to all
              results in the caller's hands. The engine's start is in it: opening the store,
              starting the workers; building the graph, too.
net           the median less what a run of one task takes (in the note): what a task costs.
              Figures of others exclude their start the same way. For memory, less the peak of
              a run of one task; for a command, less Python's own start; for W5 and W6, from the
              first task's start to the last one's end (W5: and the building of the graph).
raw           the same work without an engine, in fresh interpreters right before and after;
              ratios are to the mean of the two.
met           yes; net: only without the engine's start; no. In a target, raw is the figure of
              its line."""


def number(value: float) -> str:
    """Three digits, more where it is large."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def cells(line: Line) -> tuple[str, ...]:
    """One line of the table."""
    if line.measured is None:
        return (line.name, *[""] * 7, line.target, line.met, line.failure)
    total, net = median(line.measured.totals), median(line.measured.nets)
    raw = line.raw
    shown = f"{number(line.before[line.base])} / {number(line.after[line.base])}" if raw else "–"
    return (
        line.name, number(total), number(min(line.measured.totals)), number(net), line.unit,
        shown, f"{total / raw:.2f}" if raw else "–", f"{net / raw:.2f}" if raw else "–",
        line.target, line.met, line.measured.note,
    )


def aligned(row: Iterable[str]) -> str:
    """The cells under their heads."""
    padded = (
        cell.ljust(width) if i in _LEFT else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, _WIDTHS, strict=True))
    )
    return "  ".join(padded).rstrip()


def head(scale: Scale) -> Iterator[str]:
    """What stands above the lines."""
    yield (f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
           f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}"
           + ("" if scale.name == "full" else
              f"; {scale.name}: sizes / {scale.divisor}, too small for verdicts"))
    yield ""
    yield aligned(_HEAD)
    yield "-" * 170


def write_json(path: Path, scale: Scale, lines: list[Line]) -> None:
    """All figures, with each repeat."""
    data = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"), "scale": scale.name,
        "python": sys.version.split()[0], "sqlite": sqlite3.sqlite_version,
        "cpus": os.cpu_count(), "system": platform.platform(),
        "rows": [line.to_data() for line in lines],
    }
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
