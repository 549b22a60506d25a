"""The scheduler: a pure state machine over integer-indexed task runs.

Rule 1: everything that happens enters through a public method, under the runner's lock, with
        the time as an argument; what follows from it leaves as `changes` (to be recorded) and
        `asks` (for the runner to do). No clock, thread, file or user code.
Rule 2: the machine is read from the ground up: `board` (the columns), `spread` (what an end
        means below), `dispatch` (attempts out and in), and here what people may ask for.
Rule 3: a reset starts over what was asked for and everything that was built upon it, at once
        and in one change; an attempt of it that is still in hand is doomed: its outcome will
        not count, and nothing of it starts again before it is back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from engine.core.dispatch import INFINITE, OWN, Dispatch
from engine.core.events import (
    Restored,
    RunMoved,
    Stop,
)
from engine.core.states import (
    CANCELLED,
    CANCELLING,
    FAILED,
    GOOD,
    IS_TERMINAL,
    PENDING,
    RUNNING,
    SKIPPED,
    SUCCESS,
    UP_FOR_RETRY,
    RunState,
    TaskState,
)

__all__ = ["INFINITE", "OWN", "Machine"]


class Taken(NamedTuple):
    """What a reset took from task runs, so that it can be taken back."""

    tids: list[int]
    bump: list[int]
    states: bytes
    columns: dict[str, dict[int, Any]]
    failed: frozenset[int]
    groups: dict[int, tuple[int, int, Sequence[str] | None]]
    halted: str
    final: bool
    """Something of it was in hand, or due: it cannot be taken back."""


#: States that only an attempt since the reset can have brought.
_STARTED = frozenset({RUNNING, CANCELLING, UP_FOR_RETRY, FAILED, *GOOD})
#: What is kept of some task runs, by id, and goes with a reset.
_RARE = ("tries", "generation", "failures", "crashes", "first_start")


class Machine(Dispatch):
    """The state of one run and the rules by which it moves.

    `lanes[node]` names the executor of each node; `limits` gives the tokens of each named
    limit; `random` returns floats in [0, 1) for jitter.
    """

    taken: Taken | None = None
    """What the last reset took."""

    # == the run as a whole ================================================================

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

    def cancel_run(self, now: float) -> None:
        """Cancel everything that has not ended; the run becomes CANCELLED when all is quiet."""
        if self.halted == "cancel":
            return
        self.halted = "cancel"
        self.paused = False
        self.run_state = RunState.CANCELLING
        self.changes.append(RunMoved(RunState.CANCELLING, "", now))
        everything = [t for t in range(len(self.state))
                      if not IS_TERMINAL[self.state[t]] and self._is_live(t)]
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

    # == some task runs ====================================================================

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
        for tid in self.items_of(tids):
            state = TaskState(self.state[tid])
            if IS_TERMINAL[state] or state == CANCELLING:
                continue
            done += 1
            if tid in self.in_hand and tid not in self.doomed:  # else it stops already
                self.state[tid] = CANCELLING
                self._moved.setdefault((CANCELLING, -1, "", None), []).append(tid)
                self.asks.append(Stop(self.in_hand[tid], "cancel"))
            elif tid < self.graph.size and self.base[tid] >= 0:
                continue  # a group ends with its items
            else:
                self._expanding.pop(tid, None)
                self._end_badly(tid, CANCELLED, -1, "cancelled")
        self._work_off()
        self._check_over(now)
        return done

    def cancelled(self) -> list[int]:
        """The task runs that are CANCELLED."""
        return [t for t, s in enumerate(self.state) if s == CANCELLED and self._is_live(t)]

    def retry(self, tids: Iterable[int], now: float) -> list[int]:
        """Run failed or cancelled task runs again, with all that they blocked or fed a failure.

        Returns the ids that were reset as asked; task runs in another state are left out.
        """
        roots = [
            t for t in self.items_of(tids)
            if self.state[t] in (FAILED, CANCELLED) and not self._is_group(t)
        ]
        self._reset(roots, "retry", now)
        return roots

    def rerun(self, tids: Iterable[int], now: float) -> list[int]:
        """Discard successes: run these task runs and everything downstream of them again."""
        roots = [
            t for t in self.items_of(tids)
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

    # == taking back ========================================================================

    def _remember(self, tids: list[int], bump: list[int]) -> Taken:
        state = self.state
        groups = {t: (self.base[t], self.count[t], self.keys.get(t))
                  for t in tids if self._is_group(t)}
        columns = {name: {t: column[t] for t in tids if t in column}
                   for name in _RARE for column in (getattr(self, name),)}
        final = any(t in self.in_hand or state[t] == UP_FOR_RETRY for t in tids)
        return Taken(tids, bump, bytes(state[t] for t in tids), columns,
                     frozenset(t for t in tids if t in self.failed), groups, self.halted, final)

    def moved_on(self) -> int | None:
        """What keeps the last reset from being taken back: a task run that has started."""
        assert self.taken is not None
        return next(filter(self.has_started, self.taken.tids), None)

    def has_started(self, tid: int) -> bool:
        """True if an attempt of it has begun since it was last reset, or it was expanded."""
        return tid in self.in_hand or self.state[tid] in _STARTED or self._is_group(tid)

    def take_back(self, restored: Restored, now: float) -> None:
        """Undo the last reset, of which nothing has started; `restored` is recorded for it."""
        taken, self.taken = self.taken, None
        assert taken is not None
        for tid, state in zip(taken.tids, taken.states, strict=True):
            self._expanding.pop(tid, None)
            self.state[tid] = state if IS_TERMINAL[state] else PENDING
        for k, (base, count, keys) in taken.groups.items():
            self.base[k], self.count[k] = base, count
            if keys is not None:
                self.keys[k] = keys
        for name, kept in taken.columns.items():
            column = getattr(self, name)
            for tid in taken.tids:
                column.pop(tid, None)
            column.update(kept)
        self.failed |= taken.failed
        self.halted = taken.halted if taken.halted == "stop" else self.halted
        self.changes.append(restored)
        self._go_on_from(taken.tids, now)

    # == before a resumed run starts =======================================================

    def recompute(self, tids: Iterable[int], why: str) -> None:
        """Run these again since their results are gone, and nothing else.

        Nobody discarded them, so the generation stands.
        """
        self._apply_reset(list(tids), [], why)

    # == starting over =====================================================================

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
        self.taken = self._remember(affected, bump)
        self._apply_reset(affected, bump, why)
        if self.run_state is RunState.PENDING:
            return  # `start` judges everything, once all that has to run again was reset
        lost = self.lost()
        if lost:
            self.recompute(lost, "its result is needed again and was not kept")
            affected += lost
        if self.halted == "stop" or self.over:
            self.halted = ""
        if self.run_state not in (RunState.RUNNING, RunState.PAUSED):
            self.run_state = RunState.RUNNING
            self.changes.append(RunMoved(RunState.RUNNING, why, now))
        self._go_on_from(affected, now)

    def _go_on_from(self, affected: list[int], now: float) -> None:
        """States were set from outside: derive what rests on them, and see what can run."""
        nodes = sorted({self.node_of(t) for t in affected})
        around = sorted({*nodes, *(c for k in nodes for c in self.graph.below(k))})
        self._recount(around)
        self.open = self._count_open()
        self._judge_all(around)
        self._work_off()
        self._check_over(now)
