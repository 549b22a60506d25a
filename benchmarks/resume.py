"""Carrying on a run that was killed half way: the time to its first task.

    python -m benchmarks.resume WORKFLOW N DIRECTORY      runs it, or carries it on

Rule 1: the half-done run is a real one. A task in the middle sends SIGKILL to the engine.
Rule 2: each repeat carries on a copy of what that left, in a fresh process, by the very same
        command; the clock starts before the process does.
Rule 3: the run that is carried on goes on to its end, and its answer is checked.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import fresh
from benchmarks.measured import Measured, Scale
from benchmarks.shapes import WORKERS, check, check_sum, median

#: The environment says what the tasks do: it is no part of the code that a resume compares.
KILL_AT, MARK = "BENCH_KILL_AT", "BENCH_MARK"


def step(i: int) -> int:
    """Kill the engine if it is this one's turn; tell when the first one was called."""
    if os.environ.get(KILL_AT) == str(i):
        os.kill(os.getpid(), signal.SIGKILL)
    mark = os.environ.pop(MARK, None)
    if mark is not None:
        Path(mark).write_text(f"{time.monotonic()} {i}")
    return i & 7


def flow_of(name: str) -> Any:
    """The workflow: `mapped` or by `calls`."""
    from engine import task, workflow

    stepping = task(step)

    def mapped(n: int) -> Any:
        return stepping.map(range(n))

    def calls(n: int) -> Any:
        return [stepping(i) for i in range(n)]

    return workflow(mapped if name == "mapped" else calls)


def resume_row(n: int, name: str) -> Callable[[Scale, Path], Measured]:
    """Seconds to the first task of the rest."""
    def measure(scale: Scale, home: Path) -> Measured:
        count = scale.size(n, least=2_000)
        killed = home.parent / f"killed-{name}"
        make_half_done(name, count, killed)
        totals, firsts = [], []
        for _ in range(scale.repeats):
            seconds, first = carry_on(name, count, killed, home)
            totals.append(seconds)
            firsts.append(int(first))
        assert min(firsts) > 0, "nothing was carried on: the first task ran again"
        one = median([first_of_one(name, home) for _ in range(min(3, scale.repeats))])
        return Measured(totals, [t - one for t in totals],
                        f"{min(firsts):,} of {count:,} done; a new run of one task {one:.2f} s")
    return measure


def make_half_done(name: str, n: int, home: Path) -> None:
    """Run it until it kills itself."""
    fresh.run(["-m", "benchmarks.resume", name, str(n), str(home)], home.parent,
              {KILL_AT: str(n // 2)}, code=-signal.SIGKILL)


def carry_on(name: str, n: int, killed: Path, home: Path) -> tuple[float, str]:
    """Seconds to the first task, and which one that was."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(killed, home)
    before = run_count(home)
    mark = home.parent / "first"
    found = fresh.until_mark(["-m", "benchmarks.resume", name, str(n), str(home)],
                             home.parent, mark, {MARK: str(mark)})
    check(run_count(home), before, "runs after the resume")
    return found


def first_of_one(name: str, home: Path) -> float:
    """Seconds to the first task of a new run of one."""
    shutil.rmtree(home, ignore_errors=True)
    mark = home.parent / "first"
    return fresh.until_mark(["-m", "benchmarks.resume", name, "1", str(home)],
                            home.parent, mark, {MARK: str(mark)})[0]


def run_count(home: Path) -> int:
    """How many runs there are."""
    from engine.front import Home

    return len(Home(home).run_ids())


def main(name: str, n: str, home: str) -> None:
    """Run or carry on, and check."""
    flow = flow_of(name).options(
        home=Path(home), workers=WORKERS, durability="process", output="silent")
    check_sum(flow.run(int(n)).result, sum(i & 7 for i in range(int(n))), name)


if __name__ == "__main__":
    main(*sys.argv[1:])
