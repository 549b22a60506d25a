"""W1 to W3, sleeping coroutines and talking tasks: the flows, and how a run of them is timed.

Rule 1: the time of a run goes from the call of `.run()`, the building of the graph in it, to
        all results in the caller's hands. Its answer is checked after that, every time.
Rule 2: a run is new (`fresh`), keeps its state on a real disk, and says nothing.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import shapes
from benchmarks.measured import Measured, Scale, netted
from benchmarks.shapes import above, check, check_sum, fan_answer, layers_answer, median
from engine import task, workflow
from engine.dsl.workflows import Workflow

#: µs a task that a net figure is at least: in small runs, subtracting the start leaves nothing.
NOISE = 0.1

noop = task(shapes.noop)
inc = task(shapes.inc)
join3 = task(shapes.join3)
first_cell = task(shapes.first_cell)
cell = task(shapes.cell)
last_cell = task(shapes.last_cell)


@workflow
def fan(n: int) -> Any:
    """W1, mapped."""
    return noop.map(range(n))


@workflow
def fan_calls(n: int) -> Any:
    """W1, a call a task."""
    return [noop(i) for i in range(n)]


@workflow
def chain(n: int) -> Any:
    """W2."""
    x: Any = 0
    for _ in range(n):
        x = inc(x)
    return x


@workflow
def layers(depth: int, width: int) -> Any:
    """W3."""
    row = [noop(i) for i in range(width)]
    for _ in range(depth - 1):
        row = [join3(*(row[j] for j in above(i, width))) for i in range(width)]
    return row


@workflow
def stencil(size: int, steps: int, width: int) -> Any:
    """W5."""
    row = [first_cell(size) for _ in range(width)]
    for kind in [cell] * (steps - 2) + [last_cell]:
        row = [kind(size, *(row[j] for j in shapes.beside(i, width))) for i in range(width)]
    return row


@task
async def doze(seconds: float) -> int:
    """Wait without a thread."""
    await asyncio.sleep(seconds)
    return 1


@workflow
def dormitory(n: int, seconds: float) -> Any:
    """Sleep, all at once."""
    return doze.map([seconds] * n)


@task
def talk(lines: int) -> float:
    """Print; returns the seconds that took."""
    line = shapes.LINE[:-1]
    began = time.perf_counter()
    for _ in range(lines):
        print(line)
    return time.perf_counter() - began


@workflow
def chatter(lines: int) -> Any:
    """One task that prints."""
    return talk(lines)


def timed(flow: Workflow, home: Path, *arguments: Any, executor: str = "thread",
          durability: str = "process") -> tuple[float, Any]:
    """Seconds, and the result. Raises RunFailed."""
    flow = flow.options(
        home=home, executor=executor, workers=shapes.WORKERS, durability=durability,
        output="silent", fresh=True,
    )
    gc.collect()
    began = time.perf_counter()
    result = flow.run(*arguments).result
    return time.perf_counter() - began, result


def repeated(once: Callable[[int], float], n: int, scale: Scale, *, warm: bool = True) -> Measured:
    """`once(n)` again and again, with `once(1)` before each; the first pair is not counted."""
    totals, starts = [], []
    once(1)
    if warm:
        once(n)
    for _ in range(scale.repeats):
        starts.append(once(1))
        totals.append(once(n))
    return netted(totals, starts, n)


Measure = Callable[[Scale, Path], Measured]


def fan_row(n: int, flow: Workflow = fan, **how: str) -> Measure:
    """W1 of that size."""
    def measure(scale: Scale, home: Path) -> Measured:
        def once(count: int) -> float:
            seconds, result = timed(flow, home, count, **how)
            check_sum(result, fan_answer(count), flow.name)
            return seconds
        return repeated(once, scale.size(n), scale)
    return measure


def chain_row(n: int, **how: str) -> Measure:
    """W2 of that length."""
    def measure(scale: Scale, home: Path) -> Measured:
        def once(count: int) -> float:
            seconds, result = timed(chain, home, count, **how)
            check(result, count, "chain")
            return seconds
        return repeated(once, scale.size(n), scale)
    return measure


def layers_row(depth: int, width: int, **how: str) -> Measure:
    """W3 of that shape."""
    def measure(scale: Scale, home: Path) -> Measured:
        size = scale.size(width)

        def once(count: int) -> float:
            shape = (1, 1) if count == 1 else (depth, size)
            seconds, result = timed(layers, home, *shape, **how)
            check_sum(result, layers_answer(*shape), "layers")
            return seconds
        return repeated(once, depth * size, scale)
    return measure


def growth_row(small: int, large: int, executor: str = "thread") -> Measure:
    """How much more a task costs in a run of `large`; the engine's start left out of both."""
    def measure(scale: Scale, home: Path) -> Measured:
        low = fan_row(small, executor=executor)(scale, home)
        fewer = Scale(scale.name, scale.divisor, min(3, scale.repeats), scale.seconds)
        high = fan_row(large, executor=executor)(fewer, home)
        ratios = [max(NOISE, net) / max(NOISE, median(low.nets)) for net in high.nets]
        return Measured(
            ratios, ratios, f"net {median(low.nets):.2f} → {median(high.nets):.2f} µs")
    return measure


def sleep_row(n: int) -> Measure:
    """Coroutines that sleep, all at once; seconds in all."""
    def measure(scale: Scale, home: Path) -> Measured:
        def once(count: int) -> float:
            seconds, result = timed(dormitory, home, count, scale.seconds if count > 1 else 0.0)
            check(sum(result), count, "dormitory")
            return seconds
        count = scale.size(n)
        found = repeated(once, count, scale, warm=False)
        return Measured(
            [t * count / 1e6 for t in found.totals], [t * count / 1e6 for t in found.nets],
            found.note)
    return measure


def talk_row(lines: int, **how: str) -> Measure:
    """Captured lines, of one task; all of them are in its log when the run has ended."""
    def measure(scale: Scale, home: Path) -> Measured:
        inside = []

        def once(count: int) -> float:
            seconds, took = timed(chatter, home, count, **how)
            check(logged(home), count, "lines in the log")
            inside.append(took / count * 1e6)
            return seconds
        found = repeated(once, scale.size(lines), scale)
        found.note += f", inside the task {median(inside[3::2]):.2f} µs"
        return found
    return measure


def logged(home: Path) -> int:
    """Lines in the task logs of the newest run."""
    from engine.front import Home, LogReader

    entry = Home(home).runs()[0]
    return sum(1 for _ in LogReader(entry.path / "logs").lines())
