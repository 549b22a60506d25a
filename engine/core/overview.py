"""How many task runs are in which state: the smallest fold of changes that a console needs.

Rule 1: only recorded changes enter, so no figure is shown that the journal would contradict.
Rule 2: a change costs a store into a bytearray; counting is left to whoever draws, some
        times a second, and then is a `count` of bytes.
Rule 3: applying a change twice is the same as once: a console may begin from a machine whose
        first changes are still on their way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from engine.core.events import (
    Change,
    Expanded,
    Failed,
    Moved,
    OutlineChanged,
    Reset,
    Restored,
    RunMoved,
    Started,
    Succeeded,
)
from engine.core.graph import Graph
from engine.core.machine import Machine
from engine.core.states import PENDING, RUNNING, SUCCESS, RunState, TaskState

Counts = dict[TaskState, int]

#: Stands for an expanded map's own entry, which does not count: its items do.
_GROUP = 255


class Section(NamedTuple):
    """A line of an overview: the calls of one task in one nested workflow."""

    name: str
    nodes: Sequence[int]


class Overview:
    """The states of one run's task runs, as far as they are recorded."""

    def __init__(self, size: int) -> None:
        self.size = size
        """How many nodes the graph has; ids from here on are items of maps."""
        self.state = bytearray(size)
        self.spread: dict[int, tuple[int, int]] = {}
        """Mapped node → (first item's id, number of items)."""
        self.running: dict[int, float] = {}
        """Announced attempts in hand: task run's id → when it started (epoch seconds)."""
        self.run_state = RunState.PENDING
        self._fold: dict[type, Callable[[Any], None]] = {
            Succeeded: self._succeeded, Failed: self._failed, Started: self._started,
            Moved: self._moved, Reset: self._reset, Expanded: self._expanded,
            RunMoved: self._run_moved, OutlineChanged: lambda change: None,
            Restored: lambda change: self.apply(change.changes),
        }

    @classmethod
    def of(cls, machine: Machine) -> Overview:
        """What a machine that has not started yet begins with."""
        overview = cls(machine.graph.size)
        overview.state = bytearray(machine.state)
        for k in range(overview.size):
            if machine.base[k] >= 0:
                overview.spread[k] = (machine.base[k], machine.count[k])
        return overview

    def apply(self, batch: Sequence[Change]) -> None:
        """Fold recorded changes, in order."""
        for change in batch:
            self._fold[type(change)](change)

    # -- reading ------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """State → number of task runs in it, all states included."""
        return self._count(range(self.size))

    def counts_of(self, nodes: Sequence[int]) -> Counts:
        """The same of some nodes and their items alone."""
        return self._count(nodes)

    def _count(self, nodes: Sequence[int]) -> Counts:
        state = self.state
        if isinstance(nodes, range) and nodes.step == 1:
            own = state[nodes.start:nodes.stop]
            spread = [k for k in self.spread if k in nodes]
            for k in spread:
                own[k - nodes.start] = _GROUP
        else:
            spread = [k for k in nodes if k in self.spread]
            own = bytearray(_GROUP if k in self.spread else state[k] for k in nodes)
        parts = [own, *(state[base:base + n] for base, n in (self.spread[k] for k in spread))]
        return {s: sum(part.count(s) for part in parts) for s in TaskState}

    # -- folding ------------------------------------------------------------------------------

    def _succeeded(self, change: Succeeded) -> None:
        state = self.state
        for a in change.attempts:
            state[a.tid] = SUCCESS
        self._ended(a.tid for a in change.attempts)

    def _failed(self, change: Failed) -> None:
        self.state[change.attempt.tid] = change.state
        self._ended((change.attempt.tid,))

    def _started(self, change: Started) -> None:
        for a in change.attempts:
            self.state[a.tid] = RUNNING
            self.running[a.tid] = a.start

    def _moved(self, change: Moved) -> None:
        for tid in change.tids:
            self.state[tid] = change.state
        if change.state is not TaskState.CANCELLING:
            self._ended(change.tids)

    def _reset(self, change: Reset) -> None:
        for tid in change.tids:
            self.state[tid] = PENDING
            self.spread.pop(tid, None)
        self._ended(change.tids)

    def _expanded(self, change: Expanded) -> None:
        more = change.base + change.size - len(self.state)
        if more > 0:
            self.state.extend(bytes(more))
        self.spread[change.node] = (change.base, change.size)
        for new, _ in change.carried:
            self.state[new] = SUCCESS

    def _run_moved(self, change: RunMoved) -> None:
        self.run_state = change.state

    def _ended(self, tids: Iterable[int]) -> None:
        if self.running:
            for tid in tids:
                self.running.pop(tid, None)


def sections_of(graph: Graph) -> list[Section]:
    """The lines that an overview of a graph has, in order of definition."""
    found: dict[str, list[int]] = {}
    for node in graph.nodes:
        name = f"{node.group}/{node.spec.name}" if node.group else node.spec.name
        found.setdefault(name, []).append(node.index)
    return [Section(name, _as_range(nodes)) for name, nodes in found.items()]


def _as_range(nodes: list[int]) -> Sequence[int]:
    """Neighbours as a range, which is counted at the speed of bytes."""
    first, last = nodes[0], nodes[-1]
    return range(first, last + 1) if last - first == len(nodes) - 1 else nodes
