"""The scheduler: a pure state machine over integer-indexed task runs.

Rule 1: everything that happens enters through a public method here, under the runner's
        lock, with the time as an argument; what follows from it leaves as `changes` (to be
        recorded) and `asks` (for the runner to do). No clock, thread, file or user code.
Rule 2: a task run's id is its node's index; items of a mapped node get ids from
        `base[node]` on, and the node's own id then stands for the group.
Rule 3: `gate[n]` counts the upstream nodes of n that have not ended. A strict node
        (`all_success`) starts when it reaches zero and ends at the first bad end above it;
        a loose one keeps a tally and asks its rule.
Rule 4: an outcome counts only for the attempt in hand (`in_hand[tid] is attempt`).
Rule 5: no recursion; ends are worked off from a list, so a chain of 100,000 is ordinary.

The hot path is `finish` → `_plain_success` / item success → `take`: about a microsecond a
task in all. Everything else may take its time.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any

from engine.core.dag import Graph, Node
from engine.core.events import (
    Attempt,
    Change,
    ErrorInfo,
    Expand,
    Expanded,
    Failed,
    Moved,
    Reset,
    RunMoved,
    Started,
    Stop,
    Succeeded,
)
from engine.core.queues import ReadyQueue
from engine.core.record import RunRecord
from engine.core.rules import COLUMN, HANDLES_FAILURE, RULES, RUN, Tally
from engine.core.states import (
    CANCELLED,
    CANCELLING,
    FAILED,
    GOOD,
    IS_TERMINAL,
    LIVE_RUN,
    PENDING,
    QUEUED,
    RUNNING,
    SKIPPED,
    SUCCESS,
    UP_FOR_RETRY,
    UPSTREAM_FAILED,
    FailureReason,
    RunState,
    TaskState,
)

#: A worker that dies twice in a row over one task run takes the blame to the task.
CRASHES_ALLOWED = 1

INFINITE = float("inf")

#: Recorded states as a new session finds them: what had not ended starts over.
_SETTLED = bytes(s if s < len(IS_TERMINAL) and IS_TERMINAL[s] else PENDING for s in range(256))

#: What a bad end does to a strict node below it.
_HANDED_ON = {
    FAILED: UPSTREAM_FAILED,
    UPSTREAM_FAILED: UPSTREAM_FAILED,
    SKIPPED: SKIPPED,
    CANCELLED: CANCELLED,
}


class Machine:
    """The state of one run and the rules by which it moves.

    `lanes[node]` names the executor of each node; `limits` gives the tokens of each named
    limit; `random` returns floats in [0, 1) for jitter.
    """

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
        self.gate = array("i", bytes(4 * n))
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
        nodes, graph = self.graph.nodes, self.graph
        self._rules = [node.spec.options.trigger_rule for node in nodes]
        self._strict = bytearray(rule == "all_success" for rule in self._rules)
        self._tallies: dict[int, list[int]] = {
            i: [0] * 5 for i in range(n) if not self._strict[i]
        }
        self._loose_below = {
            u: [c for c in below if not self._strict[c]] for u, below in graph.eager.items()
        }
        self._bad: dict[int, list[int]] = {}
        """Mapped node → how many of its items ended FAILED, UPSTREAM_FAILED, SKIPPED, CANCELLED."""
        self._item_wait: dict[int, array[int]] = {}
        self._expanding: dict[int, int] = {}
        """Node whose items are being worked out → the number of that `Expand`."""
        self._asked = 0
        slots: dict[int, int] = {}
        self._slot = [slots.setdefault(id(node.spec), len(slots)) for node in nodes]
        """Index of each node's task in `cost`: nodes of one task share its measured cost."""
        self.cost = [-1.0] * len(slots)
        """Seconds an attempt of each task takes; -1: unknown. Rises at once, falls slowly."""
        self._solo = bytearray(node.spec.options.solo for node in nodes)
        self._ends: deque[tuple[int, int]] = deque()
        self._moved: dict[tuple[TaskState, int, str], list[int]] = {}
        self._fresh: list[int] = []

    # == start and restore ==================================================================

    def start(self, now: float) -> None:
        """Begin, from nothing or from restored states: queue whatever can run."""
        self.run_state = RunState.RUNNING
        self._now = now
        self.changes.append(RunMoved(RunState.RUNNING, "", now))
        if self._restored:
            self._unblock()
            self._recount(range(self.graph.size))
            self.open = self._count_open()
            self._judge_all(range(self.graph.size))
        else:
            self.gate = array("i", self.graph.gate)
            self.open = self._selected.count(1)
            # Nothing has ended: only what waits for nothing, or follows a loose rule, can move.
            self._judge_all(
                k for k, waits in enumerate(self.gate) if not waits or not self._strict[k])
        self._work_off()
        self._check_over(now)

    def _unblock(self) -> None:
        """Judge what was blocked anew: what blocked it may be gone from the workflow."""
        blocked = [
            t for t, s in enumerate(self.state)
            if s == UPSTREAM_FAILED and self._is_live(t) and not self._is_group(t)
        ] if self.state.find(UPSTREAM_FAILED) >= 0 else []
        if blocked:
            self._apply_reset(blocked, [], "judged anew")

    def takes_part(self, k: int) -> bool:
        """False for a node left out by --until or --only."""
        return bool(self._selected[k])

    def _is_live(self, tid: int) -> bool:
        """False for an item of an expansion that was dropped."""
        k = self.node_of(tid)
        return tid == k or 0 <= self.base[k] <= tid < self.base[k] + self.count[k]

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

    # == the hot path =======================================================================

    def finish(self, attempts: Iterable[Attempt], now: float) -> None:
        """Take in the outcomes of attempts. Late and unknown ones are dropped."""
        in_hand, state, slot_of, cost = self.in_hand, self.state, self._slot, self.cost
        open_items, item_children = self.open_items, self.graph.item_children
        loose, doomed, solo, tries = self._loose_below, self.doomed, self._solo, self.tries
        children, ends, over = self.graph.children, self._ends, self.ended
        succeeded: list[Attempt] = []
        for a in attempts:
            tid = a.tid
            if in_hand.get(tid) is not a:
                continue
            del in_hand[tid]
            node = a.node
            k = node.index
            if a.status is not SUCCESS or tid in doomed:
                self._uncommon_end(a, now)
                continue
            succeeded.append(a)
            state[tid] = SUCCESS
            seconds = a.end - a.start
            slot = slot_of[k]
            known = cost[slot]
            cost[slot] = seconds if seconds > known else known + 0.1 * (seconds - known)
            if solo[k]:
                self._release(node)
            if tries and tid in tries:
                self._forget_failures(tid)
            if a.index < 0:
                self.open -= 1  # as `_node_ended` does: only what is selected is handed out
                over.append(k)
                if children[k] or k in item_children:
                    ends.append((k, SUCCESS))
                continue
            open_items[k] -= 1
            if k in item_children or k in loose:
                self._item_ended(k, tid, SUCCESS)
            if not open_items[k]:
                self._group_ended(k)
        if succeeded:
            # Recorded before what follows from it, so that a fold sees cause, then effect.
            self.changes.append(Succeeded(succeeded))
        if self._ends:
            self._work_off()
        self._flush_moved()
        if not self.open or self.halted:
            self._check_over(now)

    def take(self, lane: str, now: float, seconds: float, share: int) -> list[Attempt]:
        """Hand out work: about `seconds` of it by measured cost, at most `share` task runs.

        Tasks not measured yet, and those under limits, go one at a time. With INFINITE
        seconds nothing is measured: for workers that run their whole batch at once.
        """
        out: list[Attempt] = []
        queue = self.queues.get(lane)
        if queue is None or self.paused or self.halted:
            return out
        size, state, node_of = self.graph.size, self.state, self.item_node
        nodes, in_hand, solo, slot_of = self.graph.nodes, self.in_hand, self._solo, self._slot
        cost_of, paused, hand_out = self.cost, self.paused_nodes, out.append
        first_tries = not self.tries and not self.generation
        while seconds > 0 and share > 0:
            got = queue.pop(share)
            if got is None:
                break
            start, stop, priority = got
            k = start if start < size else node_of[start - size]
            node = nodes[k]
            if solo[k] or paused:
                if self._park(node, start, stop):
                    continue
                if out and solo[k]:
                    queue.push(priority, start, stop, front=True)
                    break
                if stop - start > 1 and solo[k]:
                    queue.push(priority, start + 1, stop, front=True)
                    stop = start + 1
            cost = cost_of[slot_of[k]]
            if stop - start > 1:
                fits = _fitting(seconds, cost, share)
                if stop - start > fits:
                    queue.push(priority, start + fits, stop, front=True)
                    stop = start + fits
            options = node.spec.options
            plain = first_tries and options.timeout is None and options.deadline is None
            first = start + 1 if start < size else self.base[k]  # a plain node's index is -1
            for tid in range(start, stop):
                if state[tid] != QUEUED or tid in in_hand:
                    continue
                state[tid] = RUNNING
                if plain:
                    a = Attempt(tid, node, tid - first, 1, 1, None)
                else:
                    a = self._attempt(tid, node, tid - first, now)
                in_hand[tid] = a
                hand_out(a)
            share -= stop - start
            if solo[k]:
                if out and out[-1].tid == start:
                    self._hold(node)
                    if options.on_interrupt == "fail":
                        self.changes.append(Started([out[-1]]))
                    break
                continue
            if seconds != INFINITE:
                seconds = seconds - cost * (stop - start) if cost >= 0 else 0.0
        self._flush_fresh()
        return out

    def _attempt(self, tid: int, node: Node, index: int, now: float) -> Attempt:
        options = node.spec.options
        timeout = options.timeout
        if options.deadline is not None:
            left = self.first_start.setdefault(tid, now) + options.deadline - now
            timeout = left if timeout is None else min(timeout, left)
        return Attempt(
            tid, node, index, self.tries.get(tid, 0) + 1, self.generation.get(tid, 1), timeout
        )

    # == ends that are not plain successes ==================================================

    def _uncommon_end(self, a: Attempt, now: float) -> None:
        tid, status = a.tid, a.status
        self._release(a.node)
        if tid in self.doomed:
            self.doomed.discard(tid)
            if tid < len(self.state) and self.state[tid] == PENDING:
                self._judge_one(tid)
        elif status is QUEUED:
            self.state[tid] = QUEUED
            self._queue(tid, tid + 1, a.node.index, front=True)
        elif self.halted == "drain" and status is CANCELLED:
            self.tries[tid] = a.number  # interrupted: runs again on resume, uncharged
        elif self.state[tid] == CANCELLING:
            self.tries[tid] = a.number
            self._end_badly(tid, CANCELLED, -1, "cancelled while running")
        elif status is FAILED:
            self._attempt_failed(a, now)
        elif status is SKIPPED:
            self._end_badly(tid, SKIPPED, -1, str(a.reason))
        else:
            self.tries[tid] = a.number
            self._end_badly(tid, CANCELLED, -1, str(getattr(a, "reason", "")))

    def _attempt_failed(self, a: Attempt, now: float) -> None:
        tid, options = a.tid, a.node.spec.options
        self.tries[tid] = a.number
        delay: float | None
        if a.reason == FailureReason.CRASHED:
            self.crashes[tid] = self.crashes.get(tid, 0) + 1
            # What a dead worker had done by then is unknown: at most once means not again.
            again = self.crashes[tid] <= CRASHES_ALLOWED and options.on_interrupt != "fail"
            delay = 0.0 if again else None
        else:
            self.crashes.pop(tid, None)
            self.failures[tid] = self.failures.get(tid, 0) + 1
            again = a.retryable and a.reason != FailureReason.UNSERIALISABLE
            delay = (
                options.retry.next_delay(self.failures[tid], self.random, a.delay)
                if again else None
            )
        if delay is not None and options.deadline is not None:
            begun = self.first_start.get(tid, a.start)
            if now + delay >= begun + options.deadline:
                delay = None
        if delay is None or self.halted in ("cancel", "stop"):
            self.changes.append(Failed(a, FAILED, 0.0))
            self.failed.add(tid)
            self._mark_ended(tid, FAILED)
            if self.on_failure == "stop" and not self.halted:
                self.halted = "stop"
            return
        due = now + delay
        self.changes.append(Failed(a, UP_FOR_RETRY, due))
        self.state[tid] = UP_FOR_RETRY
        heappush(self.timers, (due, tid, self.generation.get(tid, 1)))

    def _forget_failures(self, tid: int) -> None:
        self.crashes.pop(tid, None)
        self.failures.pop(tid, None)
        self.first_start.pop(tid, None)

    def _end_badly(self, tid: int, state: TaskState, cause: int, why: str) -> None:
        self._moved.setdefault((state, cause, why), []).append(tid)
        self._mark_ended(tid, state)

    def _mark_ended(self, tid: int, state: TaskState) -> None:
        """A task run (plain, item, or unexpanded group) ended otherwise than by plain success."""
        self.state[tid] = state
        if tid < self.graph.size:
            self._node_ended(tid, state)
            return
        k = self.item_node[tid - self.graph.size]
        self._bad.setdefault(k, [0] * 5)[COLUMN[state]] += 1
        self.open_items[k] -= 1
        self._item_ended(k, tid, state)
        if not self.open_items[k]:
            self._group_ended(k)

    def _group_ended(self, k: int) -> None:
        state = self.state[k] = self._group_state(k)
        self._moved.setdefault((state, -1, ""), []).append(k)
        self._node_ended(k, state)

    # == propagation ========================================================================

    def _node_ended(self, k: int, state: TaskState) -> None:
        if self._selected[k]:
            self.open -= 1
        self.ended.append(k)
        if self.graph.children[k] or k in self.graph.item_children:
            self._ends.append((k, state))

    def _work_off(self) -> None:
        """Tell everything below the nodes that have ended; ends that follow join the list."""
        ends, children, gate = self._ends, self.graph.children, self.gate
        state, strict, nodes = self.state, self._strict, self.graph.nodes
        item_children, in_hand, selected = self.graph.item_children, self.in_hand, self._selected
        queues, lanes, priority = self.queues, self.lanes, self.graph.priority
        while ends:
            k, ended = ends.popleft()
            for c in children[k]:
                gate[c] -= 1
                if state[c] != PENDING:
                    if state[c] == RUNNING and not gate[c] and self.base[c] >= 0:
                        self._go_on(c)
                    continue
                if not strict[c]:
                    self._tell_loose(c, k, TaskState(ended))
                elif ended == SUCCESS:
                    if gate[c]:
                        continue
                    if nodes[c].mapped is None and not self._bad and not self._due:
                        if selected[c] and c not in in_hand:  # `_go`, spelled out
                            state[c] = QUEUED
                            queues[lanes[c]].push(priority[c], c, c + 1)
                            self._fresh.append(c)
                    else:
                        self._judge_strict(c)
                else:
                    self._judge_strict(c)
            if k in item_children:
                for c in item_children[k]:
                    if self.base[c] < 0 and state[c] == PENDING:
                        self._judge_one(c)
        self._flush_moved()

    def _go_on(self, k: int) -> None:
        """What the open items of an expanded map waited for was computed again, or could not be."""
        node = self.graph.nodes[k]
        sources = node.mapped.sources if node.mapped is not None else ()
        for u in node.upstream:
            handed = _HANDED_ON.get(TaskState(self.state[u])) if u not in sources else None
            if handed is not None and self._strict[k]:
                for tid in range(self.base[k], self.base[k] + self.count[k]):
                    if self.state[tid] == PENDING:
                        self._end_badly(tid, handed, u, "")
                return
        if self.open_items[k] and self._selected[k]:
            self._judge_items(k)

    def _tell_loose(self, c: int, k: int, ended: TaskState) -> None:
        if self.base[k] < 0:  # the items of an expanded map were counted one by one
            self._tallies[c][COLUMN[ended]] += 1
        self._ask_rule(c)

    def _item_ended(self, k: int, tid: int, state: TaskState) -> None:
        """Tell what follows a mapped node item by item, and what need not wait for all of it."""
        index = tid - self.base[k]
        for c in self.graph.item_children.get(k, ()):
            if self.base[c] < 0:
                continue
            child = self.base[c] + index
            self._item_wait[c][index] -= 1
            if self.state[child] == PENDING:
                self._judge_item(c, child)
        for c in self._loose_below.get(k, ()):
            self._tallies[c][COLUMN[state]] += 1
            if self.state[c] == PENDING:
                self._ask_rule(c)
        if state not in GOOD:
            for c in self.graph.eager.get(k, ()):
                if self._strict[c] and self.state[c] == PENDING:
                    self._judge_strict(c)

    def _ask_rule(self, c: int) -> None:
        counts = self._tallies[c]
        verdict = RULES[self._rules[c]](Tally.of(counts, 1 if self._waits(c) else 0))
        self._follow(c, verdict, -1)

    def _waits(self, c: int) -> bool:
        """True while a node above has not ended (or, followed item by item, has no items yet)."""
        if self.gate[c]:
            return True
        info = self.graph.nodes[c].mapped
        return info is not None and any(self.base[s] < 0 for s in info.sources
                                        if not IS_TERMINAL[self.state[s]])

    def _judge_strict(self, c: int) -> None:
        """A strict node starts when all above it succeeded, and ends at the first bad end."""
        node, state = self.graph.nodes[c], self.state
        sources = node.mapped.sources if node.mapped is not None else ()
        worst, cause = None, -1
        for u in node.upstream:
            handed = self._hands_on(u, u in sources)
            if handed is not None and (worst is None or _badness(handed) < _badness(worst)):
                worst, cause = handed, u
        if worst is not None:
            if state[c] == PENDING:
                self._end_badly(c, worst, cause, "")
        elif not self._waits(c):
            self._go(c)

    def _hands_on(self, u: int, followed: bool) -> TaskState | None:
        """The state that upstream node u forces on a strict node below; None: nothing bad yet."""
        if self.graph.nodes[u].mapped is not None and self.base[u] >= 0:
            if followed:
                return None  # each item below follows its own item
            bad = self._bad.get(u)
            if not bad:
                return None
            return (UPSTREAM_FAILED if bad[1] or bad[2] else CANCELLED if bad[4]
                    else SKIPPED if bad[3] else None)
        ended = TaskState(self.state[u])
        return _HANDED_ON.get(ended)

    def _judge_item(self, c: int, child: int) -> None:
        """An item that follows other items: start it, end it, or let it wait."""
        if self.gate[c]:
            return  # what all items need is computed again first: `_go_on` comes back to it
        index = child - self.base[c]
        info = self.graph.nodes[c].mapped
        assert info is not None
        if self._strict[c]:
            for s in info.sources:
                handed = _HANDED_ON.get(TaskState(self.state[self.base[s] + index]))
                if handed is not None:
                    self._end_badly(child, handed, self.base[s] + index, "")
                    return
            if not self._item_wait[c][index]:
                self._go(child)
            return
        counts = [0] * 5
        for s in info.sources:
            state = TaskState(self.state[self.base[s] + index])
            if IS_TERMINAL[state]:
                counts[COLUMN[state]] += 1
        waiting = self._item_wait[c][index]
        verdict = RULES[self._rules[c]](Tally.of(counts, waiting))
        self._follow(child, verdict, self.base[info.sources[0]] + index)

    def _follow(self, tid: int, verdict: bool | TaskState | None, cause: int) -> None:
        if verdict is RUN:
            self._go(tid)
        elif verdict is not None:
            self._end_badly(tid, TaskState(verdict), cause, "")

    def _go(self, tid: int) -> None:
        """Everything it waited for is there: queue it, or ask for its items."""
        k = self.node_of(tid)
        if not self._selected[k] or tid in self.in_hand:
            return
        if tid == k and self.graph.nodes[k].mapped is not None:
            if k not in self._expanding:
                self._asked += 1
                self._expanding[k] = self._asked
                self.asks.append(Expand(k, self._asked))
            return
        if self._due and tid in self._due:
            self._wait_on(tid)
        elif self.state[tid] == PENDING:
            self.state[tid] = QUEUED
            self._queue(tid, tid + 1, k)

    def _wait_on(self, tid: int) -> None:
        """The next try is due at the time that an earlier session set."""
        due, delay = self._due.pop(tid)
        self.state[tid] = UP_FOR_RETRY
        due = min(due, self._now + delay)
        heappush(self.timers, (due, tid, self.generation.get(tid, 1)))

    def _queue(self, start: int, stop: int, k: int, *, front: bool = False) -> None:
        self.queues[self.lanes[k]].push(self.graph.priority[k], start, stop, front=front)
        if stop - start == 1:
            self._fresh.append(start)
        else:
            self.changes.append(Moved(range(start, stop), QUEUED, -1, ""))

    def _flush_fresh(self) -> None:
        """Announce as QUEUED what became ready and was not handed out in the same step."""
        if self._fresh:
            state = self.state
            waiting = [t for t in self._fresh if state[t] == QUEUED]
            if waiting:
                self.changes.append(Moved(waiting, QUEUED, -1, ""))
            self._fresh.clear()

    def _flush_moved(self) -> None:
        if self._moved:
            for (state, cause, why), tids in self._moved.items():
                self.changes.append(Moved(tids, state, cause, why))
            self._moved.clear()

    # == maps ===============================================================================

    def awaits(self, ask: Expand) -> bool:
        """True unless what is asked for was cancelled, or its producer starts over."""
        return self._expanding.get(ask.node) == ask.number

    def expand(
        self,
        k: int,
        count: int,
        now: float,
        keys: Sequence[str] | None = None,
        marks: Sequence[Any] | None = None,
        carried: Sequence[tuple[int, int]] = (),
        barred: Sequence[int] = (),
    ) -> None:
        """Answer to `Expand`: mapped node k has `count` items.

        `marks` identify the items' values, for a later resume; `carried` pairs an item's
        index with the old id whose result it takes over; `barred` are the indexes of items
        that were cut short in an earlier session and must not be repeated.
        """
        if self._expanding.pop(k, None) is None:
            return
        base = len(self.state)
        self.base[k], self.count[k] = base, count
        self.state.extend(bytes(count))
        self.item_node.extend(array("i", [k]) * count)
        if keys is not None:
            self.keys[k] = keys
        moved = [(base + index, old) for index, old in carried]
        self.changes.append(Expanded(k, base, count, keys, marks, moved))
        for tid, old in moved:
            self.state[tid] = SUCCESS
            if old in self.generation:
                self.generation[tid] = self.generation[old]
        self.fail_interrupted([base + index for index in barred], now)
        self.state[k] = RUNNING
        self._count_items(k)
        self._tell_about_items(k)
        if self.open_items[k]:
            self._judge_items(k)
        else:
            self._group_ended(k)
        for c in self.graph.item_children.get(k, ()):
            if self.state[c] == PENDING:
                self._judge_one(c)
        self._work_off()
        self._check_over(now)

    def expansion_failed(self, k: int, error: ErrorInfo, now: float) -> None:
        """Answer to `Expand` where the items cannot be worked out: the mapped task fails."""
        if self._expanding.pop(k, None) is None:
            return
        attempt = Attempt(k, self.graph.nodes[k], -1, 1, self.generation.get(k, 1), None)
        attempt.start = attempt.end = now
        attempt.fail(error, FailureReason.ERROR, retryable=False)
        self.changes.append(Failed(attempt, FAILED, 0.0))
        self.failed.add(k)
        self._mark_ended(k, FAILED)
        self._work_off()
        self._check_over(now)

    def _tell_about_items(self, k: int) -> None:
        """Items carried over have ended: what counts items must know."""
        done = self.count[k] - self.open_items[k]
        for c in self._loose_below.get(k, ()):
            self._tallies[c][0] += done

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

    def _judge_items(self, k: int) -> None:
        base, count = self.base[k], self.count[k]
        info = self.graph.nodes[k].mapped
        assert info is not None
        if info.sources:
            for tid in range(base, base + count):
                if self.state[tid] == PENDING:
                    self._judge_item(k, tid)
            return
        for tid in [t for t in self._due if base <= t < base + count]:
            self._wait_on(tid)
        at, stop = base, base + count
        while True:
            at = self.state.find(PENDING, at, stop)
            if at < 0:
                return
            end = at
            while end < stop and self.state[end] == PENDING and end not in self.in_hand:
                end += 1
            if end > at:
                self.state[at:end] = bytes([QUEUED]) * (end - at)
                self._queue(at, end, k)
            at = end + 1

    # == limits and pauses ==================================================================

    def _park(self, node: Node, start: int, stop: int) -> bool:
        """Set a range aside if its node is paused or a limit has no room; True if it was."""
        where = ""
        if node.index in self.paused_nodes:
            where = f"pause:{node.index}"
        for name, wanted in node.spec.options.limits.items():
            if self.free[name] < wanted:
                where = where or name
        if where:
            self.parked.setdefault(where, []).append((start, stop))
        return bool(where)

    def _unpark(self, where: str) -> None:
        for start, stop in self.parked.pop(where, ()):
            k = self.node_of(start)
            self.queues[self.lanes[k]].push(self.graph.priority[k], start, stop, front=True)

    def _hold(self, node: Node) -> None:
        for name, wanted in node.spec.options.limits.items():
            self.free[name] -= wanted

    def _release(self, node: Node) -> None:
        for name, wanted in node.spec.options.limits.items():
            self.free[name] += wanted
            if name in self.parked:
                self._unpark(name)

    # == time ===============================================================================

    def tick(self, now: float) -> None:
        """Let the retries that are due be queued."""
        timers = self.timers
        while timers and timers[0][0] <= now:
            _, tid, generation = heappop(timers)
            if self.state[tid] == UP_FOR_RETRY and self.generation.get(tid, 1) == generation:
                self.state[tid] = QUEUED
                self._queue(tid, tid + 1, self.node_of(tid))
        self._flush_fresh()

    @property
    def next_due(self) -> float | None:
        """When `tick` next has something to do; None: never, as things stand."""
        return self.timers[0][0] if self.timers else None

    def announce(self, attempts: Sequence[Attempt]) -> None:
        """Attempts that have been running long enough to be shown."""
        self.changes.append(Started(attempts))

    # == people's commands ==================================================================

    def pause(self, now: float) -> bool:
        """Dispatch nothing more until `unpause`. What runs goes on. False: it was so already."""
        if self.paused or self.run_state is not RunState.RUNNING:
            return False
        self.paused = True
        self.run_state = RunState.PAUSED
        self.changes.append(RunMoved(RunState.PAUSED, "", now))
        return True

    def unpause(self, now: float) -> bool:
        """Undo `pause`. False: it was not paused."""
        if not self.paused:
            return False
        self.paused = False
        self.run_state = RunState.RUNNING
        self.changes.append(RunMoved(RunState.RUNNING, "", now))
        return True

    def pause_nodes(self, nodes: Iterable[int]) -> None:
        """Dispatch no more task runs of these nodes."""
        self.paused_nodes.update(nodes)

    def unpause_nodes(self, nodes: Iterable[int]) -> None:
        """Undo `pause_nodes`."""
        for k in nodes:
            self.paused_nodes.discard(k)
            self._unpark(f"pause:{k}")

    def cancel(self, tids: Iterable[int], now: float) -> int:
        """Cancel task runs that have not ended; returns how many. Groups mean all their items."""
        done = 0
        for tid in self._items_of(tids):
            state = TaskState(self.state[tid])
            if IS_TERMINAL[state] or state == CANCELLING:
                continue
            done += 1
            if tid in self.in_hand:
                self.state[tid] = CANCELLING
                self._moved.setdefault((CANCELLING, -1, ""), []).append(tid)
                self.asks.append(Stop(self.in_hand[tid], "cancel"))
            elif tid < self.graph.size and self.base[tid] >= 0:
                continue  # a group ends with its items
            else:
                self._expanding.pop(tid, None)
                self._end_badly(tid, CANCELLED, -1, "cancelled")
        self._work_off()
        self._check_over(now)
        return done

    def cancel_run(self, now: float) -> None:
        """Cancel everything that has not ended; the run becomes CANCELLED when all is quiet."""
        if self.halted == "cancel":
            return
        self.halted = "cancel"
        self.paused = False
        self.run_state = RunState.CANCELLING
        self.changes.append(RunMoved(RunState.CANCELLING, "", now))
        everything = [t for t in range(len(self.state)) if not IS_TERMINAL[self.state[t]]]
        self.cancel(everything, now)
        self._check_over(now)

    def drain(self, why: str, now: float, *, stop_running: bool) -> None:
        """Dispatch nothing more; with `stop_running`, end the attempts in hand too.

        The run becomes INTERRUPTED once nothing is in hand, and can be resumed.
        """
        if self.halted != "cancel":
            self.halted = "drain"
        if stop_running:
            self.asks.extend(Stop(a, "cancel") for a in self.in_hand.values())
        self._check_over(now)

    def interrupt_now(self, now: float) -> None:
        """End the session without waiting for what is in hand."""
        if not self.over:
            self.in_hand.clear()
            self.halted = "drain"
            self._end_run(RunState.INTERRUPTED, "", now)

    def retry(self, tids: Iterable[int], now: float) -> list[int]:
        """Run failed or cancelled task runs again, with all that they blocked or fed a failure.

        Returns the ids that were reset as asked; task runs in another state are left out.
        """
        roots = [
            t for t in self._items_of(tids)
            if self.state[t] in (FAILED, CANCELLED) and not self._is_group(t)
        ]
        self._reset(roots, "retry", now)
        return roots

    def rerun(self, tids: Iterable[int], now: float) -> list[int]:
        """Discard successes: run these task runs and everything downstream of them again."""
        roots = [
            t for t in self._items_of(tids)
            if self.state[t] in (SUCCESS, FAILED, CANCELLED, SKIPPED)
            and not self._is_group(t)
        ]
        self._reset(roots, "rerun", now)
        return roots

    def downstream(self, roots: Iterable[int]) -> list[int]:
        """The task runs that a reset of `roots` would reset too, roots first, in graph order."""
        found: dict[int, None] = {}
        todo = deque(roots)
        while todo:
            tid = todo.popleft()
            if tid in found:
                continue
            found[tid] = None
            k = self.node_of(tid)
            if tid != k:
                index = tid - self.base[k]
                for c in self.graph.item_children.get(k, ()):
                    todo.append(self.base[c] + index if self.base[c] >= 0 else c)
            else:
                todo.extend(self.graph.item_children.get(k, ()))
                if self.base[k] >= 0:
                    found.update(dict.fromkeys(range(self.base[k], self.base[k] + self.count[k])))
            todo.extend(self.graph.children[k])
        return list(found)

    def fail_interrupted(self, tids: Iterable[int], now: float) -> None:
        """Attempts that were running when the engine died, and must not be repeated."""
        for tid in tids:
            a = Attempt(tid, self.graph.nodes[self.node_of(tid)], -1, self.tries.get(tid, 1),
                        self.generation.get(tid, 1), None)
            a.start = a.end = now
            a.fail(
                ErrorInfo("Interrupted", "the engine died while it was running, and "
                          'on_interrupt="fail" forbids to run it again unasked; look at what it '
                          "has done, then `flowforge retry` it"),
                FailureReason.INTERRUPTED, retryable=False,
            )
            self.changes.append(Failed(a, FAILED, 0.0))
            self.state[tid] = FAILED
            self.failed.add(tid)

    def recompute(self, tids: Iterable[int], why: str) -> None:
        """Before `start`: run these again since their results are gone, and nothing else.

        Nobody discarded them, so the generation stands.
        """
        self._apply_reset(list(tids), [], why)

    def _reset(self, roots: list[int], why: str, now: float) -> None:
        if not roots:
            return
        below = self.downstream(roots)
        for t in below:
            self._expanding.pop(t, None)
        affected = [
            t for t in below
            if self.state[t] != PENDING or t in self.in_hand or self._is_group(t)
        ]
        bump = [t for t in affected if self.state[t] in GOOD and not self._is_group(t)]
        self._apply_reset(affected, bump, why)
        if self.run_state is RunState.PENDING:
            return  # `start` judges everything, once all that has to run again was reset
        nodes = sorted({self.node_of(t) for t in affected})
        around = sorted({*nodes, *(c for k in nodes for c in self.graph.below(k))})
        self._recount(around)
        self.open = self._count_open()
        if self.halted == "stop":
            self.halted = ""
        if self.run_state not in (RunState.RUNNING, RunState.PAUSED):
            self.run_state = RunState.RUNNING
            self.changes.append(RunMoved(RunState.RUNNING, why, now))
        self._judge_all(around)
        self._work_off()
        self._check_over(now)

    def _apply_reset(self, tids: list[int], bump: list[int], why: str) -> None:
        self.changes.append(Reset(tids, bump, why))
        for tid in tids:
            if self._is_group(tid):
                self._drop_items(tid)
                continue
            self.state[tid] = PENDING
            self.failed.discard(tid)
            self._due.pop(tid, None)
            self._forget_failures(tid)
            if tid in self.in_hand and tid not in self.doomed:
                self.doomed.add(tid)
                self.asks.append(Stop(self.in_hand[tid], "cancel"))
        for tid in bump:
            self.generation[tid] = self.generation.get(tid, 1) + 1
            self.tries.pop(tid, None)

    def _drop_items(self, k: int) -> None:
        """A group whose producer starts over: its items go, and are made anew."""
        for tid in range(self.base[k], self.base[k] + self.count[k]):
            self.failed.discard(tid)
            if tid in self.in_hand:
                self.doomed.add(tid)
                self.asks.append(Stop(self.in_hand[tid], "cancel"))
            self.state[tid] = CANCELLED
        self.state[k] = PENDING
        self.base[k], self.count[k] = -1, 0
        self.keys.pop(k, None)
        self._bad.pop(k, None)

    # == derived counters ===================================================================

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
                    self._moved.setdefault((now_is, -1, ""), []).append(k)
        for k in nodes:
            node = graph.nodes[k]
            sources = node.mapped.sources if node.mapped is not None else ()
            self.gate[k] = sum(
                1 for u in node.upstream if u not in sources and not IS_TERMINAL[state[u]]
            )
            if not self._strict[k]:
                self._tallies[k] = self._tally(node.upstream, sources)

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

    def _judge_all(self, nodes: Iterable[int]) -> None:
        for k in nodes:
            if self.base[k] < 0 and self._strict[k] and not self.graph.nodes[k].upstream:
                if self.state[k] == PENDING:
                    self._go(k)
            elif self.base[k] >= 0:
                if self.open_items[k] and self._selected[k] and not self.gate[k]:
                    self._judge_items(k)
            elif self.state[k] == PENDING:
                self._judge_one(k)

    def _judge_one(self, tid: int) -> None:
        k = self.node_of(tid)
        if tid != k:
            info = self.graph.nodes[k].mapped
            if info is not None and info.sources:
                self._judge_item(k, tid)
            elif not self.gate[k]:
                self._go(tid)
        elif self._strict[k]:
            self._judge_strict(k)
        else:
            self._ask_rule(k)

    # == ids ================================================================================

    def node_of(self, tid: int) -> int:
        """The node of a task run."""
        return tid if tid < self.graph.size else self.item_node[tid - self.graph.size]

    def _is_group(self, tid: int) -> bool:
        return tid < self.graph.size and self.base[tid] >= 0

    def _items_of(self, tids: Iterable[int]) -> list[int]:
        """The ids, each expanded group replaced by its items."""
        out: dict[int, None] = {}
        for tid in tids:
            if self._is_group(tid):
                out.update(dict.fromkeys(range(self.base[tid], self.base[tid] + self.count[tid])))
            else:
                out[tid] = None
        return list(out)

    # == the end ============================================================================

    def _check_over(self, now: float) -> None:
        """End the run if nothing is left, or nothing more will be dispatched."""
        self._flush_moved()
        if self.in_hand or self.over or self.run_state is RunState.PENDING:
            return
        if self.halted == "drain" and self.open:
            self._end_run(RunState.INTERRUPTED, "", now)
        elif not self.open or self.halted in ("stop", "cancel"):
            self._end_run(self._verdict(), self.halted if self.halted == "stop" else "", now)

    def _end_run(self, state: RunState, why: str, now: float) -> None:
        self._flush_fresh()
        self.paused = False
        self.run_state = state
        self.changes.append(RunMoved(state, why, now))

    def _verdict(self) -> RunState:
        if self.halted == "cancel":
            return RunState.CANCELLED
        if any(not self._handled(t) for t in self.failed):
            return RunState.FAILED
        if self.halted == "stop":
            return RunState.FAILED
        if self.state.find(CANCELLED, 0, self.graph.size) >= 0:
            return RunState.CANCELLED
        if self.graph.size and not all(self._selected):
            return RunState.PAUSED
        return RunState.SUCCESS

    def _handled(self, tid: int) -> bool:
        """True if a task right below that expects failures succeeded."""
        k = self.node_of(tid)
        for c in self.graph.children[k]:
            if self._rules[c] in HANDLES_FAILURE and self.state[c] == SUCCESS:
                return True
        if tid == k:
            return False
        index = tid - self.base[k]
        return any(
            self._rules[c] in HANDLES_FAILURE and self.base[c] >= 0
            and self.state[self.base[c] + index] == SUCCESS
            for c in self.graph.item_children.get(k, ())
        )

    @property
    def over(self) -> bool:
        """True once the run has ended and nothing is in hand.

        PAUSED is an end too where nobody paused it: all that was selected is done.
        """
        if self.run_state is RunState.PAUSED:
            return not self.paused
        return self.run_state not in LIVE_RUN

    def waits_for(self, tid: int) -> str:
        """Why a task run that is QUEUED is not running yet: a worker, a limit, or a pause."""
        if self.paused:
            return "the run is paused"
        k = self.node_of(tid)
        if k in self.paused_nodes:
            return "the task is paused"
        for name, wanted in self.graph.nodes[k].spec.options.limits.items():
            if self.free[name] < wanted:
                return f"limit {name}"
        return "a worker"


def _fitting(seconds: float, cost: float, share: int) -> int:
    """How many task runs of that measured cost fit into a batch."""
    if seconds == INFINITE or cost == 0:
        return share
    return max(1, int(seconds / cost)) if cost > 0 else 1


def _badness(state: TaskState) -> int:
    return (UPSTREAM_FAILED, CANCELLED, SKIPPED).index(state)
