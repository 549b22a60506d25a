"""The simulation's oracle: what was promised, and whether it was kept.

It hears what the runner publishes (which is recorded by then) and what workers begin, and knows
for itself which task runs there is a reason to run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.core.events import (
    Attempt,
    Change,
    Expanded,
    Failed,
    Moved,
    Reset,
    Succeeded,
)
from engine.core.record import NO_VALUE, RunRecord
from engine.core.states import CANCELLED, FAILED, RUNNING, SUCCESS, FailureReason
from engine.runtime.carryover import Before
from engine.worker.codec import ABSENT, Encoded, decode
from tests.faults.sim_flow import Flow, Step

Key = tuple[str, int]
"""A task run: its node's name, and which item it is (-1 for a plain one)."""


class Broken(AssertionError):
    """A promise was not kept."""


class Book:
    """What is known to be done, and why anything may be done again."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.done: dict[Key, Any] = {}
        """Recorded successes → their values."""
        self.excused: set[str] = set()
        """Names of steps whose successes may be discarded in this session."""
        self.edited: set[str] = set()
        """Those that were edited, ever, and what is below them."""
        self.anything_goes = False
        """A row is damaged: what it held runs again, and what that is nobody knows."""
        self.spent: set[Key] = set()
        """At-most-once task runs that have begun, and for whose repetition there is no reason."""
        self.generations: set[tuple[Key, int]] = set()
        """Successes that were recorded, ever."""
        self.possible: dict[Key, list[Any]] = {}
        """What the attempts that have begun would return."""
        self.names: list[str] = []
        self._where: dict[int, Key] = {}
        self._marks: dict[str, Sequence[Any]] = {}
        """By what each map's items are told apart, as they were when it was last expanded."""
        self.begun = 0

    # -- sessions -----------------------------------------------------------------------------

    def reopen(self, record: RunRecord, names: Sequence[str]) -> None:
        """A crash: what was published must be in the record, and what is in it is done."""
        self.names = list(names)
        self._where = {}
        for k in range(record.size):
            self._place(k, record.expansion(k))
        found = self._successes(record)
        for key in self.done.keys() - found.keys():
            # What is asked for may have been recorded at the last moment, and not been told.
            if key[0] in self.names and not self._may_start_over(key):
                raise Broken(f"{key} was told to be done, and is not in the journal")
            self.spent.discard(key)
        stay = {self._where[t] for t in record.live_ids() if record.state[t] in (RUNNING, FAILED)}
        self.spent = {key for key in self.spent if key in stay or key[0] not in self.excused}
        self.done = found
        self.excused = set(self.edited)

    def _successes(self, record: RunRecord) -> dict[Key, Any]:
        found = {self._where[t]: _plain(record.values[t])
                 for t in record.live_ids() if record.state[t] == SUCCESS}
        for k, (base, count, *_) in record.previous.items():
            if k not in record.expansions:  # waits to be made anew and matched
                found |= {(self.names[k], i): _plain(record.values[base + i])
                          for i in range(count) if record.state[base + i] == SUCCESS}
        return found

    def resumed(self, record: RunRecord, graph_names: Sequence[str], state: Sequence[int],
                old: RunRecord, set_aside: Mapping[int, Before]) -> None:
        """The plan is made: what it discards must have a reason. `set_aside`: the maps whose
        items wait to be matched.
        """
        for t in [*old.to_retry()]:
            if not _interrupted(old, t):
                self.excused |= self.flow.below({self._where[t][0]} & set(graph_names))
                self.spent.discard(self._where[t])
        self.names = list(graph_names)
        self._where = {}
        for k in range(len(self.names)):
            self._place(k, record.expansion(k))
        for k, (base, count, *_) in set_aside.items():
            self._where |= {base + i: (self.names[k], i) for i in range(count)}
        stands = {self._where[t] for t in record.live_ids() if state[t] == SUCCESS}
        aside = {self.names[k] for k in set_aside}
        for key in list(self.done):
            name = key[0]
            if name not in self.names:
                del self.done[key]
            elif key not in stands and name not in aside and not self._may_start_over(key):
                raise Broken(f"the resume discards the success of {key}")
            elif key not in stands and name not in aside:
                del self.done[key]
                self.spent.discard(key)

    def asked(self, names: Iterable[str]) -> None:
        """A person wants these to run again."""
        self.excused |= self.flow.below(set(names))

    def _place(self, k: int, spread: tuple[int, int, Any] | None) -> None:
        self._where[k] = (self.names[k], -1)
        if spread is not None:
            for i in range(spread[1]):
                self._where[spread[0] + i] = (self.names[k], i)

    def _kept(self, key: Key) -> bool:
        return any(s.name == key[0] and s.persist for s in self.flow.steps)

    def _may_start_over(self, key: Key) -> bool:
        return self.anything_goes or key[0] in self.excused or not self._kept(key)

    # -- what is published ----------------------------------------------------------------------

    def published(self, changes: Sequence[Change]) -> None:
        """These are on disk."""
        for change in changes:
            if isinstance(change, Succeeded):
                for a in change.attempts:
                    self._succeeded(a)
            elif isinstance(change, Failed):
                if change.attempt.reason != FailureReason.INTERRUPTED:
                    self.spent.discard(self._key(change.attempt))
            elif isinstance(change, Moved):
                if change.state == CANCELLED:
                    self.spent -= {self._where[t] for t in change.tids}
            elif isinstance(change, Reset):
                self._reset(change)
            elif isinstance(change, Expanded):
                self._expanded(change)

    def _key(self, a: Attempt) -> Key:
        return self._where.get(a.tid, (a.node.name, a.index))

    def _succeeded(self, a: Attempt) -> None:
        key = (a.node.name, a.index)
        if (key, a.generation) in self.generations and not self._may_start_over(key):
            raise Broken(f"{key} succeeded twice in generation {a.generation}")
        self.generations.add((key, a.generation))
        self.done[key] = value = _plain(a.payload if a.payload is not ABSENT else a.value)
        if value not in self.possible.get(key, ()):
            raise Broken(f"{key} succeeded with {value!r}, which no attempt of it has returned")

    def _reset(self, change: Reset) -> None:
        for t in change.tids:
            key = self._where[t]
            if key in self.done:
                if not self._may_start_over(key):
                    raise Broken(f"the success of {key} is discarded: {change.why}")
                del self.done[key]
            if key[0] in self.excused:
                self.spent.discard(key)

    def _expanded(self, change: Expanded) -> None:
        name = self.names[change.node]
        before = {key for key in self.done if key[0] == name and key[1] >= 0}
        earlier, self._marks[name] = self._marks.get(name, ()), change.marks or ()
        self._place(change.node, (change.base, change.size, None))
        # Of items that are equal, another one may get the result: it moves with it.
        taken = {(name, new - change.base): self._where[old] for new, old in change.carried}
        for key in before - set(taken.values()):
            if self._may_start_over(key) or key[1] >= change.size:
                continue
            if not self._has_another_item(key, earlier):
                raise Broken(f"the success of item {key} is not taken over")
            self.generations = {entry for entry in self.generations if entry[0][0] != name}
        undone = set(taken.values()) - before
        if undone and not self.anything_goes and name not in self.excused:
            raise Broken(f"{undone} are taken over, and were not done")
        results = {key: self.done[old] for key, old in taken.items() if old in before}
        for key in before:
            del self.done[key]
        self.done.update(results)

    def _has_another_item(self, key: Key, earlier: Sequence[Any]) -> bool:
        """True if it was given what no item is given now: a tolerant map's may be how something
        stood above that had not ended, and ends otherwise where it is not kept and runs again."""
        return (self.flow[key[0]].rule != "all_success" and key[1] < len(earlier)
                and earlier[key[1]] not in self._marks[key[0]])

    # -- what is begun ---------------------------------------------------------------------------

    def begin(self, a: Attempt, args: Sequence[Any]) -> None:
        """An attempt's function is called."""
        self.begun += 1
        step, key = self.flow[a.node.name], (a.node.name, a.index)
        if key in self.done:
            raise Broken(f"{key} is recorded as done and runs again")
        if step.once:
            if key in self.spent and not self.anything_goes and key[0] not in self.excused:
                raise Broken(f"{key} must not be repeated, and begins a second time")
            self.spent.add(key)
        self.possible.setdefault(key, []).append(step.value(args))
        if step.rule == "all_success":
            self._check_inputs(step, a.index, args)

    def _check_inputs(self, step: Step, index: int, args: Sequence[Any]) -> None:
        for name, given in zip(step.above, args, strict=False):
            if given != self._result_of(name):
                raise Broken(f"{step.name}[{index}] got {given!r} of {name}, and recorded is "
                             f"{self._result_of(name)!r}")
        if isinstance(step.over, int) and args[-1] != index:
            raise Broken(f"{step.name}[{index}] got item {args[-1]}")
        if isinstance(step.over, str):
            # Item by item, only that item need be done; `given` tells which it is.
            above = self.flow[step.over]
            whole = above.over is None
            expected = (self.done.get((step.over, -1), [])[index:index + 1] if whole
                        else [self.done.get((step.over, index), NO_VALUE)])
            if [args[-1]] != expected:
                raise Broken(f"{step.name}[{index}] got item {args[-1]!r}, recorded: {expected}")

    def _result_of(self, name: str) -> Any:
        if self.flow[name].over is None:
            return self.done.get((name, -1), NO_VALUE)
        items = {key[1]: value for key, value in self.done.items() if key[0] == name}
        return [items[i] for i in sorted(items) if i >= 0]


def hopeless(record: RunRecord) -> bool:
    """True if all that failed was interrupted and must not be repeated, or is a map over what
    its loose rule lets be missing.
    """
    failed = [t for t in record.live_ids() if record.state[t] == FAILED]
    return bool(failed) and all(
        _interrupted(record, t) or t not in record.errors
        or record.errors[t][1].type == "DefinitionError"
        for t in failed)


def _interrupted(record: RunRecord, t: int) -> bool:
    return record.state[t] == FAILED and record.errors.get(t, ("",))[0] == FailureReason.INTERRUPTED


def _plain(value: Any) -> Any:
    return decode(value) if type(value) is Encoded else value
