"""What the command line takes until something happens; each time a fresh process.

Rule 1: the clock starts before the process does, and for a flow stops in its first task.
Rule 2: the flow is a user's file with one task, run with the settings as they come.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import fresh
from benchmarks.measured import Measured, Scale

COMMAND = ["-m", "flowforge_tui"]

FLOW = '''"""Leave the time at which the first task runs."""

import os
import time
from pathlib import Path

from engine import task, workflow


@task
def first() -> None:
    Path(os.environ["BENCH_MARK"]).write_text(f"{time.monotonic()} first")


@workflow
def one() -> None:
    first()
'''


def help_row(scale: Scale, home: Path) -> Measured:
    """`flowforge --help`, from start to end."""
    totals = []
    for _ in range(1 + scale.repeats):
        began = time.monotonic()
        told = fresh.run([*COMMAND, "--help"], home.parent)
        totals.append(time.monotonic() - began)
        assert "resume" in told, "--help says something else"
    return _without_first(totals, home)


def first_task_row(scale: Scale, home: Path) -> Measured:
    """`flowforge run` of a new run to the first line of the first task."""
    flow, mark = home.parent / "one_task.py", home.parent / "first"
    flow.write_text(FLOW)
    totals = [
        fresh.until_mark([*COMMAND, "run", str(flow), "--fresh"], home.parent, mark,
                         {"BENCH_MARK": str(mark)})[0]
        for _ in range(1 + scale.repeats)
    ]
    return _without_first(totals, home)


def _without_first(totals: list[float], home: Path) -> Measured:
    """The first run compiled the sources; the net figure leaves Python's own start out."""
    began = time.monotonic()
    fresh.run(["-c", "pass"], home.parent)
    bare = time.monotonic() - began
    counted = totals[1:]
    return Measured(counted, [t - bare for t in counted],
                    f"Python itself {bare * 1e3:.0f} ms")
