"""A run in columns, with counters beside them: what is kept of it, and what is read of that.

Rule 1: a column is indexed by task-run id; see `Shape` for what an id means. What few task runs
        have is kept for those alone.
Rule 2: counters are kept a section and in all, and what asks for attention (failed, running, up
        for retry) is at hand without a search. They equal a recount at every moment; a test
        holds that.
Rule 3: an expanded map's own entry stands for the group; its items are the task runs.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from engine import RunState, TaskState
from flowforge_tui.attempts import AttemptLog
from flowforge_tui.ids import Chained
from flowforge_tui.shape import Section, Shape

if TYPE_CHECKING:
    from engine.front import ErrorInfo

    Spread = tuple[int, int, Sequence[str] | None]
    """(first item's id, number of items, their names or None)."""

STATES = len(TaskState)
_PENDING, _RUNNING, _SUCCESS = TaskState.PENDING, TaskState.RUNNING, TaskState.SUCCESS

#: States whose task runs are kept at hand a section, in the order in which they took it.
HOT = (TaskState.FAILED, TaskState.UP_FOR_RETRY, TaskState.RUNNING, TaskState.CANCELLING)
_IS_HOT = bytes(TaskState(i) in HOT for i in range(STATES))
_HOT_BYTES = bytes(HOT)


class Try(NamedTuple):
    """An attempt of a task run that failed at least once. Times as in `AttemptLog`."""

    number: int
    generation: int
    start: float
    end: float
    state: TaskState
    reason: str
    error: ErrorInfo | None


def any_hot(states: bytes) -> bool:
    """True if a task run in one of them is at hand elsewhere, too."""
    return len(states.translate(None, _HOT_BYTES)) < len(states)


class RunColumns:
    """All that is known of a run at a moment."""

    run_state = RunState.PENDING
    run_why = ""
    began = 0.0
    ended = 0.0
    """When the run took a state that ends a session; 0.0 while it goes on."""
    latest = 0.0
    """The latest moment that a change told of."""
    session = 0.0
    """When the session began that goes on, or the last one; as far as changes told of it."""
    version = 0
    """Counts up with every batch of changes."""

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
        self.spread: dict[int, Spread] = {}
        """Expanded node → its items."""
        self.previous: dict[int, Spread] = {}
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
        self.rests: list[tuple[float, float]] = []
        """From when to when it did not run, as in `RunRecord`."""
        self._dirty: set[int] = set()
        """Sections that the batch in hand changed."""
        self._touched: dict[int, int] = {}
        """Section → the version that last changed it, the latest at the end."""
        self._count_none()
        for section in shape.sections:
            self.counts[section.place][_PENDING] = len(section.nodes)
        self.totals[_PENDING] = size

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

    # -- counting ---------------------------------------------------------------------------

    def _count_none(self) -> None:
        self._runs: dict[int, Sequence[int]] = {}
        """Section → ids of its task runs, of sections with several maps."""
        self.totals = [0] * STATES
        self.counts: list[list[int]] = [[0] * STATES for _ in self.shape.sections]
        """Section → state → number of its task runs in it."""
        self.hot: dict[TaskState, list[dict[int, None]]] = {
            state: [{} for _ in self.shape.sections] for state in HOT
        }
        """State → section → ids of the task runs in it, in the order in which they took it."""

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

    def _set_all(self, tids: Sequence[int], new: int) -> None:
        """Task runs take a state. Items in a row are a slice: one by one, a hundred thousand that
        become ready at once took 60 ms."""
        if isinstance(tids, range) and not _IS_HOT[new] and self._are_items(tids):
            at = slice(tids.start, tids.stop)
            old = bytes(self.state[at])
            if not any_hot(old):
                self._count_moved(self.section[at], old, new)
                self.state[at] = bytes([new]) * len(tids)
                return
        for tid in tids:
            self._set(tid, new)

    def _are_items(self, tids: range) -> bool:
        """True of ids that follow upon each other and are items of one map that count."""
        if not tids or tids.step != 1:
            return False
        spread = self.spread.get(self.node[tids.start])
        return spread is not None and (
            spread[0] <= tids.start and tids.stop <= spread[0] + spread[1])

    def _count_moved(self, places: Sequence[int], old: bytes, new: int) -> None:
        """Task runs that count, in these sections, go from their `old` states to another."""
        totals = self.totals
        if places.count(places[0]) == len(places):
            moved = [((places[0], s), old.count(s)) for s in set(old)]
        else:
            moved = list(Counter(zip(places, old, strict=True)).items())
        for (place, s), number in moved:
            counts = self.counts[place]
            counts[s] -= number
            counts[new] += number
            totals[s] -= number
            totals[new] += number
            self._dirty.add(place)

    def _uncount(self, tid: int) -> None:
        state, section = self.state[tid], self.section[tid]
        self.counts[section][state] -= 1
        self.totals[state] -= 1
        if _IS_HOT[state]:
            self.hot[TaskState(state)][section].pop(tid, None)
            self.worker.pop(tid, None)

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

    def _grow(self, upto: int, node: int, base: int) -> None:
        """Make room for ids below `upto`; those from `base` on belong to `node`."""
        more = upto - len(self.state)
        if more > 0:
            self.state.extend(bytes(more))
            self.number.frombytes(bytes(4 * more))
            self.start.frombytes(bytes(8 * more))
            self.end.frombytes(bytes(8 * more))
            self.node.extend(array("i", [-1]) * more)
            self.section.extend(array("I", [0]) * more)
        self.node[base:upto] = array("i", [node]) * (upto - base)
        self.section[base:upto] = array("I", [self.section[node]]) * (upto - base)

    def _recount(self) -> None:
        """Derive the counters from the states."""
        self._count_none()
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

    def _note_version(self) -> None:
        self.version += 1
        for place in self._dirty:
            self._touched.pop(place, None)
            self._touched[place] = self.version
        self._dirty.clear()
