"""A run as the screen knows it: a pure fold over its changes, into columns (`run_columns`).

Rule 1: a live run, an attached one, one long ended and a moment of its past are all this one
        model; only who feeds it differs (`feed`). Nothing here knows a terminal or a clock.
Rule 2: only recorded changes enter, so that nothing is shown which the journal would
        contradict.
Rule 3: a change costs what it changes; successes, the bulk, are taken in by columns.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
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
from flowforge_tui.attempts import NO_WORKER, Ended, worker_of
from flowforge_tui.pace import Pace
from flowforge_tui.run_columns import RunColumns, Try, any_hot
from flowforge_tui.shape import Shape

if TYPE_CHECKING:
    from engine.front import Attempt, Change, ErrorInfo, Ran, RunRecord
    from flowforge_tui.history import Past

_PENDING, _RUNNING, _SUCCESS = TaskState.PENDING, TaskState.RUNNING, TaskState.SUCCESS


class Reshaped(NamedTuple):
    """What is said of the nodes changed."""

    shape: Shape


class RunView(RunColumns):
    """The columns of a run, and what changes do to them."""

    past: Past | None = None
    """Keeps the changes for time travel, if somebody wants them kept."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self._pace = Pace(self)

    @property
    def pace(self) -> Pace:
        """How fast it goes; anew where the sections are others."""
        if len(self._pace.spans) != len(self.shape.sections):
            self._pace = Pace(self)
        return self._pace

    # -- folding ----------------------------------------------------------------------------

    def apply(self, changes: Sequence[Change | Ended | Reshaped]) -> None:
        """Fold recorded changes, in order; successes as the engine has them, or in columns."""
        for change in changes:
            fold = _FOLD.get(type(change))
            if fold is not None:
                fold(self, change)
        self._note_version()
        if self.past is not None:
            self.past.note(changes)

    def _succeeded(self, change: Succeeded) -> None:
        self._ended_well(Ended.of(change.attempts))

    def _ended_well(self, ended: Ended) -> None:
        """By columns, and by slices where ids are neighbours, as those of a map mostly are:
        0.1 µs a task run; 0.3 µs where they are not."""
        if not ended.tids:
            return
        tids, runs, state, section = ended.tids, ended.runs(), self.state, self.section
        places: Sequence[int]
        if runs is not None:
            slices = [slice(tids[i], tids[i] + j - i) for i, j in runs]
            old = b"".join([state[at] for at in slices])
            places = array("I", b"".join([section[at].tobytes() for at in slices]))
        else:
            old = bytes([state[tid] for tid in tids])
            places = [section[tid] for tid in tids]
        if any_hot(old):
            for tid in tids:
                self._set(tid, _SUCCESS)
        else:
            self._count_moved(places, old, _SUCCESS)
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
        if change.ran is not None:
            for tid in change.tids:
                self._ran(tid, change.ran, change.state)
        self._set_all(change.tids, change.state)
        if change.cause >= 0 or change.why:
            self.why.update(dict.fromkeys(change.tids, (change.cause, change.why)))

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
                _FOLD[type(inner)](self, inner)

    def _stands(self, a: Attempt, state: TaskState) -> None:
        self._set(a.tid, state)
        self.number[a.tid], self.start[a.tid], self.end[a.tid] = a.number, a.start, a.end

    def _expanded(self, change: Expanded) -> None:
        node, base, size = change.node, change.base, change.size
        if node in self.spread:
            self._drop_items(node)
        inherit(self.generation, node, self.previous.pop(node, None), base, size, change.keys)
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


#: What each kind of change does; those that are not here are none of the screen's.
_FOLD: dict[type, Callable[[RunView, Any], None]] = {
    Succeeded: RunView._succeeded, Failed: RunView._failed, Started: RunView._started,
    Moved: RunView._moved, Reset: RunView._reset, Expanded: RunView._expanded,
    RunMoved: RunView._run_moved, Ended: RunView._ended_well, Restored: RunView._restored,
    Reshaped: lambda view, change: view.reshape(change.shape),
}
