"""Drives a machine by hand: a worker, a clock and a journal for tests."""

from __future__ import annotations

from engine.core.events import Attempt, Change, ErrorInfo, Expand, Stop
from engine.core.graph import Graph
from engine.core.machine import Machine
from engine.core.record import RunRecord
from engine.core.states import (
    CANCELLED,
    QUEUED,
    RESETS,
    SKIPPED,
    TERMINAL,
    TRANSITIONS,
    FailureReason,
    TaskState,
)
from engine.runtime.journal import ChangePacker, fold, unpack_entries


class Driver:
    """One machine with everything around it that a runner would do, one step at a time."""

    def __init__(self, graph: Graph, sizes: dict[str, int] | None = None, **kwargs) -> None:
        self.graph = graph
        self.sizes = sizes or {}
        self.kwargs = kwargs
        self.now = 100.0
        self.rows: list[bytes] = []
        self.hands: list[Attempt] = []
        self.stops: list[Attempt] = []
        self._groups = {n.index for n in graph.nodes if n.mapped is not None}
        self.m = self._machine()

    def _machine(self) -> Machine:
        return Machine(self.graph, ["thread"] * self.graph.size, **self.kwargs)

    def start(self) -> Driver:
        self.m.start(self.now)
        return self.settle()

    def settle(self) -> Driver:
        """Record changes, and answer what the machine asks for."""
        while True:
            asks, self.m.asks = self.m.asks, []
            for ask in asks:
                if isinstance(ask, Expand):
                    self.m.expand(ask.node, self._size(ask.node), self.now)
                elif isinstance(ask, Stop):
                    self.stops.append(ask.attempt)
            if self.m.changes:
                self.journal(list(self.m.changes))
                self.m.changes.clear()
            if not self.m.asks:
                return self

    def journal(self, changes: list[Change]) -> None:
        """What the runner does with the changes of a step."""
        self.rows.append(ChangePacker()(changes))

    def _size(self, k: int) -> int:
        info = self.graph.nodes[k].mapped
        if info.sources:
            return self.m.count[info.sources[0]]
        return self.sizes.get(self.graph.nodes[k].name, 3)

    def take(self, seconds: float = 1.0, share: int = 1000) -> list[Attempt]:
        batch = self.m.take("thread", self.now, seconds, share)
        self.hands += batch
        self.settle()
        return batch

    def end(self, a: Attempt, how: str = "ok", reason=FailureReason.ERROR) -> Driver:
        self.now += 1.0
        a.start, a.end = self.now - 0.5, self.now
        if how == "ok":
            a.succeed(a.tid, a.tid)
        elif how == "fail":
            a.fail(ErrorInfo("ValueError", "bad"), reason)
        elif how == "skip":
            a.stop(SKIPPED, "no need")
        elif how == "cancelled":
            a.stop(CANCELLED)
        elif how == "back":
            a.stop(QUEUED)
        if a in self.hands:
            self.hands.remove(a)
        self.m.finish([a], self.now)
        return self.settle()

    def run(self, fails=(), skips=()) -> Driver:
        """Run to the end; task runs named in `fails` fail every time."""
        while not self.m.over:
            batch = self.take()
            if not batch and not self.hands:
                due = self.m.next_due
                assert due is not None, "stuck: nothing to do and not over"
                self.now = max(self.now, due)
                self.m.tick(self.now)
                self.settle()
                continue
            for a in list(self.hands):
                name = self.name(a.tid)
                self.end(a, "fail" if name in fails else "skip" if name in skips else "ok")
        return self

    def name(self, tid: int) -> str:
        k = self.m.node_of(tid)
        node = self.graph.nodes[k].name
        return node if tid == k else f"{node}[{tid - self.m.base[k]}]"

    def id(self, name: str) -> int:
        stem, _, index = name.partition("[")
        k = next(n.index for n in self.graph.nodes if n.name == stem)
        return self.m.base[k] + int(index[:-1]) if index else k

    def state(self, name: str) -> TaskState:
        return TaskState(self.m.state[self.id(name)])

    def states(self) -> dict[str, str]:
        out = {}
        for k in range(self.graph.size):
            out[self.graph.nodes[k].name] = TaskState(self.m.state[k]).name
            for i in range(max(self.m.count[k], 0) if self.m.base[k] >= 0 else 0):
                tid = self.m.base[k] + i
                out[f"{self.graph.nodes[k].name}[{i}]"] = TaskState(self.m.state[tid]).name
        return out

    def record(self) -> RunRecord:
        """What a reader of the journal would know."""
        record = RunRecord(self.graph.size)
        for row in self.rows:
            for entry in unpack_entries(row):
                before = bytes(record.state)
                fold(record, entry)
                if entry[0] != "B":  # an undo leads back to wherever a reset came from
                    self._check_moves(before, record)
        return record

    def _check_moves(self, before: bytes, record: RunRecord) -> None:
        """Every recorded move of a task run is one that the tables allow.

        QUEUED and RUNNING are passed through unannounced by what starts at once and ends soon;
        back to PENDING leads only what a person, or a lost record, started over.
        """
        for tid, was in enumerate(before):
            now = record.state[tid]
            if was == now or record.node_of(tid) != tid or tid in self._groups:
                continue
            old, new = TaskState(was), TaskState(now)
            allowed = set(TRANSITIONS[old] | RESETS.get(old, frozenset()) | {TaskState.PENDING})
            for passed in (QUEUED, TaskState.RUNNING):
                if passed in allowed and old not in TERMINAL:
                    allowed |= TRANSITIONS[passed]
            assert new in allowed, f"{self.name(tid)} went from {old.name} to {new.name}"

    def reopen(self) -> Driver:
        """The engine is killed, and another one takes over from the journal."""
        record = self.record()
        self.m = self._machine()
        self.hands.clear()
        self.stops.clear()
        self.m.restore(record)
        self.m.retry(record.to_retry(), self.now)
        return self.start()
