"""What a resume will do, task by task, and why; worked out before anything starts.

Rule 1: a recorded success stays unless its own code, arguments or inputs changed, or
        something that it runs after did. Each that does not stay has a reason.
Rule 2: a map whose own code stands, but not what it is mapped over, is not stale as a
        whole: its items are worked out again and matched with the old ones, by key, else
        by value; an item whose value is the same keeps its result.
Rule 3: what had not ended well runs again anyway, and with it every task that had
        succeeded upon that failure.
Rule 4: linear in nodes and edges, and no recursion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

from engine.core.states import GOOD, TaskState
from engine.errors import CodeChanged
from engine.runtime.changes import Changes
from engine.runtime.matching import NONE, children_of, match, new_index_of, order_of
from engine.runtime.outline import Outline

Action = Literal["keep", "run", "changed", "new", "gone"]
Wish = Literal["keep", "run"]
OnCodeChange = Literal["rerun", "reuse", "fail"]

#: Maps with at most this many items are listed item by item, longer ones in one line.
ITEMS_LISTED = 10

#: How many changes the error of `--on-code-change=fail` names.
CHANGES_NAMED = 10

#: Ended, but not well: run again by a resume, with what had consumed them.
_FAILURES = frozenset({TaskState.FAILED, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED})
_STANDS = GOOD | {TaskState.SKIPPED}

_WHY_RUN = {
    TaskState.PENDING: "had not started",
    TaskState.QUEUED: "had not started",
    TaskState.RUNNING: "was running when the run stopped",
    TaskState.CANCELLING: "was running when the run stopped",
    TaskState.UP_FOR_RETRY: "was waiting for its next try",
    TaskState.FAILED: "had failed",
    TaskState.UPSTREAM_FAILED: "had been blocked by a failure",
    TaskState.CANCELLED: "had been cancelled",
}
_WHY_KEEP = {
    TaskState.SUCCESS: "had succeeded",
    TaskState.CACHED: "had succeeded (cached)",
    TaskState.SKIPPED: "had been skipped",
}
#: Which of a node's actions its row shows.
_BY_WEIGHT: tuple[Action, ...] = ("changed", "new", "run", "keep", "gone")


class Record(Protocol):
    """What is known of the run so far; `core.record.RunRecord` is one."""

    def state_of(self, tid: int) -> TaskState:
        """The state of a task run: a node's own id is its index."""

    def expansion(self, node: int) -> tuple[int, int, Any] | None:
        """(first id, count, keys) of a mapped node's items; None before it is expanded."""

    @property
    def failures(self) -> Mapping[int, int]:
        """Task run → how many of its retries are spent, where any is."""


class PlanEntry(NamedTuple):
    """One line of the plan."""

    name: str
    action: Action
    reason: str
    task_runs: int = 1
    """How many task runs the line stands for."""


class PlanRow(NamedTuple):
    """What becomes of one node: a line of a review, which a person may change."""

    node: int
    """Its index in the new graph; of one that is gone, -1."""
    name: str
    action: Action
    """What asks most for attention among its task runs: a failed item makes a map `run`."""
    reason: str
    counts: Mapping[Action, int]
    """How many of its task runs."""
    choices: tuple[Wish, ...]
    """What `Plan.choose` takes for it instead; empty: nothing."""


