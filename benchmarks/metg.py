"""METG(50 %): the shortest task at which half of the ideal speed is reached.

Task Bench (Slaughter et al., SC20): a stencil, four cells wide, 100 steps, of tasks that are
busy for a known time without the GIL. The shorter they get, the more of the time is the
engine's; where half of it is, is the figure, found on a logarithmic scale between two sizes.

Rule 1: what is ideal is measured on the machine, one core at a time, just before each size.
Rule 2: each size is run several times. The best runs of all sizes make one curve, the second
        best another, and so on: the middle curve's crossing is the median.
Rule 3: the net time goes from the start of the first task to the end of the last one, by the
        clock that all processes share, plus the building of the graph. To subtract a run of one
        task would not do: that differs by more than 400 short tasks take.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from benchmarks.measured import Measured, Scale
from benchmarks.raw_graph import Graph, run_graph
from benchmarks.shapes import WORKERS, beside, busy, cell, first_cell, last_cell, median

WIDTH = 2 * WORKERS
STEPS = 100

#: Seconds of the longest task tried; each next one is half as long.
LONGEST = 0.004
SHORTEST = 4e-6

#: Below this efficiency the sweep ends: the crossing is behind.
FAR_BELOW = 0.3

#: Below this at the longest tasks, somebody else has the processors.
BUSY = 0.8

Elapsed = Callable[[int, int], tuple[float, float]]
"""Bytes a task and steps → seconds of the whole stencil, with and without the engine's start."""


@dataclass(slots=True)
class Size:
    """The runs with tasks of one size."""

    seconds: float
    """What one such task takes alone on a core."""
    totals: list[float] = field(default_factory=list)
    """Efficiencies, 1 is ideal."""
    nets: list[float] = field(default_factory=list)


def sweep(run: Elapsed, scale: Scale) -> list[Size]:
    """From long tasks to short ones, until they are far below half of the ideal speed."""
    steps = scale.size(STEPS, least=2)
    rate, seconds, sizes = bytes_per_second(), LONGEST, []
    while seconds >= SHORTEST:
        nbytes = max(64, int(seconds * rate))
        size = Size(kernel_seconds(nbytes))
        ideal = steps * WIDTH * size.seconds / WORKERS
        for _ in range(max(1, scale.repeats)):
            total, net = run(nbytes, steps)
            size.totals.append(ideal / total)
            size.nets.append(ideal / net)
        sizes.append(size)
        if median(size.nets) < FAR_BELOW and median(size.totals) < FAR_BELOW:
            break
        seconds /= 2
    return sizes


def crossings(sizes: list[Size], which: Callable[[Size], list[float]]) -> list[float]:
    """The METG in µs of each curve, the best first."""
    ranked = [(s.seconds, sorted(which(s), reverse=True)) for s in sizes]
    return [
        crossing([(seconds, curve[rank]) for seconds, curve in ranked]) * 1e6
        for rank in range(len(ranked[0][1]))
    ]


def crossing(curve: list[tuple[float, float]]) -> float:
    """Seconds at which the efficiency falls to a half; the end of the sweep if it never does."""
    if curve[0][1] < 0.5:
        return curve[0][0]
    for (long, above), (short, below) in pairwise(curve):
        if above >= 0.5 > below:
            part = (above - 0.5) / (above - below)
            return math.exp(math.log(long) + part * (math.log(short) - math.log(long)))
    return curve[-1][0]


def bytes_per_second() -> float:
    """How fast one core is."""
    best, size = 0.0, 1 << 24
    for _ in range(5):
        began = time.perf_counter()
        busy(size)
        best = max(best, size / (time.perf_counter() - began))
    return best


def kernel_seconds(nbytes: int) -> float:
    """What one call with so many bytes takes alone."""
    repeats = max(3, min(500, int(2e7 / nbytes)))
    found = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(repeats):
            busy(nbytes)
        found.append((time.perf_counter() - began) / repeats)
    return median(found)


def metg_row(executor: str) -> Callable[[Scale, Path], Measured]:
    """W5 over that executor."""
    def measure(scale: Scale, home: Path) -> Measured:
        from benchmarks.workloads import stencil, timed

        def run(nbytes: int, steps: int) -> tuple[float, float]:
            began = time.perf_counter()
            stencil.build(nbytes, steps, WIDTH)
            building = time.perf_counter() - began
            total, row = timed(stencil, home, nbytes, steps, WIDTH, executor=executor)
            return total, building + span(row, reached=steps > WIDTH)

        run(64, 2)
        sizes = sweep(run, scale)
        return Measured(
            crossings(sizes, lambda s: s.totals), crossings(sizes, lambda s: s.nets), told(sizes))
    return measure


def span(row: list[tuple[float, float]], *, reached: bool) -> float:
    """Seconds from the first task's start to the last one's end, as the last row tells them.

    With more steps than cells, every last cell has heard of every first one.
    """
    assert len(row) == WIDTH, "the stencil's answer is wrong"
    firsts, lasts = zip(*row, strict=True)
    assert not reached or len(set(firsts)) == 1, "the stencil's answer is wrong"
    return float(max(lasts) - min(firsts))


def told(sizes: list[Size]) -> str:
    """The curve near its crossing; or that this is no time to measure."""
    if max(sizes[0].nets) < BUSY:
        return f"the machine is busy: {LONGEST * 1e3:g} ms tasks reach {max(sizes[0].nets):.2f}"
    return "net efficiency " + ", ".join(
        f"{s.seconds * 1e6:.0f} µs {median(s.nets):.2f}" for s in sizes[-4:])


def raw_metg(make: Callable[[], Executor], scale: Scale) -> float:
    """The same stencil over a raw pool."""
    with make() as pool:
        def run(nbytes: int, steps: int) -> tuple[float, float]:
            began = time.perf_counter()
            out = run_graph(pool, stencil_graph(nbytes, steps))
            seconds = time.perf_counter() - began
            span([out[steps - 1, i] for i in range(WIDTH)], reached=steps > WIDTH)
            return seconds, seconds

        fewer = Scale(scale.name, scale.divisor, min(3, scale.repeats), scale.seconds)
        return median(crossings(sweep(run, fewer), lambda s: s.totals))


def stencil_graph(nbytes: int, steps: int) -> Graph:
    """W5 as a table."""
    graph: Graph = {(0, i): (first_cell, (), (nbytes,)) for i in range(WIDTH)}
    for step in range(1, steps):
        kind = cell if step < steps - 1 else last_cell
        for i in range(WIDTH):
            needs = tuple((step - 1, j) for j in beside(i, WIDTH))
            graph[step, i] = (kind, needs, (nbytes,))
    return graph
