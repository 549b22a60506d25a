"""W6: recorded workflows replayed, their makespan against what no schedule could beat.

The traces that come with `sample_flows`, and one of each kind that WfCommons makes if it is
installed (`pip install -e '.[traces]'`); always the same ones. A task sleeps as long as the
recorded one took, all times scaled so that the bound of each instance is the same.

Rule 1: the bound is max(critical path, work / slots). It cannot always be reached; the note
        tells what the same order of tasks gives on paper, where nothing costs anything.
Rule 2: "known" runs the tasks with the longest way to go first; "FIFO" as they become ready.
Rule 3: the net time goes from the start of the first task to the end of the last one.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from heapq import heappop, heappush
from math import exp, log
from pathlib import Path
from typing import Any

from benchmarks.measured import Measured, Scale
from benchmarks.shapes import WORKERS, check, median
from benchmarks.workloads import timed
from engine import workflow
from sample_flows.wfformat import DATA, Job, job, read

#: Tasks of an instance that WfCommons makes, about; below this it cannot make some.
TASKS = 200

Jobs = dict[str, Job]


@workflow
def replay(jobs: Jobs, known: bool) -> Any:
    """One task for each of the trace; `known`: with priorities from the run times."""
    handles: dict[str, Any] = {}
    for name, each in jobs.items():
        node = job.options(name=each.name, priority=each.remaining if known else 0)(each.seconds)
        handles[name] = node.after([handles[parent] for parent in each.parents])
    return list(handles.values())


def instances(seconds: float) -> dict[str, Jobs]:
    """The traces by name, scaled to a bound of so many seconds."""
    documents = {p.stem: json.loads(p.read_text()) for p in sorted(DATA.glob("*.json"))}
    documents.update(made())
    return {
        name: read(document, seconds / bound(read(document, 1.0)))
        for name, document in documents.items()
    }


def made() -> Iterator[tuple[str, Any]]:
    """A workflow of each kind that WfCommons knows; none without it."""
    try:
        import numpy
        from wfcommons import WorkflowGenerator
        from wfcommons.wfchef import recipes
    except ImportError:
        return
    for name in sorted(n for n in dir(recipes) if n.endswith("Recipe")):
        random.seed(6)
        numpy.random.seed(6)
        recipe = getattr(recipes, name).from_num_tasks(TASKS)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "trace.json"
            WorkflowGenerator(recipe).build_workflow().write_json(file)
            yield f"made {name.removesuffix('Recipe')}", json.loads(file.read_text())


def bound(jobs: Jobs) -> float:
    """Seconds that no schedule can beat."""
    work = sum(each.seconds for each in jobs.values())
    return max(work / WORKERS, max(each.remaining for each in jobs.values()))


def on_paper(jobs: Jobs) -> float:
    """The makespan of "known" where nothing but the tasks takes time."""
    waits = {name: len(each.parents) for name, each in jobs.items()}
    below: dict[str, list[str]] = {name: [] for name in jobs}
    for name, each in jobs.items():
        for parent in each.parents:
            below[parent].append(name)
    ready = [(-jobs[name].remaining, name) for name, count in waits.items() if not count]
    ready.sort()
    running: list[tuple[float, str]] = []
    at = 0.0
    while ready or running:
        while ready and len(running) < WORKERS:
            _, name = heappop(ready)
            heappush(running, (at + jobs[name].seconds, name))
        at, ended = heappop(running)
        for child in below[ended]:
            waits[child] -= 1
            if not waits[child]:
                heappush(ready, (-jobs[child].remaining, child))
    return at


def makespan(jobs: Jobs, home: Path, *, known: bool) -> tuple[float, float]:
    """Seconds with and without the engine's start."""
    total, spans = timed(replay, home, jobs, known)
    check(len(spans), len(jobs), "replayed tasks")
    return total, max(end for _, end in spans) - min(start for start, _ in spans)


def bound_row(scale: Scale, home: Path) -> Measured:
    """The geometric mean over all instances of makespan / bound."""
    chosen = instances(scale.seconds)
    totals, nets = [], []
    for _ in range(min(3, scale.repeats)):
        found = [makespan(jobs, home, known=True) for jobs in chosen.values()]
        totals.append(geometric_mean([total / scale.seconds for total, _ in found]))
        nets.append(geometric_mean([net / scale.seconds for _, net in found]))
    paper = geometric_mean([on_paper(jobs) / scale.seconds for jobs in chosen.values()])
    return Measured(totals, nets, f"{len(chosen)} instances, on paper {paper:.3f}")


def fifo_row(scale: Scale, home: Path) -> Measured:
    """The worst instance: its makespan with known run times / that of FIFO."""
    ratios = {}
    for name, jobs in instances(scale.seconds).items():
        ways: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(min(3, scale.repeats)):
            for known, found in ways.items():
                found.append(makespan(jobs, home, known=known)[1])
        ratios[name] = median(ways[True]) / median(ways[False])
    worst = max(ratios, key=lambda name: ratios[name])
    mean = geometric_mean(list(ratios.values()))
    return Measured([ratios[worst]], [ratios[worst]], f"{worst}; of all, {mean:.3f}")


def geometric_mean(values: list[float]) -> float:
    """Of ratios."""
    return exp(sum(map(log, values)) / len(values))
