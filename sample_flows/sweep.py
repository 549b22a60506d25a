"""Where the logistic map turns chaotic: 4,000 parameters, one task each.

Teaches: **thousands of small tasks.** The engine hands them to its workers in batches of a
millisecond or two, so that a task may be a millisecond of work and still be a task: with a
name, a log, retries, and a recorded result that a resume does not compute again.

For each r in [3, 4] a task iterates x → r·x·(1-x) and averages ln|r·(1-2x)|, the Lyapunov
exponent: below 0 the map settles into a cycle, above 0 it is chaotic. At r = 4 it is ln 2.

    flowforge run sample_flows/sweep.py -p points=10000
"""

import csv
from itertools import groupby
from math import inf, log
from pathlib import Path

from engine import task, workflow

LOW, HIGH = 3.0, 4.0
WARM_UP = 300
ROUNDS = 1500
BARS = "▁▂▃▄▅▆▇█"

Point = tuple[float, float]


@task
def grid(points: int) -> list[float]:
    """Evenly spaced parameters, both ends included."""
    return [LOW + (HIGH - LOW) * i / (points - 1) for i in range(points)]


@task
def exponent(r: float) -> Point:
    """The Lyapunov exponent at r."""
    x = 0.4
    for _ in range(WARM_UP):
        x = r * x * (1 - x)
    total = 0.0
    for _ in range(ROUNDS):
        x = r * x * (1 - x)
        slope = abs(r * (1 - 2 * x))
        total += log(slope) if slope else -inf
    return r, total / ROUNDS


@task
def reduce(spectrum: list[Point], out: Path) -> dict[str, float | str]:
    """The whole sweep as a CSV, a picture for the log, and what there is to know."""
    path = out / "lyapunov.csv"
    out.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["r", "exponent"])
        writer.writerows(spectrum)
    print(picture(spectrum))
    window, start = widest_window(spectrum)
    return {
        "points": len(spectrum),
        "chaos_begins": next((r for r, value in spectrum if value > 0), inf),
        "chaotic_share": sum(value > 0 for _, value in spectrum) / len(spectrum),
        "widest_window": window,
        "window_begins": start,
        "at_4": spectrum[-1][1],
        "table": str(path),
    }


@workflow(executor="process", durability="process")
def sweep(points: int = 4000, out: Path = Path("out")):
    """One task per parameter, reduced into a table."""
    return reduce(exponent.map(grid(points)), out)


def widest_window(spectrum: list[Point]) -> tuple[float, float]:
    """Width and start of the widest island of order inside the chaos."""
    chaos = next((i for i, (_, value) in enumerate(spectrum) if value > 0), len(spectrum))
    islands = [
        [r for r, _ in run]
        for calm, run in groupby(spectrum[chaos:], lambda point: point[1] <= 0) if calm
    ]
    return max(((rs[-1] - rs[0], rs[0]) for rs in islands), default=(0.0, inf))


def picture(spectrum: list[Point], width: int = 72) -> str:
    """The exponents from r = 3 to r = 4 as one line of bars: low is order, high is chaos."""
    step = max(1, len(spectrum) // width)
    values = [max(-1.0, value) for _, value in spectrum[::step]]
    return "".join(BARS[min(7, int((value + 1.0) / 1.7 * 8))] for value in values)


if __name__ == "__main__":
    print(sweep.run().result)
