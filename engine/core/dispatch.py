"""The way of an attempt: handed out, handed back, tried again; and the end of a run.

Rule 1: an outcome counts only for the attempt in hand (`in_hand[tid] is attempt`); whatever
        comes late is dropped without further rules.
Rule 2: `finish` and `take` are the hot path, about a microsecond a task together, and spelled
        out for that; everything else may take its time.
Rule 3: a worker's death is not the task's failure until it happens twice in a row.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from itertools import repeat
from typing import Any

from engine.core.events import (
    Attempt,
    ErrorInfo,
    Expand,
    Expanded,
    Failed,
    Ran,
    Reset,
    RunMoved,
    Started,
    Stop,
    Succeeded,
)
from engine.core.nodes import Node
from engine.core.record import inherit
from engine.core.rules import HANDLES_FAILURE
from engine.core.spread import Spread
from engine.core.states import (
    CANCELLED,
    CANCELLING,
    FAILED,
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
)

#: A worker that dies twice in a row over one task run takes the blame to the task.
CRASHES_ALLOWED = 1

#: What is told of an attempt that was cut short and must not be repeated.
NOT_AGAIN = ('on_interrupt="fail" forbids to run it again unasked; look at what it has done, then '
             "`flowforge retry` it")

INFINITE = float("inf")

#: Seconds that a task run takes beyond its function, in batches. Left out, a batch of no-ops that
#: was to take 2 ms took 15.
OWN = 2e-6


class Dispatch(Spread):
    """Start, outcomes in, work out, retries, and the verdict."""

    batch_seconds = 0.0
    """Seconds that the last batch is measured to take; INFINITE with one not measured yet."""

    # == start =============================================================================

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
            self.gate = self.graph.gate[:]
            self.open = self._selected.count(1)
            # Nothing has ended: only what waits for nothing, or follows a loose rule, can move.
            strict = self._strict
            self._judge_all(
                [k for k, waits in enumerate(self.gate) if not waits or not strict[k]])
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

    # == the hot path ======================================================================

    def finish(self, attempts: Iterable[Attempt], now: float) -> None:
        """Take in the outcomes of attempts. Late and unknown ones are dropped."""
        in_hand, state, slot_of, cost = self.in_hand, self.state, self._slot, self.cost
        open_items, item_children = self.open_items, self.graph.item_children
        loose, doomed, solo, tries = self._loose_below, self.doomed, self._solo, self.tries
        children, ends, over = self.graph.children, self._ends, self.ended
        succeeded: list[Attempt] = []
        for a in attempts:
            tid = a.tid
            held = in_hand.pop(tid, None)
            if held is not a:
                if held is not None:
                    in_hand[tid] = held
                continue
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
        size, node_of, nodes = self.graph.size, self.item_node, self.graph.nodes
        solo, slot_of, cost_of, paused = self._solo, self._slot, self.cost, self.paused_nodes
        budget = seconds
        while seconds > 0 and share > 0:
            got = queue.pop(share)
            if got is None:
                break
            start, stop, priority = got
            k = start if start < size else node_of[start - size]
            node = nodes[k]
            if solo[k] or paused:
                cut = self._alike(start, stop) if paused and start < size else stop
                if cut < stop:
                    queue.push(priority, cut, stop, front=True)
                    stop = cut
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
            self._hand_out(start, stop, now, out)
            share -= stop - start
            if solo[k]:
                if out and out[-1].tid == start:
                    self._hold(node)
                    if node.spec.options.on_interrupt == "fail":
                        self.changes.append(Started([out[-1]]))
                    break
                continue
            if seconds != INFINITE:
                seconds = seconds - (cost + OWN) * (stop - start) if cost >= 0 else -INFINITE
        self.batch_seconds = budget - seconds
        self._flush_fresh()
        return out

    def _hand_out(self, start: int, stop: int, now: float, out: list[Attempt]) -> None:
        """Make attempts of a range: of what is still queued, and not in hand."""
        state, in_hand, hand_out = self.state, self.in_hand, out.append
        first_tries = not self.tries and not self.generation
        tids, k = range(start, stop), self.node_of(start)
        calls: Iterable[tuple[int, Node, int]]
        if k == start:
            calls = zip(tids, self.graph.nodes[start:stop], repeat(-1))
        else:
            first = self.base[k]
            calls = zip(tids, repeat(self.graph.nodes[k]), range(start - first, stop - first))
        spec, plain = None, False
        for tid, node, index in calls:
            if state[tid] != QUEUED or tid in in_hand:
                continue
            if node.spec is not spec:  # with code taken over meanwhile, neighbours may differ
                spec = node.spec
                plain = (first_tries and spec.options.timeout is None
                         and spec.options.deadline is None)
            state[tid] = RUNNING
            if plain:
                a = Attempt(tid, node, index, 1, 1, None)
            else:
                a = self._attempt(tid, node, index, now)
            in_hand[tid] = a
            hand_out(a)

    def cost_of_next(self, lane: str) -> float:
        """Seconds that the next task run of a lane is measured to take; -1: not known."""
        queue = self.queues.get(lane)
        first = queue.first if queue is not None else -1
        return self.cost[self._slot[self.node_of(first)]] if first >= 0 else -1.0

    def _attempt(self, tid: int, node: Node, index: int, now: float) -> Attempt:
        options = node.spec.options
        timeout = options.timeout
        if options.deadline is not None:
            left = self.first_start.setdefault(tid, now) + options.deadline - now
            timeout = left if timeout is None else min(timeout, left)
        return Attempt(
            tid, node, index, self.tries.get(tid, 0) + 1, self.generation.get(tid, 1), timeout
        )

    # == ends that are not plain successes =================================================

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
            if tid not in self.tries:
                self.first_start.pop(tid, None)  # it has not begun: its deadline has not, either
        elif self.halted == "drain" and status is CANCELLED:
            self.tries[tid] = a.number  # interrupted: runs again on resume, uncharged
        elif self.state[tid] == CANCELLING:
            self._cancelled(a, "cancelled while running", now)
        elif status is FAILED:
            self._attempt_failed(a, now)
        elif status is SKIPPED:
            self._end_badly(tid, SKIPPED, -1, str(a.reason))
        else:
            self._cancelled(a, str(getattr(a, "reason", "")), now)

    def _cancelled(self, a: Attempt, why: str, now: float) -> None:
        self.tries[a.tid] = a.number
        ran = Ran(a.number, a.generation, a.start, a.end or now) if a.start else None
        self._end_badly(a.tid, CANCELLED, -1, why, ran)

    def _attempt_failed(self, a: Attempt, now: float) -> None:
        tid, options = a.tid, a.node.spec.options
        self.tries[tid] = a.number
        delay: float | None
        if a.reason == FailureReason.CRASHED:
            self.crashes[tid] = self.crashes.get(tid, 0) + 1
            again = self.crashes[tid] <= CRASHES_ALLOWED and options.on_interrupt != "fail"
            delay = 0.0 if again else None
            if options.on_interrupt == "fail":
                # What a dead worker had done by then is unknown: at most once means not again,
                # on a resume neither.
                a.reason = FailureReason.INTERRUPTED
                a.error = a.error._replace(message=f"{a.error.message}; {NOT_AGAIN}")
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

    def fail_interrupted(self, tids: Iterable[int], now: float) -> None:
        """Attempts that were running when the engine died, and must not be repeated."""
        for tid in tids:
            a = Attempt(tid, self.graph.nodes[self.node_of(tid)], -1, self.tries.get(tid, 1),
                        self.generation.get(tid, 1), None)
            a.start = a.end = now
            a.fail(
                ErrorInfo("Interrupted", f"the engine died while it was running; {NOT_AGAIN}"),
                FailureReason.INTERRUPTED, retryable=False,
            )
            self.changes.append(Failed(a, FAILED, 0.0))
            self.state[tid] = FAILED
            self.failed.add(tid)

    def _forget_failures(self, tid: int) -> None:
        self.crashes.pop(tid, None)
        self.failures.pop(tid, None)
        self.first_start.pop(tid, None)

    # == maps ==============================================================================

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
        before = self._dropped.pop(k, None)
        inherit(self.generation, k, before, base, count, keys)
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

    # == time ==============================================================================

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

    # == starting over =====================================================================

    def _apply_reset(self, tids: list[int], bump: list[int], why: str) -> None:
        self.changes.append(Reset(tids, bump, why))
        for tid in tids:
            if self._is_group(tid):
                self._drop_items(tid)
                continue
            if not self._is_live(tid):
                continue  # went with its group just now
            self.state[tid] = PENDING
            self.failed.discard(tid)
            self._due.pop(tid, None)
            self._forget_failures(tid)
            if tid in self.in_hand and tid not in self.doomed:
                self._doom(tid)
        for tid in bump:
            self.generation[tid] = self.generation.get(tid, 1) + 1
            self.tries.pop(tid, None)

    def _doom(self, tid: int) -> None:
        """An attempt in hand counts no more. It is marked before its inputs are let go: one that
        has not begun must not begin without them.
        """
        attempt = self.in_hand[tid]
        attempt.cancelled = True
        self.doomed.add(tid)
        self.asks.append(Stop(attempt, "cancel"))

    def _drop_items(self, k: int) -> None:
        """A group whose producer starts over: its items go, and are made anew."""
        for tid in range(self.base[k], self.base[k] + self.count[k]):
            self.failed.discard(tid)
            if tid in self.in_hand and tid not in self.doomed:
                self._doom(tid)
            self.state[tid] = CANCELLED
        self.state[k] = PENDING
        self._dropped[k] = self.base[k], self.count[k], self.keys.pop(k, None)
        self.base[k], self.count[k] = -1, 0
        self._bad.pop(k, None)

    # == the end ===========================================================================

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


def _fitting(seconds: float, cost: float, share: int) -> int:
    """How many task runs of that measured cost fit into a batch."""
    if seconds == INFINITE:
        return share
    return max(1, int(seconds / (cost + OWN))) if cost >= 0 else 1
