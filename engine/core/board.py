"""The state of a run in columns, and the counters derived from it.

Rule 1: a task run's id is its node's index; items of a mapped node get ids from `base[node]`
        on, and the node's own id then stands for the group.
Rule 2: what is rare (tries, generations, failures) is in dicts, so that a task run which just
        succeeds costs a dozen bytes.
Rule 3: `gate[n]` counts the upstream nodes of n that have not ended; like every counter here
        it can be derived anew from the states, and is, after a reset.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from engine.core.events import (
    Attempt,
    Change,
    Expand,
    Ran,
    Stop,
)
from engine.core.graph import Graph
from engine.core.queues import ReadyQueue
from engine.core.record import RunRecord
from engine.core.rules import COLUMN
from engine.core.states import (
    CANCELLED,
    FAILED,
    GOOD,
    IS_TERMINAL,
    PENDING,
    RUNNING,
    SKIPPED,
    SUCCESS,
    UP_FOR_RETRY,
    UPSTREAM_FAILED,
    RunState,
    TaskState,
)

#: Recorded states as a new session finds them: what had not ended starts over.
_SETTLED = bytes(s if s < len(IS_TERMINAL) and IS_TERMINAL[s] else PENDING for s in range(256))


T = TypeVar("T")


class Board:
    """Columns by task-run id and by node. See `machine.Machine` for the arguments."""

    def __init__(
        self,
        graph: Graph,
        lanes: Sequence[str],
        *,
        limits: Mapping[str, int] | None = None,
        on_failure: str = "continue",
        random: Callable[[], float] = lambda: 0.5,
        selected: Iterable[int] | None = None,
    ) -> None:
        n = graph.size
        self.graph = graph
        self.lanes = lanes
        self.random = random
        self.on_failure = on_failure
        self.run_state = RunState.PENDING
        self.state = bytearray(n)
        self.item_node = array("i")
        """Node of each id from `graph.size` on."""
        self.base = array("i", [-1]) * n if n else array("i")
        self.count = array("i", bytes(4 * n))
        self.open_items = array("i", bytes(4 * n))
        self.keys: dict[int, Sequence[str]] = {}
        self._dropped: dict[int, tuple[int, int, Sequence[str] | None]] = {}
        """Map that will be made anew → first id, count and names of the items that it had."""
        self.gate = [0] * n
        self.in_hand: dict[int, Attempt] = {}
        self.doomed: set[int] = set()
        """Ids in hand whose outcome must not count, since they were reset meanwhile."""
        self.tries: dict[int, int] = {}
        """Number of the last attempt that did not succeed."""
        self.generation: dict[int, int] = {}
        """Where it is not 1."""
        self.failures: dict[int, int] = {}
        self.crashes: dict[int, int] = {}
        self.first_start: dict[int, float] = {}
        self.failed: set[int] = set()
        self.changes: list[Change] = []
        self.asks: list[Expand | Stop] = []
        self.lost: Callable[[], list[int]] = list
        """Asked after a reset: what has ended well, and is needed by what has not, and is gone."""
        self.ended: list[int] = []
        """Nodes that ended since the runner last looked: their inputs may be let go."""
        self.timers: list[tuple[float, int, int]] = []
        self.queues: dict[str, ReadyQueue] = {lane: ReadyQueue() for lane in set(lanes)}
        self.limits = dict(limits or {})
        self.free = dict(self.limits)
        self.parked: dict[str, list[tuple[int, int]]] = {}
        """By limit: ranges that wait for tokens of it. By "pause:NODE": for that node."""
        self.paused_nodes: set[int] = set()
        self.paused = False
        self.halted = ""
        """Why nothing new is dispatched: empty, or drain, stop, cancel."""
        self.open = 0
        """Nodes that have not ended."""
        self._selected = bytearray(n) if selected is not None else bytearray(b"\1") * n
        for i in selected or ():
            self._selected[i] = 1
        self._restored = False
        self._due: dict[int, tuple[float, float]] = {}
        """What was waiting for its next try when the last session ended: (when, delay)."""
        self._now = 0.0
        self._prepare(n)

    def _prepare(self, n: int) -> None:
        graph = self.graph
        options = [spec.options for spec in graph.specs]
        self._slot = graph.spec_of.tolist()
        """Index of each node's task in `cost`: nodes of one task share its measured cost."""
        self.cost = [-1.0] * len(options)
        """Seconds an attempt of each task takes; -1: unknown. Rises at once, falls slowly."""
        self._rules = _per_node([o.trigger_rule for o in options], graph)
        self._strict = bytearray(
            _per_node([o.trigger_rule == "all_success" for o in options], graph))
        self._solo = bytearray(_per_node([o.solo for o in options], graph))
        self._tallies: dict[int, list[int]] = {
            i: [0] * 5 for i in range(n) if not self._strict[i]
        } if 0 in self._strict else {}
        self._loose_below = {
            u: [c for c in below if not self._strict[c]] for u, below in graph.eager.items()
        }
        self._bad: dict[int, list[int]] = {}
        """Mapped node → how many of its items ended FAILED, UPSTREAM_FAILED, SKIPPED, CANCELLED."""
        self._item_wait: dict[int, array[int]] = {}
        self._expanding: dict[int, int] = {}
        """Node whose items are being worked out → the number of that `Expand`."""
        self._asked = 0
        self._ends: deque[tuple[int, int]] = deque()
        self._moved: dict[tuple[TaskState, int, str, Ran | None], list[int]] = {}
        self._fresh: list[int] = []

    def restore(self, record: RunRecord) -> None:
        """Take over a record before `start`: what ended stands, the rest is PENDING again."""
        size = self.graph.size
        self._restored = True
        self.state = record.state.translate(_SETTLED)
        self.item_node = array("i", record.item_node)
        for k, (base, count, keys) in record.expansions.items():
            self.base[k], self.count[k] = base, count
            if keys is not None:
                self.keys[k] = keys
        self._dropped = {k: before[:3] for k, before in record.previous.items()
                         if k not in record.expansions}
        self.generation = dict(record.generation)
        self.failures = dict(record.failures)
        for tid, number in enumerate(record.number):
            if number and self.state[tid] != SUCCESS:
                self.tries[tid] = number
        # A clock that was set back must not make a retry wait longer than its delay.
        self._due = {
            tid: (due, max(0.0, due - record.end[tid])) for tid, due in record.due.items()
            if record.state[tid] == UP_FOR_RETRY
        }
        live = set(record.live_ids())
        self.failed = {
            t for t, s in enumerate(self.state) if s == FAILED and t in live
        } if self.state.find(FAILED) >= 0 else set()
        assert len(self.state) == size + len(self.item_node)

    def takes_part(self, k: int) -> bool:
        """False for a node left out by --until or --only."""
        return bool(self._selected[k])

    def _is_live(self, tid: int) -> bool:
        """False for an item of an expansion that was dropped."""
        k = self.node_of(tid)
        return tid == k or 0 <= self.base[k] <= tid < self.base[k] + self.count[k]

    def node_of(self, tid: int) -> int:
        """The node of a task run."""
        return tid if tid < self.graph.size else self.item_node[tid - self.graph.size]

    def _is_group(self, tid: int) -> bool:
        return tid < self.graph.size and self.base[tid] >= 0

    def items_of(self, tids: Iterable[int]) -> list[int]:
        """The ids, each expanded group replaced by its items."""
        out: dict[int, None] = {}
        for tid in tids:
            if self._is_group(tid):
                out.update(dict.fromkeys(range(self.base[tid], self.base[tid] + self.count[tid])))
            else:
                out[tid] = None
        return list(out)

    # == derived counters ==================================================================

    def _recount(self, nodes: Iterable[int]) -> None:
        """Derive gates, tallies and group counters of nodes from the states."""
        state, graph = self.state, self.graph
        nodes = list(nodes)
        for k in nodes:
            if self.base[k] >= 0:
                self._count_items(k)
                now_is = RUNNING if self.open_items[k] else self._group_state(k)
                if state[k] != now_is:
                    state[k] = now_is
                    self._moved.setdefault((now_is, -1, "", None), []).append(k)
        for k in nodes:
            node = graph.nodes[k]
            sources = node.mapped.sources if node.mapped is not None else ()
            self.gate[k] = sum(
                1 for u in node.upstream if u not in sources and not IS_TERMINAL[state[u]]
            )
            if not self._strict[k]:
                self._tallies[k] = self._tally(node.upstream, sources)

    def _count_items(self, k: int) -> None:
        """Derive a group's counters from the states of its items."""
        base, count = self.base[k], self.count[k]
        states = self.state[base:base + count]
        by_state = {s: states.count(s) for s in COLUMN}
        self.open_items[k] = count - sum(by_state.values())
        bad = [0] * 5
        for s, number in by_state.items():
            if s not in GOOD:
                bad[COLUMN[s]] += number
        self._bad.pop(k, None)
        if any(bad):
            self._bad[k] = bad
        info = self.graph.nodes[k].mapped
        assert info is not None
        if info.sources:
            waits = array("i", bytes(4 * count))
            for source in info.sources:
                above = self.base[source]
                for i in range(count):
                    if not IS_TERMINAL[self.state[above + i]]:
                        waits[i] += 1
            self._item_wait[k] = waits

    def _group_state(self, k: int) -> TaskState:
        bad = self._bad.get(k)
        if not bad:
            return SUCCESS
        for s, column in ((FAILED, 1), (UPSTREAM_FAILED, 2), (CANCELLED, 4)):
            if bad[column]:
                return s
        return SKIPPED if bad[3] == self.count[k] else SUCCESS

    def _tally(self, upstream: Iterable[int], sources: Sequence[int]) -> list[int]:
        counts = [0] * 5
        for u in upstream:
            if u in sources:
                continue
            if self.base[u] >= 0:
                bad = self._bad.get(u, [0] * 5)
                for column in range(1, 5):
                    counts[column] += bad[column]
                counts[0] += self.count[u] - self.open_items[u] - sum(bad)
            elif IS_TERMINAL[self.state[u]]:
                counts[COLUMN[TaskState(self.state[u])]] += 1
        return counts

    def _count_open(self) -> int:
        return sum(
            1 for k in range(self.graph.size)
            if self._selected[k] and not IS_TERMINAL[self.state[k]]
        )


def _per_node(of_task: Sequence[T], graph: Graph) -> list[T]:
    """What holds for a task, for each of its calls."""
    return [of_task[s] for s in graph.spec_of]