class Plan:
    """The outcome. Indexes are those of the new graph, unless called old."""

    def __init__(self, old: Outline, new: Outline, record: Record) -> None:
        self.old, self.new = old, new
        self._record = record
        self.on_code_change: OnCodeChange = "rerun"
        self.node_map: list[int] = []
        """New node → old node, or -1."""
        self.stale: dict[int, str] = {}
        """Nodes whose old result no longer counts → why."""
        self.rematch: dict[int, str] = {}
        """Maps whose items are worked out again and matched with the old ones → why."""
        self.barred: frozenset[int] = frozenset()
        """Old ids that were cut short, must not be repeated, and are not asked for."""
        self.reuse: frozenset[int] = frozenset()
        """Nodes whose results are kept by a person's choice, though something changed."""
        self.rerun: frozenset[int] = frozenset()
        """Nodes whose successes are discarded by a person's choice, with all downstream."""
        self.left: frozenset[int] = frozenset()
        """Nodes whose failures stay as they are, by a person's choice."""
        self.asked: Mapping[int, str] | None = None
        """Old ids that a command names, with what follows them → why. None: it names none, and
        all that had not ended well runs again."""

    @property
    def same(self) -> bool:
        """True if every task run keeps its id and name, and nothing recorded is discarded.

        Fingerprints may differ all the same, with `reuse`.
        """
        return (
            not self.stale and not self.rematch and self.old.names == self.new.names
            and all(i == j for i, j in enumerate(self.node_map))
        )

    def find_changes(self) -> None:
        """Work out what is stale, and which maps are to be matched item by item."""
        if self.old.same_as(self.new):
            return
        changes = Changes(self)
        changes.find()
        if self.on_code_change == "reuse":
            self.stale.clear()
            self.rematch = changes.literals

    @cached_property
    def gone(self) -> list[int]:
        """Old nodes that the workflow no longer has."""
        back = new_index_of(self.node_map, self.old.size)
        return [j for j, i in enumerate(back) if i == NONE]

    # -- successes that go because of what they were built upon ---------------------------------

    @cached_property
    def again(self) -> dict[int, str]:
        """Old ids of task runs that ended well upon a failure which is run again → why."""
        found: dict[int, str] = {}
        redone: dict[int, str] = {}
        for i in order_of(self.new):
            j = self.node_map[i]
            if j == NONE or i in self.stale:
                continue
            if i in self.rerun:
                found.update((t, "you chose to run it again") for t in self._ids(j)
                             if self._record.state_of(t) in _STANDS)
                redone[i] = f"follows {self.new.names[i]}, which you chose to run again"
                continue
            consumed = self._consumed(i, redone, found)
            found.update(consumed)
            if consumed or any(map(self._is_retried, self._ids(j))):
                redone[i] = f"ran upon the end of {self.new.names[i]}, which runs again"
        return found

    def _consumed(
        self, i: int, redone: dict[int, str], found: dict[int, str]
    ) -> dict[int, str]:
        """Of node `i`, the old ids that ended well upon something in `redone`."""
        above = [u for u in self.new.upstream_of(i) if u in redone]
        if not above:
            return {}
        mapped = self.new.maps.get(i)
        ids = self._ids(self.node_map[i])
        consumed: dict[int, str] = {}
        for u in above:
            hit: Iterable[int] = ids
            if mapped is not None and u in mapped.sources:
                theirs = self._ids(self.node_map[u])
                hit = [mine for mine, its in zip(ids, theirs, strict=False)
                       if its in found or self._is_retried(its)]
            consumed.update((t, redone[u]) for t in hit if self._record.state_of(t) in _STANDS)
        return consumed

    def _is_retried(self, tid: int) -> bool:
        return (self._record.state_of(tid) in _FAILURES and tid not in self.barred
                and tid not in self._left)

    @cached_property
    def _left(self) -> frozenset[int]:
        """Old ids of what failed and stays so, with what it blocks."""
        found: set[int] = set()
        for i in order_of(self.new):
            j = self.node_map[i]
            if j == NONE or i in self.stale:
                continue
            if i in self.left:
                found.update(self._ids(j))
            elif self.left and any(self._blocks(i, u, found) for u in self.new.upstream_of(i)):
                found.update(t for t in self._ids(j)
                             if self._record.state_of(t) is TaskState.UPSTREAM_FAILED)
        return frozenset(found)

    def _blocks(self, i: int, u: int, left: set[int]) -> bool:
        return self.node_map[u] != NONE and any(
            t in left for t in self._ids(self.node_map[u]))

    def _ids(self, j: int) -> range:
        """The old ids of a node's task runs: its items, if it was expanded."""
        spread = self._record.expansion(j) if j in self.old.maps else None
        return range(j, j + 1) if spread is None else range(spread[0], spread[0] + spread[1])

    @cached_property
    def recompute(self) -> dict[int, str]:
        """Nodes that succeeded with `persist=False`, and whose result is needed again → by what."""
        specs = self.new.specs
        if all(s.persist for s in specs):
            return {}
        found: dict[int, str] = {}
        below = children_of(self.new)
        for i in reversed(order_of(self.new)):
            if self.new.spec(i).persist or not self._has_success(i):
                continue
            needed_by = next((c for c in below[i] if c in found or self._will_run(c)), None)
            if needed_by is not None:
                found[i] = f"its result was not kept, and {self.new.names[needed_by]} needs it"
        return found

    def _has_success(self, i: int) -> bool:
        j = self.node_map[i]
        return j != NONE and i not in self.stale and any(
            self._record.state_of(t) in GOOD for t in self._ids(j))

    def _will_run(self, i: int) -> bool:
        j = self.node_map[i]
        if j == NONE or i in self.stale or i in self.rematch:
            return True
        return any(
            t in self.again or self._record.state_of(t) not in _STANDS for t in self._ids(j))

    # -- a person's choices --------------------------------------------------------------------

    def rows(self) -> list[PlanRow]:
        """A line for each node of the new graph, then for those that are gone."""
        rows = [self._row(i) for i in range(self.new.size)]
        return rows + [
            PlanRow(-1, self.old.names[j], "gone", "no longer in the workflow",
                    {"gone": len(self._ids(j))}, ()) for j in self.gone]

    def _row(self, i: int) -> PlanRow:
        counts: dict[Action, int] = {}
        reasons: dict[Action, str] = {}
        for entry in self._entries_of(i):
            counts[entry.action] = counts.get(entry.action, 0) + entry.task_runs
            reasons.setdefault(entry.action, entry.reason)
        action = next(a for a in _BY_WEIGHT if a in counts) if counts else "keep"
        return PlanRow(i, self.new.names[i], action, reasons.get(action, "has no items"), counts,
                       self._choices(i))

    def _choices(self, i: int) -> tuple[Wish, ...]:
        j = self.node_map[i]
        if j == NONE or self.asked is not None:
            return ()
        if i in self.stale or i in self.rematch:
            return ("keep",)
        if i in self.reuse or i in self.rerun or i in self.left:
            return ("keep", "run")
        states = {self._record.state_of(t) for t in self._ids(j)}
        if states & {TaskState.FAILED, TaskState.CANCELLED}:
            return ("keep",)
        return ("run",) if states & _STANDS else ()

    def choose(self, wishes: Mapping[int, Wish]) -> Plan:
        """The plan with other wishes for some nodes, which are all that is given: none, no wish.

        `keep` what changed: its result is used as it is. `keep` what failed: it stays so. `run`
        what stands: its result is discarded, with everything downstream. A wish for what has no
        such choice is left out.
        """
        plan = Plan(self.old, self.new, self._record)
        plan.node_map, plan.barred, plan.asked = self.node_map, self.barred, self.asked
        plan.on_code_change = self.on_code_change
        keep = {i for i, wish in wishes.items() if wish == "keep" and self.node_map[i] != NONE}
        plan.reuse = frozenset(keep)
        plan.find_changes()
        plain = make_plan(self.old, self.new, self._record, self.on_code_change)
        plan.reuse = frozenset(keep & {*plain.stale, *plain.rematch})
        plan.left = frozenset(keep - plan.reuse)
        plan.rerun = frozenset(
            i for i, wish in wishes.items() if wish == "run" and i not in plan.stale)
        return plan

    # -- telling it ----------------------------------------------------------------------------

    def entries(self) -> Iterator[PlanEntry]:
        """Every task run of the new graph, then those that are gone; a long map in one line."""
        for i in range(self.new.size):
            yield from self._entries_of(i)
        for j in self.gone:
            yield PlanEntry(
                self.old.names[j], "gone", "no longer in the workflow", len(self._ids(j)))

    def _entries_of(self, i: int) -> Iterator[PlanEntry]:
        name, j = self.new.names[i], self.node_map[i]
        if j == NONE:
            yield PlanEntry(name, "new", "not in the run before")
            return
        ids = self._ids(j)
        why = self.stale.get(i) or self.rematch.get(i)
        if why is not None:
            yield PlanEntry(name, "changed", why, len(ids))
        elif i in self.recompute:
            yield PlanEntry(name, "run", self.recompute[i], len(ids))
        elif len(ids) == 1 and ids[0] == j:
            yield PlanEntry(name, *self._verdict(i, j))
        else:
            yield from self._item_entries(i, ids)

    def _item_entries(self, i: int, ids: range) -> Iterator[PlanEntry]:
        name = self.new.names[i]
        spread = self._record.expansion(self.node_map[i])
        keys = spread[2] if spread is not None else None
        if len(ids) <= ITEMS_LISTED:
            for k, tid in enumerate(ids):
                yield PlanEntry(f"{name}[{keys[k] if keys else k}]", *self._verdict(i, tid))
            return
        totals: dict[tuple[Action, str], int] = {}
        for tid in ids:
            verdict = self._verdict(i, tid)
            totals[verdict] = totals.get(verdict, 0) + 1
        for (action, reason), count in totals.items():
            yield PlanEntry(name, action, f"{count} of {len(ids)} {reason}", count)

    def _verdict(self, i: int, tid: int) -> tuple[Action, str]:
        """What becomes of a task run that nothing made stale."""
        state = self._record.state_of(tid)
        if self.asked is not None:
            if tid in self.asked:
                return "run", self.asked[tid]
            if state in _FAILURES:
                return "keep", f"{_WHY_RUN[state]}, and was not asked for"
        elif tid in self.again:
            return "run", self.again[tid]
        if state in _STANDS:
            return "keep", _WHY_KEEP[state]
        if tid in self._left:
            return "keep", f"{_WHY_RUN[state]}, and you chose to leave it"
        if tid in self.barred:
            return "keep", 'was cut short, and on_interrupt="fail" has it wait to be asked for'
        if state is TaskState.RUNNING and self.new.spec(i).on_interrupt == "fail":
            return "keep", 'was running when the run stopped; on_interrupt="fail" makes it FAILED'
        if state is TaskState.QUEUED and tid in self._record.failures:
            state = TaskState.UP_FOR_RETRY  # its delay was over, and no worker was free
        return "run", _WHY_RUN[state]

    def to_json(self) -> dict[str, Any]:
        """The whole plan as plain data; `counts` are task runs by action."""
        entries = list(self.entries())
        counts = dict.fromkeys(("keep", "run", "changed", "new", "gone"), 0)
        for entry in entries:
            counts[entry.action] += entry.task_runs
        return {
            "same": self.same,
            "counts": counts,
            "entries": [entry._asdict() for entry in entries],
        }


