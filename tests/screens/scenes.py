"""Runs that look like real ones, made by hand: maps, failures, retries, what waits."""

from __future__ import annotations

from collections.abc import Iterable

from engine import RunState, TaskState
from engine.core.dag import Dag
from engine.core.events import ErrorInfo, Expanded, Moved, RunMoved
from engine.core.nodes import MapInfo
from engine.runtime.outline import Outline
from flowforge_tui.model import RunView
from flowforge_tui.shape import Shape
from tests.core.graphs import spec
from tests.screens.made import BEGAN, attempt, failed, started, succeeded


class Scene:
    """A workflow and its run, a call a step. Times are seconds after BEGAN."""

    def __init__(self, name: str = "nightly_etl") -> None:
        self.dag = Dag(name)
        self.view: RunView

    def task(self, name, *above, over=None, group="", retries=0, times=1):
        """One or more calls of a task that wait for `above`."""
        made = spec(name, retries=retries)
        for _ in range(times):
            mapped = None
            if over is not None:
                source = over.handle if hasattr(over, "handle") else over
                mapped = MapInfo({0: source}, barrier=True)
            node = self.dag.add(made, tuple(n.handle for n in above), {}, group=group,
                                mapped=mapped)
        return node

    def begin(self) -> Scene:
        graph = self.dag.freeze()
        self.view = RunView(Shape(Outline.of(graph, fingerprints=lambda spec: {})))
        self.apply(RunMoved(RunState.RUNNING, "", BEGAN))
        return self

    def apply(self, *changes) -> Scene:
        self.view.apply(changes)
        return self

    def expand(self, node, size, keys=None) -> range:
        base = max(len(self.view.state), self.view.shape.size)
        self.apply(Expanded(node.index, base, size, keys, None, ()))
        return range(base, base + size)

    def ok(self, tids: Iterable[int], start=0.0, seconds=0.1, step=0.0, number=1) -> Scene:
        return self.apply(succeeded([
            attempt(t, start + i * step, seconds, number=number) for i, t in enumerate(tids)]))

    def run(self, tids: Iterable[int], start=0.0, worker=0) -> Scene:
        return self.apply(started([
            attempt(t, start, worker=worker + i) for i, t in enumerate(tids)]))

    def fail(self, tid, error="bad row 17", kind="ValueError", *, start=0.0, seconds=1.2,
             number=1, due=None) -> Scene:
        made = attempt(tid, start, seconds, number=number)
        change = failed(made, due=due, error=error)
        made.error = ErrorInfo(kind, error, "", "flow.py", 7)
        return self.apply(change)

    def move(self, tids, state: TaskState, cause=-1, why="") -> Scene:
        return self.apply(Moved(tids, state, cause, why))


def nightly_etl() -> Scene:
    """The run that SCREEN's mock-ups show: 100,003 task runs, three failures."""
    s = Scene()
    files = s.task("list_files")
    extract = s.task("extract", over=files, retries=2)
    transform = s.task("transform", over=extract, retries=4)
    load = s.task("load", over=transform)
    s.task("publish", extract, times=4)
    s.task("report", load, group="closing")
    s.task("archive", load, group="closing")
    s.begin().ok([files.index], 0.0, 2.3)
    e = s.expand(extract, 1000)
    for i in range(0, 1000, 10):
        s.ok([t for t in e[i:i + 10] if t not in (e[17], e[31])], 2 + i * 0.19, 0.8)
    s.fail(e[17], "bad row 17", start=30, seconds=1.2, number=3)
    s.fail(e[31], "the server did not answer", "TimeoutError", start=60, seconds=30, number=3)
    t = s.expand(transform, 98_000)
    s.move(t, TaskState.QUEUED)
    done = [x for x in t[:60_240] if x - t[0] not in (412, 41877)][:60_207]
    for i in range(0, len(done), 500):
        s.ok(done[i:i + 500], 192 + i / 60_207 * 568, 0.2)
    s.fail(t[412], "'ts'", "KeyError", start=200, seconds=0.4)
    s.fail(t[41877], "reset by peer", "ConnReset", start=700, seconds=0.4, number=2,
           due=773.0)
    s.run(t[60_240:60_272], 757.0)
    s.move([4, 5, 6, 7][:4], TaskState.UPSTREAM_FAILED, e[17], "")
    return s


NOW = BEGAN + 761.0
