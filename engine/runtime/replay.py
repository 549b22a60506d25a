"""A stored run told again: the journal's rows as the changes that the bus delivered.

Rule 1: what folds a live run folds a stored one: the same change objects, in the same order.
        What is not the machine's (a session, a graph, figures) comes as a small tuple of its own.
Rule 2: where the graph changes, ids change their meaning: `GraphChanged` starts everything over,
        and changes made from the record tell what still stands, before the row's others.
Rule 3: reads are short and in slices; a follower of a live run never holds a transaction open.
Rule 4: what cannot be read is told as `Damaged`. The snapshot stands in where it reaches.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from engine.core.events import (
    Attempt,
    Change,
    ErrorInfo,
    Expanded,
    Failed,
    Moved,
    OutlineChanged,
    Ran,
    Reset,
    Restored,
    RunMoved,
    Started,
    Succeeded,
)
from engine.core.record import RunRecord
from engine.core.states import (
    CANCELLED,
    CANCELLING,
    FAILED,
    PENDING,
    QUEUED,
    RUNNING,
    SUCCESS,
    UP_FOR_RETRY,
    RunState,
    TaskState,
)
from engine.errors import NewerSchema, StorageError
from engine.runtime.history import History, graphs_in, unpack_history
from engine.runtime.journal import Entry, ran_of, unpack_entries, unpack_ids
from engine.runtime.outline import Outline
from engine.state.snapshot import read_snapshot
from engine.state.sqlite_store import SqliteReader, SqliteStore
from engine.state.store import Row
from engine.worker.codec import unpack_column

#: Rows read by one poll unless told otherwise, and bytes after which it stops: some 10,000 task
#: runs, told in 25 ms, so that whoever draws meanwhile is not held up.
ROWS = 5000
SLICE = 250_000


class PastAttempt(Attempt):
    """An attempt as the journal has it: without node, value and exception."""

    __slots__ = ()

    def __init__(
        self, tid: int, number: int, generation: int, start: float, end: float,
        status: TaskState | None,
    ) -> None:
        self.tid = tid
        self.number = number
        self.generation = generation
        """0 where it is not known."""
        self.start = start
        self.end = end
        self.status = status
        self.worker = -1
        """Not recorded."""
        self.cancelled = False
        self.timeout = None

    def __repr__(self) -> str:
        status = self.status.name if self.status is not None else "in hand"
        return f"<PastAttempt #{self.tid} try {self.number}: {status}>"


class SessionBegan(NamedTuple):
    """A process took the run in hand. Task runs that were in flight follow as PENDING."""

    about: Mapping[str, Any]
    """What the run was started with."""
    session: Mapping[str, Any]
    """Who runs it: pid, host, began (seconds since the epoch)."""


class GraphChanged(NamedTuple):
    """The run has a graph, or another one than before. Everything folded so far is void."""

    outline: Outline
    node_map: Sequence[int] | None
    """New node → old node or -1; None: nothing is taken over."""


class Figures(NamedTuple):
    """What a session did, in figures, told at its end."""

    figures: Mapping[str, Any]


class Damaged(NamedTuple):
    """Something could not be read."""

    text: str


Told = Change | SessionBegan | GraphChanged | Figures | Damaged


class Step(NamedTuple):
    """What one row of the journal tells."""

    seq: int
    changes: Sequence[Told]
    at: float
    """Seconds since the epoch. A row has no time of its own: it is the latest time that its
    entries carry (an end, a start, a move of the run), or else that of the row before."""


# -- one row ----------------------------------------------------------------------------------

Generations = Mapping[int, int] | None
"""Task run → generation where it is not 1; None: no generation is known."""


def changes_of(data: bytes) -> list[Told]:
    """What a row of the journal tells, by itself: generations are not known (0).

    Raises ValueError or StorageError for data that is no row.
    """
    return [told for entry in unpack_entries(data) if (told := _told(entry, None)) is not None]


def _told(entry: Entry, generations: Generations) -> Told | None:
    tell = _TELLERS.get(entry[0])
    return None if tell is None else tell(entry, generations)


def _generation(generations: Generations, tid: int) -> int:
    return 0 if generations is None else generations.get(tid, 1)


def _succeeded(e: Entry, known: Generations) -> Told:
    starts, ends = array("d"), array("d")
    starts.frombytes(e[3])
    ends.frombytes(e[4])
    tids = unpack_ids(e[1])
    numbers = e[2] or [1] * len(tids)
    if not known:
        generation = 0 if known is None else 1
        attempts = [PastAttempt(tid, number, generation, start, end, SUCCESS)
                    for tid, number, start, end in zip(tids, numbers, starts, ends, strict=True)]
    else:
        attempts = [PastAttempt(tid, number, known.get(tid, 1), start, end, SUCCESS)
                    for tid, number, start, end in zip(tids, numbers, starts, ends, strict=True)]
    return Succeeded(attempts)


def _success(e: Entry, known: Generations) -> Told:
    return Succeeded((PastAttempt(e[1], e[2], _generation(known, e[1]), e[3], e[4], SUCCESS),))


def _failed(e: Entry, known: Generations) -> Told:
    _, tid, state, number, start, end, reason, error, due, _ = e
    attempt = PastAttempt(tid, number, _generation(known, tid), start, end, FAILED)
    attempt.reason, attempt.error = reason, ErrorInfo(*error)
    return Failed(attempt, TaskState(state), due)


def _started(e: Entry, known: Generations) -> Told:
    return Started([PastAttempt(tid, number, _generation(known, tid), start, 0.0, None)
                    for tid, number, start in zip(e[1], e[2], e[3], strict=True)])


def _expanded(e: Entry, _: Generations) -> Told:
    _, node, base, count, keys, marks, carried = e
    if marks is not None:
        marks = range(*marks) if isinstance(marks, list) else unpack_column(marks)
    return Expanded(node, base, count, keys, marks, [(new, old) for new, old in carried])


def _restored(e: Entry, known: Generations) -> Told:
    inner = [told for entry in e[2] if (told := _told(entry, known)) is not None]
    return Restored(unpack_ids(e[1]), inner)


_TELLERS: dict[str, Callable[[Entry, Generations], Told]] = {
    "S": _succeeded,
    "s": _success,
    "F": _failed,
    "R": _started,
    "M": lambda e, _: Moved(unpack_ids(e[1]), TaskState(e[2]), e[3], e[4], ran_of(e)),
    "Z": lambda e, _: Reset(unpack_ids(e[1]), unpack_ids(e[2]), e[3]),
    "X": _expanded,
    "B": _restored,
    "V": lambda e, _: RunMoved(RunState(e[1]), e[2], e[3]),
    "O": lambda e, _: SessionBegan(e[1], e[2]),
    "G": lambda e, _: GraphChanged(Outline.from_data(e[1]), e[2]),
    "U": lambda e, _: OutlineChanged(Outline.from_data(e[1])),
    "T": lambda e, _: Figures(e[1]),
}


def time_of(told: Told) -> float:
    """The time that a change carries, in seconds since the epoch; 0.0 if it carries none."""
    if isinstance(told, Succeeded):
        return max((a.end for a in told.attempts), default=0.0)
    if isinstance(told, Failed):
        return told.attempt.end
    if isinstance(told, Started):
        return max((a.start for a in told.attempts), default=0.0)
    if isinstance(told, RunMoved):
        return told.at
    if isinstance(told, SessionBegan):
        began = told.session.get("began")
        return began if isinstance(began, float) else 0.0
    return 0.0


# -- a record as changes ------------------------------------------------------------------------


def changes_from(record: RunRecord) -> list[Change]:
    """The changes that lead from nothing to the states that a record has.

    For whoever begins to follow a run in the middle: what happened on the way (earlier
    attempts, when what was queued) is not in a record.
    """
    out: list[Change] = []
    if record.began:
        out.append(RunMoved(RunState.RUNNING, "", record.began))
    out += changes_to(record, (*record.live_ids(), *record.expansions))
    if record.run_state not in (RunState.PENDING, RunState.RUNNING):
        out.append(RunMoved(record.run_state, record.run_why, record.ended or record.began))
    return out


def changes_to(record: RunRecord, ids: Iterable[int]) -> list[Change]:
    """The changes that lead some task runs from PENDING to how they stand in a record."""
    by_state: dict[int, list[int]] = {}
    spreads = []
    for tid in ids:
        by_state.setdefault(record.state[tid], []).append(tid)
        if tid in record.expansions:
            spreads.append((record.expansions[tid], tid))
    by_state.pop(PENDING, None)
    out: list[Change] = [
        Expanded(k, base, count, keys, record.marks.get(k), ())
        for (base, count, keys), k in sorted(spreads, key=lambda spread: spread[0][0])]
    for state, tids in by_state.items():
        out += _of_state(record, TaskState(state), tids)
    return out


def _of_state(record: RunRecord, state: TaskState, tids: list[int]) -> Iterator[Change]:
    tried = [t for t in tids if record.number[t] and t not in record.expansions]
    if state is SUCCESS:
        if tried:
            yield Succeeded([_attempt(record, t, SUCCESS) for t in tried])
    elif state in (RUNNING, CANCELLING):
        if tried:
            yield Started([_attempt(record, t, None) for t in tried])
        if state is RUNNING:
            return  # a group is so by its expansion
        tried = []
    elif state in (FAILED, UP_FOR_RETRY):
        tried = [t for t in tids if t in record.errors]
        for t in tried:
            attempt = _attempt(record, t, FAILED)
            attempt.reason, attempt.error = record.errors[t]
            yield Failed(attempt, state, record.due.get(t, 0.0))
    else:
        tried = []
    known = set(tried)
    why: dict[tuple[int, str], list[int]] = {}
    for t in tids:
        if t not in known:
            why.setdefault(record.why.get(t, (-1, "")), []).append(t)
    for (cause, text), some in why.items():
        ran = {t for t in some if state is CANCELLED and _ran_last(record, t)}
        for t in sorted(ran):
            yield Moved([t], state, cause, text, Ran(
                record.number[t], record.generation.get(t, 1), record.start[t], record.end[t]))
        if len(ran) < len(some):
            yield Moved([t for t in some if t not in ran], state, cause, text)


def _ran_last(record: RunRecord, tid: int) -> bool:
    """True if what is recorded of an attempt is known to be of the one that was cancelled."""
    return bool(record.start[tid] and record.end[tid] and tid not in record.errors)


def _attempt(record: RunRecord, tid: int, status: TaskState | None) -> PastAttempt:
    attempt = PastAttempt(tid, record.number[tid], record.generation.get(tid, 1),
                          record.start[tid], record.end[tid], status)
    attempt.payload = record.values[tid]
    return attempt


# -- following ---------------------------------------------------------------------------------


class Follower:
    """Reads a run's journal from its first row on, as it grows. Used by one thread at a time.

    `history` is folded along: at any time the record of all that `poll` has returned.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.history = History()
        self.at = 0.0
        """The time of the last step."""
        self._path = run_dir / "run.db"
        self._reader: SqliteReader | None = None
        self._inode = 0
        self._told = 0
        """How much of the damage was told."""
        self._unreadable = False

    def poll(self, limit: int = ROWS) -> list[Step]:
        """The next rows, at most `limit` of them; none where the journal ends for now.

        Raises StorageError if neither the journal nor a snapshot can be read, NewerSchema.
        """
        if self._unreadable:
            return []
        try:
            reader = self._open()
            graphs = graphs_in(reader.meta())
            rows = list(_slice(reader.rows(self.history.seq), limit))
        except NewerSchema:
            raise
        except StorageError as error:
            return self._only_snapshot(error)
        steps = []
        for row in rows:
            if row.seq <= self.history.seq:
                continue  # the snapshot has told of it
            steps.append(self._step(row, graphs))
        return steps

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _open(self) -> SqliteReader:
        """The reader; another one if a resume had to rebuild the file."""
        try:
            inode = self._path.stat().st_ino
        except OSError as error:
            self.close()
            raise StorageError(f"{self._path} is missing ({error})") from None
        if self._reader is None or inode != self._inode:
            self.close()
            self._reader, self._inode = SqliteStore.read(self._path), inode
        return self._reader

    def _step(self, row: Row, graphs: frozenset[int]) -> Step:
        if row.data is None:
            standing_in = self._from_snapshot(row.seq)
            if standing_in is not None:
                return standing_in
        told: list[Told] = []
        for entry in self.history.entries(row, graphs):
            news = _told(entry, self.history.record.generation)
            if news is not None:
                told.append(news)
                self._follow_up(news, told)
        told[:0] = self._damage()
        return self._made(row.seq, told)

    def _follow_up(self, news: Told, told: list[Told]) -> None:
        if isinstance(news, GraphChanged) and news.node_map is not None:
            told += changes_from(self.history.record)
        elif isinstance(news, SessionBegan):
            told += _cut_short(self.history.record)

    def _made(self, seq: int, told: list[Told]) -> Step:
        self.at = max([self.at, *map(time_of, told)])
        return Step(seq, told, self.at)

    # -- what cannot be read -----------------------------------------------------------------

    def _damage(self) -> list[Told]:
        fresh = self.history.damage[self._told:]
        self._told = len(self.history.damage)
        return [Damaged(text) for text in fresh]

    def _from_snapshot(self, lost: int) -> Step | None:
        """All that the snapshot knows, if it reaches as far as the lost row."""
        found = self._snapshot()
        if found is None or found.seq < lost:
            return None
        known = self.history.damage
        # The same object: whoever looks at the history goes on looking at it.
        self.history.__dict__.update(found.__dict__)
        self.history.damage = [*known, f"journal row {lost} is damaged; the snapshot stands in "
                               f"for the rows up to {found.seq}"]
        told: list[Told] = self._damage()
        if found.sessions:
            told.append(SessionBegan(found.about, found.sessions[-1]))
        if found.outline is not None:
            told.append(GraphChanged(found.outline, None))
        told += changes_from(found.record)
        return self._made(found.seq, told)

    def _only_snapshot(self, error: StorageError) -> list[Step]:
        found = self._snapshot()
        if found is None:
            raise error
        self._unreadable = True
        self.history.damage.append(
            f"the journal cannot be read ({error}); this is the last snapshot")
        if found.seq <= self.history.seq:
            return [Step(self.history.seq, self._damage(), self.at)]
        step = self._from_snapshot(found.seq)
        return [] if step is None else [step]

    def _snapshot(self) -> History | None:
        try:
            found = read_snapshot(self.run_dir / "snapshot.msgpack")
            return None if found is None else unpack_history(*found)
        except Exception:
            return None


def _slice(rows: Iterator[Row], limit: int) -> Iterator[Row]:
    size = 0
    for row in islice(rows, limit):
        yield row
        size += len(row.data or b"")
        if size > SLICE:
            return


def _cut_short(record: RunRecord) -> list[Change]:
    """Task runs that the session before left in flight, or queued, and that start over."""
    flying = [t for t in record.live_ids() if record.state[t] in (RUNNING, CANCELLING, QUEUED)]
    return [Moved(flying, PENDING, -1, "")] if flying else []
