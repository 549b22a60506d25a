"""Replays a recorded workflow: any WfCommons WfFormat file, its run times scaled.

Teaches: **a graph made by a loop.** The graph is data here, so it is built by calls, with
names of their own and edges by `.after`. The run times are known beforehand, so `priority`
can put the tasks with the longest way to go first, and the report compares the makespan
with what no schedule could beat: the critical path, or all work spread over the slots.

    flowforge run sample_flows/wfformat.py -p scale=0.001
    flowforge run sample_flows/wfformat.py -j 16 -p trace=sample_flows/data/blast.json

Traces of real systems: https://wfcommons.org; `pip install wfcommons` makes new ones, as
it made the two in `sample_flows/data`. Schemas 1.4 (flat) and 1.5 on (specification and
execution) are read.
"""

import json
import time
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from engine import task, workflow

DATA = Path(__file__).with_name("data")

Span = tuple[float, float]


@dataclass
class Job:
    """One task of a trace."""

    name: str
    seconds: float
    parents: list[str] = field(default_factory=list)
    remaining: float = 0.0
    """Seconds from its start to the end of the longest path below it."""


@task
def job(seconds: float) -> Span:
    """Takes as long as the recorded task took, scaled; when it began and ended."""
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


@task
def report(spans: list[Span], critical: float) -> dict[str, float]:
    """The makespan, and the least that it could have been with the slots that were used."""
    began, ended = min(s[0] for s in spans), max(s[1] for s in spans)
    work = sum(end - start for start, end in spans)
    slots = most_at_once(spans)
    bound = max(critical, work / slots)
    print(f"{len(spans)} tasks in {ended - began:.2f} s on {slots} slots; no schedule does it "
          f"in less than {bound:.2f} s")
    return {"makespan": ended - began, "bound": bound, "work": work, "slots": slots}


@workflow(workers=8)
def wfformat(trace: Path = DATA / "montage.json", scale: float = 0.001):
    """One task for each task of the trace, in an order that its edges allow."""
    jobs = read(json.loads(trace.read_text(encoding="utf-8")), scale)
    handles: dict[str, Any] = {}
    for name, each in jobs.items():
        node = job.options(name=each.name, priority=each.remaining)(each.seconds)
        handles[name] = node.after([handles[parent] for parent in each.parents])
    return report(list(handles.values()), max(each.remaining for each in jobs.values()))


def read(document: dict[str, Any], scale: float) -> dict[str, Job]:
    """The jobs by id, parents first. Raises ValueError for a document of another kind."""
    try:
        body = document["workflow"]
        tasks = body["specification"]["tasks"] if "specification" in body else body["tasks"]
        ran = body["execution"]["tasks"] if "execution" in body else tasks
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is not WfFormat 1.4 or later: no {error} in it") from error
    runtimes = {key(t): float(t.get("runtimeInSeconds", 0.0)) for t in ran}
    known = {alias: key(t) for t in tasks for alias in (t["name"], key(t))}
    jobs = {
        key(t): Job(key(t), scale * runtimes.get(key(t), 0.0), [known[p] for p in parents(t)])
        for t in tasks
    }
    order = list(TopologicalSorter({k: j.parents for k, j in jobs.items()}).static_order())
    for name in reversed(order):
        each = jobs[name]
        each.remaining += each.seconds
        for parent in each.parents:
            jobs[parent].remaining = max(jobs[parent].remaining, each.remaining)
    return {name: jobs[name] for name in order}


def key(entry: dict[str, Any]) -> str:
    """What tells a task apart: its id; in flat files its name may be all there is."""
    return str(entry.get("id") or entry["name"])


def parents(entry: dict[str, Any]) -> list[str]:
    """The tasks that it waits for, each once."""
    return list(dict.fromkeys(entry.get("parents", ())))


def most_at_once(spans: list[Span]) -> int:
    """How many ran at the same time, at most."""
    steps = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    running = peak = 0
    for _, step in steps:
        running += step
        peak = max(peak, running)
    return peak


if __name__ == "__main__":
    print(wfformat.run().result)
