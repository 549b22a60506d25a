"""What an end means for everything below it.

Rule 1: a strict node (`all_success`) starts when its gate is zero and ends at the first bad end
        above it; a loose one keeps a tally and asks its rule.
Rule 2: no recursion. Ends are worked off from a list, so that a failure at the head of a chain
        of 100,000 is an ordinary step.
Rule 3: what becomes ready is queued here, and announced unless it is handed out in the same
        step; what ends without an attempt is gathered, and told in one change a cause.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappush

from engine.core.board import Board
from engine.core.events import (
    Expand,
    Moved,
    Ran,
)
from engine.core.nodes import MapInfo, Node
from engine.core.rules import COLUMN, RULES, RUN, Tally
from engine.core.states import (
    CANCELLED,
    FAILED,
    GOOD,
    IS_TERMINAL,
    PENDING,
    QUEUED,
    RUNNING,
    SKIPPED,
    SUCCESS,
    UP_FOR_RETRY,
    UPSTREAM_FAILED,
    TaskState,
)

#: What a bad end does to a strict node below it.
_HANDED_ON = {
    FAILED: UPSTREAM_FAILED,
    UPSTREAM_FAILED: UPSTREAM_FAILED,
    SKIPPED: SKIPPED,
    CANCELLED: CANCELLED,
}


class Spread(Board):
    """Propagation of ends, queueing, limits."""

    # == ends ==============================================================================

    def _end_badly(
        self, tid: int, state: TaskState, cause: int, why: str, ran: Ran | None = None
    ) -> None:
        self._moved.setdefault((state, cause, why, ran), []).append(tid)
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
        self._moved.setdefault((state, -1, "", None), []).append(k)
        self._node_ended(k, state)

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
        ready: list[int] = []
        while ends:
            k, ended = ends.popleft()
            good = ended == SUCCESS
            for c in children[k]:
                left = gate[c] = gate[c] - 1
                if left and good and strict[c]:
                    continue
                if state[c] != PENDING:
                    if state[c] == RUNNING and not left and self.base[c] >= 0:
                        self._go_on(c)
                    continue
                if not strict[c]:
                    self._tell_loose(c, k, TaskState(ended))
                elif good:
                    if nodes[c].mapped is None and not self._bad and not self._due:
                        if selected[c] and c not in in_hand:  # `_go`, spelled out
                            state[c] = QUEUED
                            ready.append(c)
                    else:
                        self._judge_strict(c)
                else:
                    self._judge_strict(c)
            if k in item_children:
                for c in item_children[k]:
                    if self.base[c] < 0 and state[c] == PENDING:
                        self._judge_one(c)
        if ready:
            self._queue_nodes(ready)
        self._flush_moved()

    def _go_on(self, k: int) -> None:
        """What the open items of an expanded map wait for is there, or will not come."""
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

    # == verdicts ==========================================================================

    def _ask_rule(self, c: int) -> None:
        if self._follows_items_alone(c):
            self._go(c)  # each item's rule judges by the items that it follows
            return
        counts = self._tallies[c]
        verdict = RULES[self._rules[c]](Tally.of(counts, 1 if self._waits(c) else 0))
        self._follow(c, verdict, -1)

    def _follows_items_alone(self, c: int) -> bool:
        """True for a map that waits for nothing but maps which it follows, and which have items."""
        node = self.graph.nodes[c]
        sources = node.mapped.sources if node.mapped is not None else ()
        return len(sources) == len(node.upstream) > 0 and all(self.base[s] >= 0 for s in sources)

    def _waits(self, c: int) -> bool:
        """True while a node above has not ended (or, followed item by item, has no items yet)."""
        if self.gate[c]:
            return True
        info = self.graph.nodes[c].mapped
        return info is not None and self._unmade(info)

    def _unmade(self, info: MapInfo) -> bool:
        """True while a map that is followed item by item has no items yet."""
        return any(self.base[s] < 0 and not IS_TERMINAL[self.state[s]] for s in info.sources)

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

    def _judge_all(self, nodes: Iterable[int]) -> None:
        base, strict, state, graph = self.base, self._strict, self.state, self.graph.nodes
        selected, in_hand, due = self._selected, self.in_hand, self._due
        ready: list[int] = []
        for k in nodes:
            if base[k] >= 0:
                if self.open_items[k] and not self.gate[k]:
                    self._go_on(k)
            elif state[k] != PENDING:
                continue
            elif not strict[k] or (node := graph[k]).upstream:
                self._judge_one(k)
            elif node.mapped is not None or due:
                self._go(k)
            elif selected[k] and k not in in_hand:  # `_go`, spelled out
                state[k] = QUEUED
                ready.append(k)
        if ready:
            self._queue_nodes(ready)

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

    # == queueing ==========================================================================

    def _go(self, tid: int) -> None:
        """Everything it waited for is there: queue it, or ask for its items."""
        k = self.node_of(tid)
        if not self._selected[k] or tid in self.in_hand:
            return
        if tid == k and (info := self.graph.nodes[k].mapped) is not None:
            if self._unmade(info):
                return  # whatever its rule: it has as many items as they will
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

    def _queue_nodes(self, ready: list[int]) -> None:
        """Queue plain nodes as they were defined, neighbours that are calls of one task as one
        range: in the queue, in a worker's batch, and in the journal's row."""
        ready.sort()
        self._fresh += ready
        priority, slot_of, queues, lanes = self.graph.priority, self._slot, self.queues, self.lanes
        start = ready[0]
        stop, weight, slot = start, priority[start], slot_of[start]
        for k in ready:
            if k != stop or priority[k] != weight or slot_of[k] != slot:
                queues[lanes[start]].push(weight, start, stop)
                start, weight, slot = k, priority[k], slot_of[k]
            stop = k + 1
        queues[lanes[start]].push(weight, start, stop)

    def _flush_fresh(self) -> None:
        """Announce as QUEUED what became ready and was not handed out in the same step."""
        if self._fresh:
            state = self.state
            waiting = [t for t in self._fresh if state[t] == QUEUED]
            if waiting:
                row = range(waiting[0], waiting[0] + len(waiting))
                told = row if waiting == [*row] else waiting  # a range is told and taken in at once
                self.changes.append(Moved(told, QUEUED, -1, ""))
            self._fresh.clear()

    def _flush_moved(self) -> None:
        if self._moved:
            for (state, cause, why, ran), tids in self._moved.items():
                self.changes.append(Moved(tids, state, cause, why, ran))
            self._moved.clear()

    # == limits and pauses =================================================================

    def _alike(self, start: int, stop: int) -> int:
        """Where the first calls of a range end that are paused, or not, all of them."""
        paused = self.paused_nodes
        if start in paused:
            return start + 1
        few, many = sorted((paused, range(start, stop)), key=len)
        return min((k for k in few if k in many), default=stop)

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
        for start, stop in reversed(self.parked.pop(where, ())):  # the first of them goes first
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

    # == maps ==============================================================================

    def _tell_about_items(self, k: int) -> None:
        """Items carried over have ended: what counts items must know."""
        done = self.count[k] - self.open_items[k]
        for c in self._loose_below.get(k, ()):
            self._tallies[c][0] += done


def _badness(state: TaskState) -> int:
    return (UPSTREAM_FAILED, CANCELLED, SKIPPED).index(state)
