"""A run as the screen knows it: a pure fold over its changes, in columns.

Rule 1: a live run, an attached one, one long ended and a moment of its past are all this one
        model; only who feeds it differs (`feed`). Nothing here knows a terminal or a clock.
Rule 2: only recorded changes enter, so that nothing is shown which the journal would
        contradict. Counters equal a recount at every moment; a test holds that.
Rule 3: a change costs what it changes: counters are kept a section and in all, and what asks
        for attention (failed, running, up for retry) is at hand without a search.
Rule 4: an expanded map's own entry stands for the group; its items are the task runs.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from engine import RunState, TaskState
from engine.front import (
    Expanded,
    Failed,
    Moved,
    Reset,
    Restored,
    RunMoved,
    Started,
    Succeeded,
    inherit,
    rested_since,
)
from flowforge_tui.attempts import NO_WORKER, AttemptLog, Ended, worker_of
from flowforge_tui.pace import Pace
from flowforge_tui.shape import Section, Shape

if TYPE_CHECKING:
    from engine.front import Attempt, Change, ErrorInfo, Ran, RunRecord
    from flowforge_tui.history import Past

STATES = len(TaskState)
_PENDING, _RUNNING, _SUCCESS = TaskState.PENDING, TaskState.RUNNING, TaskState.SUCCESS

#: States whose task runs are kept at hand a section, in the order in which they took it.
HOT = (TaskState.FAILED, TaskState.UP_FOR_RETRY, TaskState.RUNNING, TaskState.CANCELLING)
_IS_HOT = bytes(TaskState(i) in HOT for i in range(STATES))
_HOT_BYTES = bytes(HOT)


class Reshaped(NamedTuple):
    """What is said of the nodes changed."""

    shape: Shape


class Try(NamedTuple):
    """An attempt of a task run that failed at least once. Times as in `AttemptLog`."""

    number: int
    generation: int
    start: float
    end: float
    state: TaskState
    reason: str
    error: ErrorInfo | None


class RunView:
    """Columns indexed by task-run id; see `Shape` for what an id means."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        size = shape.size
        self.state = bytearray(size)
        self.number = array("I", bytes(4 * size))
        """The last attempt's number; 0: none yet."""
        self.start = array("d", bytes(8 * size))
        self.end = array("d", bytes(8 * size))
        """Of the last attempt, seconds since the epoch; 0.0: not known, or it runs."""
        self.node = array("i", range(size))
        """The node of each task run."""
        self.section = array("I", shape.section_of)
        """The section of each task run."""
        self.spread: dict[int, tuple[int, int, Sequence[str] | None]] = {}
        """Expanded node → (first item's id, number of items, their names or None)."""
        self.previous: dict[int, tuple[int, int, Sequence[str] | None]] = {}
        """The same of maps that start over, until they have their items again."""
        self.generation: dict[int, int] = {}
        """Where it is not 1."""
        self.errors: dict[int, tuple[str, ErrorInfo]] = {}
        """(reason, error) of the last failed attempt."""
        self.why: dict[int, tuple[int, str]] = {}
        """(cause's id or -1, text) of a state that no attempt decided."""
        self.due: dict[int, float] = {}
        """When the next attempt is due, of task runs UP_FOR_RETRY."""
        self.worker: dict[int, int] = {}
        """Which worker an announced attempt in hand is with, where that is known."""
        self.tries: dict[int, tuple[Try, ...]] = {}
        """All known attempts, oldest first, of task runs that have failed at least once."""
        self.attempts = AttemptLog()
        self.totals = [0] * STATES
        self.counts: list[list[int]] = [[0] * STATES for _ in shape.sections]
        """Section → state → number of its task runs in it."""
        self.hot: dict[TaskState, list[dict[int, None]]] = {
            state: [{} for _ in shape.sections] for state in HOT
        }
        """State → section → ids of the task runs in it, in the order in which they took it."""
        self.run_state = RunState.PENDING
        self.run_why = ""
        self.began = 0.0
        self.ended = 0.0
        """When the run took a state that ends a session; 0.0 while it goes on."""
        self.rests: list[tuple[float, float]] = []
        """From when to when it did not run, as in `RunRecord`."""
        self.latest = 0.0
        """The latest moment that a change told of."""
        self.session = 0.0
        """When the session began that goes on, or the last one; as far as changes told of it."""
        self.version = 0
        """Counts up with every batch of changes."""
        self._dirty: set[int] = set()
        """Sections that the batch in hand changed."""
        self._touched: dict[int, int] = {}
        """Section → the version that last changed it, the latest at the end."""
        self._runs: dict[int, Sequence[int]] = {}
        """Section → ids of its task runs, of sections with several maps."""
        self._pace = Pace(self)
        self.past: Past | None = None
        """Keeps the changes for time travel, if somebody wants them kept."""
        for section in shape.sections:
            self.counts[section.place][_PENDING] = len(section.nodes)
        self.totals[_PENDING] = size
        self._fold: dict[type, Callable[[Any], None]] = {
            Succeeded: self._succeeded, Failed: self._failed, Started: self._started,
            Moved: self._moved, Reset: self._reset, Expanded: self._expanded,
            RunMoved: self._run_moved, Ended: self._ended_well,
            Reshaped: lambda change: self.reshape(change.shape), Restored: self._restored,
        }

    # -- reading ----------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many task runs there are; a mapped task counts by its items."""
        return sum(self.totals)

    def state_of(self, tid: int) -> TaskState:
        """The state of a task run."""
        return TaskState(self.state[tid])

    def is_group(self, tid: int) -> bool:
        """True for the own entry of an expanded map."""
        return tid in self.spread

    def is_live(self, tid: int) -> bool:
        """True for a task run that counts; False for a group, and what a reset left behind."""
        node = self.node[tid]
        if tid == node:
            return tid not in self.spread
        spread = self.spread.get(node)
        return spread is not None and 0 <= tid - spread[0] < spread[1]

    def name_of(self, tid: int) -> str:
        """`double`, `double[3]`, `double[eu-west]`. Untrusted text."""
        node = self.node[tid]
        name = self.shape.names[node]
        return name if tid == node else f"{name}[{self.label_of(tid)}]"

    def label_of(self, tid: int) -> str:
        """What stands in the brackets of an item's name; empty for a plain node."""
        spread = self.spread.get(self.node[tid])
        if spread is None or tid == self.node[tid]:
            return ""
        base, _, keys = spread
        return keys[tid - base] if keys is not None else str(tid - base)

    def generation_of(self, tid: int) -> int:
        """The generation of a task run, from 1."""
        return self.generation.get(tid, 1)

    def section_of(self, tid: int) -> Section:
        """The section that a task run is in."""
        return self.shape.sections[self.section[tid]]

    def items(self, node: int) -> Sequence[int]:
        """The task runs of a node: of an expanded map, its items."""
        spread = self.spread.get(node)
        return (node,) if spread is None else range(spread[0], spread[0] + spread[1])

    def runs_of(self, section: Section) -> Sequence[int]:
        """The ids of a section's task runs, in order; indexable, never copied."""
        if not section.mapped:
            return section.nodes
        if len(section.nodes) == 1:
            return self.items(section.nodes[0])
        runs = self._runs.get(section.place)
        if runs is None:
            runs = Chained([self.items(node) for node in section.nodes])
            self._runs[section.place] = runs
        return runs

    def is_spread(self, section: Section) -> bool:
        """True if all that is mapped in it has its items."""
        return all(node in self.spread for node in section.nodes if self.shape.is_mapped(node))

    def live_ids(self) -> Iterator[int]:
        """All task runs, section by section."""
        for section in self.shape.sections:
            yield from self.runs_of(section)

    def ids_of(self, state: TaskState) -> list[int]:
        """All task runs in a hot state, section by section, by id."""
        return [tid for ids in self.hot[state] for tid in sorted(ids)]

    def seconds(self, tid: int, now: float) -> float:
        """How long the last attempt took, or has taken by `now`; 0.0 if none has begun."""
        start = self.start[tid]
        if not start:
            return 0.0
        running = self.state[tid] in (_RUNNING, TaskState.CANCELLING)
        end = now if running or not self.end[tid] else self.end[tid]
        return max(0.0, end - start)

    def elapsed(self, now: float) -> float:
        """Seconds that the run has run, to its end if it has one: without those between its
        sessions."""
        return self.ran(self.began, self.ended or now) if self.began else 0.0

    def ran(self, since: float, until: float) -> float:
        """Of the seconds between two moments, those in which the run ran."""
        rested = sum(max(0.0, min(until, b) - max(since, a)) for a, b in self.rests)
        return max(0.0, until - since - rested)

    def changed_since(self, version: int) -> list[int]:
        """The sections that changed after a `version`; each who asks keeps count of its own."""
        changed = []
        for place, at in reversed(self._touched.items()):
            if at <= version:
                break
            changed.append(place)
        return changed

    @property
    def pace(self) -> Pace:
        """How fast it goes; anew where the sections are others."""
        if len(self._pace.spans) != len(self.shape.sections):
            self._pace = Pace(self)
        return self._pace

    # -- folding ----------------------------------------------------------------------------

    def apply(self, changes: Sequence[Change | Ended | Reshaped]) -> None:
        """Fold recorded changes, in order; successes as the engine has them, or in columns."""
        fold = self._fold
        for change in changes:
            apply = fold.get(type(change))
            if apply is not None:
                apply(change)
        self._note_version()
        if self.past is not None:
            self.past.note(changes)

    def _note_version(self) -> None:
        self.version += 1
        for place in self._dirty:
            self._touched.pop(place, None)
            self._touched[place] = self.version
        self._dirty.clear()

    def _set(self, tid: int, new: int) -> None:
        """A task run takes a state; the counters follow."""
        old = self.state[tid]
        self.state[tid] = new
        if old == new or not self.is_live(tid):
            return
        section = self.section[tid]
        counts = self.counts[section]
        counts[old] -= 1
        counts[new] += 1
        self.totals[old] -= 1
        self.totals[new] += 1
        if _IS_HOT[old]:
            self.hot[TaskState(old)][section].pop(tid, None)
            self.due.pop(tid, None)
        if _IS_HOT[new]:
            self.hot[TaskState(new)][section][tid] = None
        if new != TaskState.CANCELLING:
            self.worker.pop(tid, None)
        self._dirty.add(section)

    def _succeeded(self, change: Succeeded) -> None:
        if change.attempts:
            self._ended_well(Ended.of(change.attempts))

    def _ended_well(self, ended: Ended) -> None:
        """By columns, and by slices where ids are neighbours, as those of a map mostly are:
        0.3 µs a task run; 0.45 µs where they are not."""
        tids, runs = ended.tids, ended.runs()
        if runs is not None:
            old = b"".join([self.state[tids[i]:tids[i] + j - i] for i, j in runs])
        else:
            old = bytes([self.state[tid] for tid in tids])
        if len(old.translate(None, _HOT_BYTES)) < len(old):  # some are at hand elsewhere, too
            for tid in tids:
                self._set(tid, _SUCCESS)
        else:
            self._count_successes(tids, old)
        if runs is not None:
            self._store_runs(ended, runs)
        else:
            self._store_each(ended)
        self.attempts.extend(ended, _SUCCESS)
        self.latest = max(self.latest, max(ended.ends))
        tries, errors = self.tries, self.errors
        if tries or errors:
            for i, tid in enumerate(tids):
                if tid in tries or tid in errors:
                    self._redeemed(ended, i)

    def _store_runs(self, ended: Ended, runs: list[tuple[int, int]]) -> None:
        for i, j in runs:
            first = ended.tids[i]
            at = slice(first, first + j - i)
            self.state[at] = bytes([_SUCCESS]) * (j - i)
            self.number[at] = ended.numbers[i:j]
            self.start[at] = ended.starts[i:j]
            self.end[at] = ended.ends[i:j]

    def _store_each(self, ended: Ended) -> None:
        state, number, start, end = self.state, self.number, self.start, self.end
        for tid, n, s, e in zip(
            ended.tids, ended.numbers, ended.starts, ended.ends, strict=True
        ):
            state[tid] = _SUCCESS
            number[tid] = n
            start[tid] = s
            end[tid] = e

    def _count_successes(self, tids: Sequence[int], old: bytes) -> None:
        """Task runs go from their `old` states to SUCCESS; none is named twice."""
        section, totals = self.section, self.totals
        places = [section[tid] for tid in tids]
        if places.count(places[0]) == len(places):
            moved = [((places[0], s), old.count(s)) for s in set(old)]
        else:
            moved = list(Counter(zip(places, old, strict=True)).items())
        for (place, s), number in moved:
            counts = self.counts[place]
            counts[s] -= number
            counts[_SUCCESS] += number
            totals[s] -= number
            totals[_SUCCESS] += number
            self._dirty.add(place)

    def _redeemed(self, ended: Ended, i: int) -> None:
        """A task run that had failed before has succeeded."""
        tid = ended.tids[i]
        if tid in self.tries:
            self._note_try(tid, ended.numbers[i], ended.starts[i], ended.ends[i], _SUCCESS)
        for column in (self.errors, self.due, self.why):
            column.pop(tid, None)

    def _note_try(
        self, tid: int, number: int, start: float, end: float, state: TaskState,
        reason: str = "", error: ErrorInfo | None = None,
    ) -> None:
        one = Try(number, self.generation_of(tid), start, end, state, reason, error)
        self.tries[tid] = (*self.tries.get(tid, ()), one)

    def _failed(self, change: Failed) -> None:
        a = change.attempt
        tid = a.tid
        self._set(tid, change.state)
        self.number[tid], self.start[tid], self.end[tid] = a.number, a.start, a.end
        self.errors[tid] = (str(a.reason), a.error)
        if change.state is TaskState.UP_FOR_RETRY:
            self.due[tid] = change.due
        self._note_try(tid, a.number, a.start, a.end, change.state, str(a.reason), a.error)
        self.latest = max(self.latest, a.end)
        self.attempts.add(
            tid, a.number, a.start, a.end or self.latest, change.state, worker_of(a))

    def _started(self, change: Started) -> None:
        for a in change.attempts:
            self._set(a.tid, _RUNNING)
            self.number[a.tid], self.start[a.tid], self.end[a.tid] = a.number, a.start, 0.0
            worker = worker_of(a)
            if worker != NO_WORKER and self.is_live(a.tid):
                self.worker[a.tid] = worker
            self.latest = max(self.latest, a.start)

    def _moved(self, change: Moved) -> None:
        explained = change.cause >= 0 or bool(change.why)
        for tid in change.tids:
            if change.ran is not None:
                self._ran(tid, change.ran, change.state)
            self._set(tid, change.state)
            if explained:
                self.why[tid] = (change.cause, change.why)

    def _ran(self, tid: int, ran: Ran, state: TaskState) -> None:
        """An attempt ended with neither a result nor a failure."""
        number, _, start, end = ran
        self.attempts.add(tid, number, start, end, state, self.worker.get(tid, NO_WORKER))
        self._note_try(tid, number, start, end, state)
        self.number[tid], self.start[tid], self.end[tid] = number, start, end
        self.latest = max(self.latest, ran.end)

    def _reset(self, change: Reset) -> None:
        for tid in change.tids:
            if tid in self.spread:
                self._drop_items(tid)
        for tid in change.tids:
            self._set(tid, _PENDING)
            for column in (self.errors, self.why, self.due):
                column.pop(tid, None)
        for tid in change.bump:
            self.generation[tid] = self.generation_of(tid) + 1
            self.number[tid] = 0

    def _restored(self, change: Restored) -> None:
        """A reset was taken back: what stood stands again. No attempt is added by it."""
        for tid in change.bump:
            self.generation[tid] = max(1, self.generation_of(tid) - 1)
        for inner in change.changes:
            if isinstance(inner, Succeeded):
                for a in inner.attempts:
                    self._stands(a, _SUCCESS)
            elif isinstance(inner, Failed):
                self._stands(inner.attempt, inner.state)
                self.errors[inner.attempt.tid] = (str(inner.attempt.reason), inner.attempt.error)
            elif isinstance(inner, Moved):
                self._moved(inner._replace(ran=None))
            else:
                self._fold[type(inner)](inner)

    def _stands(self, a: Attempt, state: TaskState) -> None:
        self._set(a.tid, state)
        self.number[a.tid], self.start[a.tid], self.end[a.tid] = a.number, a.start, a.end

    def _drop_items(self, node: int) -> None:
        """A map starts over: its items count no more, and its own entry does again."""
        before = self.previous[node] = self.spread.pop(node)
        for tid in range(before[0], before[0] + before[1]):
            self._uncount(tid)
        self._runs.pop(self.section[node], None)
        self.state[node] = _PENDING
        self.counts[self.section[node]][_PENDING] += 1
        self.totals[_PENDING] += 1
        self._dirty.add(self.section[node])

    def _uncount(self, tid: int) -> None:
        state, section = self.state[tid], self.section[tid]
        self.counts[section][state] -= 1
        self.totals[state] -= 1
        if _IS_HOT[state]:
            self.hot[TaskState(state)][section].pop(tid, None)
            self.worker.pop(tid, None)

    def _expanded(self, change: Expanded) -> None:
        node, base, size = change.node, change.base, change.size
        if node in self.spread:
            self._drop_items(node)
        before = self.previous.pop(node, None)
        if before is not None:
            inherit(self.generation, before, base, size, change.keys)
        self._grow(base + size, node, base)
        self._uncount(node)
        self.state[node] = _RUNNING
        self.spread[node] = (base, size, change.keys)
        self._runs.pop(self.section[node], None)
        section = self.section[node]
        self.counts[section][_PENDING] += size
        self.totals[_PENDING] += size
        self._dirty.add(section)
        for new, old in change.carried:
            self._set(new, _SUCCESS)
            self.number[new], self.start[new], self.end[new] = (
                self.number[old], self.start[old], self.end[old])
            if old in self.generation:
                self.generation[new] = self.generation[old]

    def _grow(self, upto: int, node: int, base: int) -> None:
        """Make room for ids below `upto`; those from `base` on belong to `node`."""
        more = upto - len(self.state)
        if more > 0:
            self.state.extend(bytes(more))
            self.number.frombytes(bytes(4 * more))
            self.start.frombytes(bytes(8 * more))
            self.end.frombytes(bytes(8 * more))
            self.node.extend([-1] * more)
            self.section.extend([0] * more)
        self.node[base:upto] = array("i", [node]) * (upto - base)
        self.section[base:upto] = array("I", [self.section[node]]) * (upto - base)

    def _run_moved(self, change: RunMoved) -> None:
        before, self.run_state, self.run_why = self.run_state, change.state, change.why
        goes_on = change.state in (RunState.RUNNING, RunState.PAUSED, RunState.CANCELLING)
        if change.state is RunState.RUNNING:
            since = rested_since(before, self.ended, self._last_seen)
            if since is not None:
                self.rests.append((since, max(since, change.at)))
            if since is not None or not self.began:
                self.session = change.at
        if goes_on and not self.began:
            self.began = change.at
        self.ended = 0.0 if goes_on else change.at
        self.latest = max(self.latest, change.at)

    def _last_seen(self) -> float:
        return max(self.latest, max(self.start, default=0.0))

    # -- beginning from what is recorded ------------------------------------------------------

    @classmethod
    def of_record(cls, shape: Shape, record: RunRecord) -> RunView:
        """What a recorded run is; later changes follow upon it."""
        view = cls(shape)
        size = len(record.state)
        for node, (base, count, keys) in sorted(record.expansions.items(), key=lambda e: e[1][0]):
            view._grow(base + count, node, base)
            view.spread[node] = (base, count, keys)
        view._grow(size, 0, size)
        view.state[:] = record.state
        view.number[:], view.start[:], view.end[:] = (
            record.number, array("d", record.start), array("d", record.end))
        view.previous = {node: before[:3] for node, before in record.previous.items()}
        view.generation = dict(record.generation)
        view.errors, view.why = dict(record.errors), dict(record.why)
        view.due = {tid: due for tid, due in record.due.items()
                    if record.state[tid] == TaskState.UP_FOR_RETRY}
        view.run_state, view.run_why = record.run_state, record.run_why
        view.began, view.ended, view.rests = record.began, record.ended, record.rests[:]
        view.session = record.began
        view._recount()
        view._seed_attempts()
        return view

    def reshape(self, shape: Shape) -> None:
        """What is said of the nodes changed; ids and states stand."""
        self.shape = shape
        for tid, node in enumerate(self.node):
            if node >= 0:
                self.section[tid] = shape.section_of[node]
        self.counts = [[0] * STATES for _ in shape.sections]
        self.hot = {state: [{} for _ in shape.sections] for state in HOT}
        self._recount()
        self._note_version()
        if self.past is not None:
            self.past.note((Reshaped(shape),))

    def copied(self, attempts: int) -> RunView:
        """The same at this moment, to go on by itself, with the first `attempts` attempts."""
        copy = RunView(self.shape)
        for name in ("state", "number", "start", "end", "node", "section"):
            setattr(copy, name, getattr(self, name)[:])
        for name in ("spread", "previous", "generation", "errors", "why", "due", "worker", "tries"):
            setattr(copy, name, dict(getattr(self, name)))
        for name in ("run_state", "run_why", "began", "ended", "latest", "session"):
            setattr(copy, name, getattr(self, name))
        copy.attempts = self.attempts.copied(attempts)
        copy.totals, copy.rests = self.totals[:], self.rests[:]
        copy.counts = [counts[:] for counts in self.counts]
        copy.hot = {state: [dict(ids) for ids in places] for state, places in self.hot.items()}
        copy._pace = self._pace.copied(copy)
        return copy

    def interrupt(self) -> None:
        """Its owner is gone: what it left running was cut short, and waits for a resume."""
        self.run_state, self.run_why = RunState.INTERRUPTED, "its owner is gone"
        self.ended = self.ended or self.latest
        for state in (_RUNNING, TaskState.CANCELLING):
            for tid in self.ids_of(state):
                self._set(tid, _PENDING)
                self.why[tid] = (-1, "was interrupted")
        self._note_version()

    def _recount(self) -> None:
        """Derive the counters from the states."""
        self._runs.clear()
        self.totals = [0] * STATES
        for section in self.shape.sections:
            ids = self.runs_of(section)
            if isinstance(ids, range):
                states = bytes(self.state[ids.start:ids.stop])
            else:
                states = bytes(self.state[tid] for tid in ids)
            counts = self.counts[section.place] = [states.count(s) for s in range(STATES)]
            for s, n in enumerate(counts):
                self.totals[s] += n
            for state in HOT:
                found = {} if not counts[state] else {
                    tid: None for tid, s in zip(ids, states, strict=True) if s == state}
                self.hot[state][section.place] = found
            self._dirty.add(section.place)

    def _seed_attempts(self) -> None:
        """The last attempt of each task run is all that a record has of them."""
        ended = [tid for tid in self.live_ids() if self.end[tid] and self.start[tid]]
        for tid in sorted(ended, key=self.end.__getitem__):
            state = self.state_of(tid)
            self.attempts.add(tid, self.number[tid], self.start[tid], self.end[tid], state, -1)
            self.latest = max(self.latest, self.end[tid])
            if tid in self.errors:
                reason, error = self.errors[tid]
                self._note_try(tid, self.number[tid], self.start[tid], self.end[tid], state,
                               reason, error)


class Chained(Sequence[int]):
    """Several runs of ids one after the other, without a copy of them."""

    def __init__(self, parts: list[Sequence[int]]) -> None:
        self._parts = parts
        self._ends: list[int] = []
        total = 0
        for part in parts:
            total += len(part)
            self._ends.append(total)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self)
        part = bisect_right(self._ends, index)
        if not 0 <= index < len(self):
            raise IndexError(index)
        before = self._ends[part - 1] if part else 0
        return self._parts[part][index - before]

    def position(self, tid: int) -> int:
        """Where an id is; -1 if it is not there. As fast as there are few parts."""
        before = 0
        for part, end in zip(self._parts, self._ends, strict=True):
            if tid in part:
                return before + part.index(tid)
            before = end
        return -1

    def __iter__(self) -> Iterator[int]:
        for part in self._parts:
            yield from part
