"""What is known of a run: a pure fold over its changes, in columns.

Rule 1: the journal is the authority; a record is what you get by folding it. A live run, a
        resume, `flowforge show` and a replay all use this one fold.
Rule 2: columns are indexed by task-run id, and an id keeps its meaning until the workflow
        itself changes (`regraph`).
Rule 3: stored values are opaque here: scalars as they are, the rest encoded.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from engine.core.events import ErrorInfo, Ran
from engine.core.states import (
    FAILED,
    PENDING,
    RUNNING,
    SUCCESS,
    FailureReason,
    RunState,
    TaskState,
)

NO_VALUE: Any = type("NoValue", (), {"__repr__": lambda self: "NO_VALUE", "__slots__": ()})()
"""Stands in `values` where no result is recorded."""


#: Task runs of a run, at most. A forged journal could claim more, and 31 bytes go with each.
MOST_IDS = 50_000_000


def rested_since(
    before: RunState, ended: float, last_seen: Callable[[], float]
) -> float | None:
    """Since when a run that now takes the state RUNNING has not run; None if it has.

    It had the state `before`; `ended`: when it took that, if it has ended. Without an end that
    is recorded, its owner was killed some time after it was `last_seen`.
    """
    if before in (RunState.PENDING, RunState.PAUSED):
        return None
    killed = before in (RunState.RUNNING, RunState.CANCELLING)
    return last_seen() if killed or not ended else ended


class RunRecord:
    """Columns of one run. Times are seconds since the epoch; 0.0 means not known."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        """How many nodes the workflow has; ids from here on are items of maps."""
        self.state = bytearray(size)
        self.number = array("I", bytes(4 * size))
        """The last attempt's number; 0: none yet."""
        self.start = array("d", bytes(8 * size))
        self.end = array("d", bytes(8 * size))
        self.values: list[Any] = [NO_VALUE] * size
        self.item_node = array("i")
        self.expansions: dict[int, tuple[int, int, Sequence[str] | None]] = {}
        """Mapped node → (first item's id, number of items, their names)."""
        self.marks: dict[int, Sequence[Any]] = {}
        self.previous: dict[int, tuple[int, int, Sequence[str] | None, Sequence[Any] | None]] = {}
        """Mapped node → its expansion before the producer started over, for matching items."""
        self.generation: dict[int, int] = {}
        self.failures: dict[int, int] = {}
        self.errors: dict[int, tuple[str, ErrorInfo]] = {}
        """(reason, error) of the last failed attempt."""
        self.why: dict[int, tuple[int, str]] = {}
        """(cause's id, text) of a state that no attempt decided."""
        self.due: dict[int, float] = {}
        self.run_state = RunState.PENDING
        self.run_why = ""
        self.began = 0.0
        self.ended = 0.0
        self.rests: list[tuple[float, float]] = []
        """From when to when it did not run: between its sessions, and after its end before somebody
        went on with it."""

    # -- reading ----------------------------------------------------------------------------

    def state_of(self, tid: int) -> TaskState:
        return TaskState(self.state[tid])

    def node_of(self, tid: int) -> int:
        """The node of a task run."""
        return tid if tid < self.size else self.item_node[tid - self.size]

    def expansion(self, node: int) -> tuple[int, int, Sequence[str] | None] | None:
        """(first id, count, names) of a mapped node's items; None before it is expanded."""
        return self.expansions.get(node)

    def live_ids(self) -> Iterable[int]:
        """Ids of the nodes and of the items of current expansions; groups are left out."""
        for k in range(self.size):
            spread = self.expansions.get(k)
            if spread is None:
                yield k
            else:
                yield from range(spread[0], spread[0] + spread[1])

    def counts(self) -> dict[TaskState, int]:
        """How many task runs are in each state; a mapped task counts by its items."""
        total = dict.fromkeys(TaskState, 0)
        plain = bytearray(self.state[: self.size])
        for k, (base, count, _) in self.expansions.items():
            plain[k] = 255
            items = self.state[base:base + count]
            for s in TaskState:
                total[s] += items.count(s)
        for s in TaskState:
            total[s] += plain.count(s)
        return total

    # -- folding: one method a change -------------------------------------------------------

    def succeeded(
        self,
        tids: Sequence[int],
        numbers: Sequence[int] | None,
        starts: Sequence[float],
        ends: Sequence[float],
        values: list[Any],
    ) -> None:
        """A batch of successes; `numbers` None: all first attempts."""
        n = len(tids)
        first = tids[0]
        if isinstance(tids, range):
            self._check_known(tids)
        if isinstance(tids, range) and isinstance(starts, array) and isinstance(ends, array):
            cut = slice(first, first + n)
            self.state[cut] = bytes([SUCCESS]) * n
            self.number[cut] = array("I", numbers or [1]) * (1 if numbers else n)
            self.start[cut], self.end[cut] = starts, ends
            self.values[cut] = values
        else:
            state, number, start, end, kept = (
                self.state, self.number, self.start, self.end, self.values)
            for i, tid in enumerate(tids):
                state[tid] = SUCCESS
                number[tid] = numbers[i] if numbers else 1
                start[tid] = starts[i]
                end[tid] = ends[i]
                kept[tid] = values[i]
        if self.errors or self.failures or self.due:
            for tid in tids:
                self.failures.pop(tid, None)
                self.errors.pop(tid, None)
                self.due.pop(tid, None)

    def failed(
        self, tid: int, state: TaskState, number: int, start: float, end: float,
        reason: str, error: ErrorInfo, due: float, counts: bool,
    ) -> None:
        """An attempt failed; `counts` False: it spends none of the task's retries."""
        self.state[tid] = state
        self.number[tid] = number
        self.start[tid], self.end[tid] = start, end
        self.errors[tid] = (reason, error)
        if counts:
            self.failures[tid] = self.failures.get(tid, 0) + 1
        self.due.pop(tid, None)
        if due:
            self.due[tid] = due

    def started(self, tids: Sequence[int], numbers: Sequence[int], starts: Sequence[float]) -> None:
        """Attempts are running."""
        for tid, number, start in zip(tids, numbers, starts, strict=True):
            self.state[tid] = RUNNING
            self.number[tid], self.start[tid], self.end[tid] = number, start, 0.0

    def moved(
        self, tids: Sequence[int], state: TaskState, cause: int, why: str, ran: Ran | None = None
    ) -> None:
        """Task runs took a state; `ran`: the attempt that this ended."""
        if ran is not None:
            for tid in tids:
                self.number[tid], self.start[tid], self.end[tid] = ran.number, ran.start, ran.end
        if isinstance(tids, range) and tids:
            self._check_known(tids)
            self.state[tids.start:tids.stop] = bytes([state]) * len(tids)
        else:
            for tid in tids:
                self.state[tid] = state
        if cause >= 0 or why:
            for tid in tids:
                self.why[tid] = (cause, why)

    def _check_known(self, tids: range) -> None:
        """Storing into a slice beyond the end would make the columns longer, and shift ids."""
        if tids.stop > len(self.state):
            raise IndexError(f"ids up to {tids.stop - 1}, and {len(self.state)} are known")

    def reset(self, tids: Sequence[int], bump: Sequence[int]) -> None:
        """Task runs start over; the successes among them count a generation up."""
        for tid in tids:
            spread = self.expansions.pop(tid, None)
            if spread is not None:
                base, count, keys = spread
                self.previous[tid] = (base, count, keys, self.marks.pop(tid, None))
            self.state[tid] = PENDING
            for column in (self.failures, self.errors, self.why, self.due):
                column.pop(tid, None)
        for tid in bump:
            self.generation[tid] = self.generation.get(tid, 1) + 1
            self.number[tid] = 0
            self.values[tid] = NO_VALUE

    def restored(self, bump: Sequence[int]) -> None:
        """A reset was taken back; changes that restore what it dropped follow."""
        for tid in bump:
            earlier = self.generation.get(tid, 2) - 1
            if earlier > 1:
                self.generation[tid] = earlier
            else:
                self.generation.pop(tid, None)

    def expanded(
        self, node: int, base: int, count: int, keys: Sequence[str] | None,
        marks: Sequence[Any] | None, carried: Sequence[tuple[int, int]],
    ) -> None:
        """A mapped node got its items; results of `carried` are taken over from old ids."""
        self.grow(base + count, node, base)
        self.expansions[node] = (base, count, keys)
        before = self.previous.pop(node, None)  # what was to be matched was
        inherit(self.generation, node, before, base, count, keys)
        if marks is not None:
            self.marks[node] = marks
        self.state[node] = RUNNING
        for new, old in carried:
            self.state[new] = SUCCESS
            self.number[new], self.start[new], self.end[new] = (
                self.number[old], self.start[old], self.end[old])
            self.values[new] = self.values[old]
            if old in self.generation:
                self.generation[new] = self.generation[old]

    def grow(self, upto: int, node: int, base: int) -> None:
        """Make room for ids below `upto`; those from `base` on belong to `node`."""
        if not 0 <= base <= upto <= MOST_IDS:
            raise IndexError(f"ids from {base} to {upto}, and {MOST_IDS:,} are the most")
        more = upto - len(self.state)
        if more > 0:
            self.state.extend(bytes(more))
            self.number.extend(array("I", bytes(4 * more)))
            self.start.extend(array("d", bytes(8 * more)))
            self.end.extend(array("d", bytes(8 * more)))
            self.values.extend([NO_VALUE] * more)
            self.item_node.extend(array("i", [-1]) * more)
        self.item_node[base - self.size:upto - self.size] = array("i", [node]) * (upto - base)

    def run_moved(self, state: RunState, why: str, at: float) -> None:
        """The run took a state."""
        before, self.run_state, self.run_why = self.run_state, state, why
        if state is RunState.RUNNING:
            since = rested_since(before, self.ended, self._last_seen)
            if since is not None:
                self.rests.append((since, max(since, at)))
            self.began = self.began or at
        self.ended = 0.0 if state is RunState.RUNNING else at

    def rested(self, at: float) -> float:
        """Seconds before `at` in which it did not run, if it goes on then."""
        since = rested_since(self.run_state, self.ended, self._last_seen)
        now = max(0.0, at - since) if since else 0.0
        return sum(until - since for since, until in self.rests) + now

    def _last_seen(self) -> float:
        return max(self.began, max(self.start, default=0.0), max(self.end, default=0.0))

    # -- a workflow that changed between two sessions ---------------------------------------

    def regraph(
        self, size: int, node_map: Sequence[int], drop: set[int], rematch: set[int]
    ) -> None:
        """Take over into a new graph what still counts. Every id may change.

        `node_map[new]` is the old node or -1. Nodes in `drop` start over; of those in
        `rematch` the items are kept aside in `previous`, to be matched when they are made anew.
        """
        old = RunRecord.__new__(RunRecord)
        old.__dict__.update(self.__dict__)
        fresh = RunRecord(size)
        for name in ("run_state", "run_why", "began", "ended", "rests"):
            setattr(fresh, name, getattr(old, name))
        for k, j in enumerate(node_map):
            if j < 0:
                continue
            fresh._take_over(old, k, j, keep=k not in drop, aside=k in rematch)
        self.__dict__.update(fresh.__dict__)

    def _take_over(self, old: RunRecord, k: int, j: int, *, keep: bool, aside: bool) -> None:
        spread = old.expansions.get(j)
        # Dropped by an earlier session and not made anew since: its items wait to be matched.
        waiting = spread is None and j in old.previous
        if waiting:
            spread = old.previous[j][:3]
        if keep and not aside:
            self._copy(old, k, j)
        elif j in old.generation or old.state[j] == SUCCESS:
            self.generation[k] = old.generation.get(j, 1) + (old.state[j] == SUCCESS)
        if spread is None:
            return
        first, count, keys = spread
        base = len(self.state)
        self.grow(base + count, k, base)
        if not (keep or aside):
            self.previous[k] = (base, count, keys, None)
            for i in range(first, first + count):
                if i in old.generation or old.state[i] == SUCCESS:
                    self.generation[base + i - first] = (
                        old.generation.get(i, 1) + (old.state[i] == SUCCESS))
            return
        for i in range(count):
            self._copy(old, base + i, first + i)
        marks = old.marks.get(j)
        if marks is None and j in old.previous:
            marks = old.previous[j][3]
        if aside or waiting:
            self.previous[k] = (base, count, keys, marks)
        else:
            self.expansions[k] = (base, count, keys)
            if marks is not None:
                self.marks[k] = marks

    def _copy(self, old: RunRecord, new: int, tid: int) -> None:
        self.state[new] = old.state[tid]
        self.number[new] = old.number[tid]
        self.start[new], self.end[new] = old.start[tid], old.end[tid]
        self.values[new] = old.values[tid]
        for name in ("generation", "failures", "errors", "due"):
            column = getattr(old, name)
            if tid in column:
                getattr(self, name)[new] = column[tid]

    # -- what a resume starts from ----------------------------------------------------------

    def to_retry(self, *, unasked: bool = False) -> list[int]:
        """Ids of task runs that failed or were cancelled.

        With `unasked`, those are left out that were interrupted and must not be repeated.
        """
        bad = (FAILED, TaskState.CANCELLED)
        return [t for t in self.live_ids() if self.state[t] in bad
                and not (unasked and self.was_interrupted(t))]

    def was_interrupted(self, tid: int) -> bool:
        """True if it failed since its engine or worker died, and it must not be repeated."""
        return (self.state[tid] == FAILED
                and self.errors.get(tid, ("",))[0] == FailureReason.INTERRUPTED)

    def in_flight(self) -> list[int]:
        """Ids that were announced as running and did not end."""
        return [t for t in self.live_ids() if self.state[t] in (RUNNING, TaskState.CANCELLING)]


def inherit(
    generation: dict[int, int], node: int, before: Sequence[Any] | None, base: int, count: int,
    keys: Sequence[str] | None,
) -> None:
    """Hand the generations of a map's items on to those that it has now, with ids from `base` on.

    `before`: first id, count and names of the old ones, if there were any. An item is the same by
    its name, in a map without names by its place; its next success is then another than its last.
    One that is gone may come back: what has no predecessor begins no lower than any that went,
    which is kept as the generation of the mapped node itself.
    """
    first, old_count, old_keys, *_ = before if before is not None else (0, 0, None)
    least = generation.get(node, 1)
    if least == 1 and not any(t in generation for t in range(first, first + old_count)):
        return
    if keys is None or old_keys is None:
        pairs = {i: i for i in range(min(count, old_count))}
    else:
        at = {name: i for i, name in enumerate(old_keys)}
        pairs = {i: at[name] for i, name in enumerate(keys) if name in at}
    gone = set(range(old_count)).difference(pairs.values())
    least = max([least, *(generation.get(first + old, 1) for old in gone)])
    if least > 1:
        generation[node] = least
    for new in range(count):
        number = generation.get(first + pairs[new], 1) if new in pairs else least
        if number > 1:
            generation[base + new] = number