def make_plan(
    old: Outline, new: Outline, record: Record, on_code_change: OnCodeChange = "rerun"
) -> Plan:
    """The plan for carrying on `record`, a run of the graph `old`, with the graph `new`.

    Raises CodeChanged with `fail`, if anything but the order of definition changed.
    """
    plan = Plan(old, new, record)
    plan.node_map = match(old, new)
    plan.on_code_change = on_code_change
    plan.find_changes()
    if on_code_change == "fail":
        _refuse(plan)
    return plan


def _refuse(plan: Plan) -> None:
    changed = [f"{e.name}: {e.reason}" for e in _changes_of(plan)]
    if not changed:
        return
    more = len(changed) - CHANGES_NAMED
    listed = "\n  ".join(changed[:CHANGES_NAMED] + ([f"… and {more} more"] if more > 0 else []))
    raise CodeChanged(
        f"the workflow changed since this run began:\n  {listed}\n"
        "resume with --on-code-change=rerun to run what changed and everything after it, with "
        "reuse to keep what is recorded, or start anew with --fresh"
    )


def _changes_of(plan: Plan) -> Iterator[PlanEntry]:
    for i, j in enumerate(plan.node_map):
        why = plan.stale.get(i) or plan.rematch.get(i)
        if j == NONE:
            yield PlanEntry(plan.new.names[i], "new", "new in the workflow")
        elif why is not None:
            yield PlanEntry(plan.new.names[i], "changed", why)
    for j in plan.gone:
        yield PlanEntry(plan.old.names[j], "gone", "no longer in the workflow")
