"""Changes as rows of the journal, and rows folded back into a record.

Rule 1: one row a commit, of one step of the machine or several in order. A row is a msgpack
        list of entries, each a list that opens with its kind; kinds are one letter, since a
        row of one success is 40 bytes.
Rule 2: batches of successes are columns: a thousand no-ops pack in a fifth of the time of a
        thousand records, and unpack at the speed of a slice.
Rule 3: a reader skips kinds that it does not know; a new kind therefore needs no new schema,
        a new meaning of an old kind does.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgpack

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
from engine.core.states import FailureReason, RunState, TaskState
from engine.worker.codec import pack_column, unpack_column

Entry = list[Any]

#: Failures of these reasons spend none of a task's retries.
UNCHARGED = frozenset({FailureReason.CRASHED, FailureReason.INTERRUPTED})


def pack_ids(tids: Sequence[int]) -> Any:
    """Ids in little space: [first, count] of a row of neighbours, else their bytes."""
    n = len(tids)
    if isinstance(tids, range) and (n < 2 or tids.step == 1):
        return [tids.start, n]
    if n and tids[n - 1] - tids[0] == n - 1 and [*tids] == [*range(tids[0], tids[0] + n)]:
        return [tids[0], n]
    return array("I", tids).tobytes()


def ran_of(entry: Entry) -> Ran | None:
    """The attempt that an entry of kind M tells of; None if it tells of none."""
    return Ran(*entry[5:9]) if len(entry) >= 9 else None


def unpack_ids(data: Any) -> Sequence[int]:
    """The inverse of `pack_ids`."""
    if isinstance(data, list):
        return range(data[0], data[0] + data[1])
    ids = array("I")
    ids.frombytes(data)
    return ids


def pack_succeeded(attempts: Sequence[Attempt]) -> Entry:
    """A batch of successes as columns; attempt numbers only where one is not the first.

    One alone, the rule in a chain, is written without columns: 1 µs instead of 4.
    """
    if len(attempts) == 1:
        a = attempts[0]
        return ["s", a.tid, a.number, a.start, a.end, pack_column([a.payload])]
    numbers = [a.number for a in attempts]
    return [
        "S",
        pack_ids([a.tid for a in attempts]),
        None if numbers.count(1) == len(numbers) else numbers,
        array("d", [a.start for a in attempts]).tobytes(),
        array("d", [a.end for a in attempts]).tobytes(),
        pack_column([a.payload for a in attempts]),
    ]


def _pack_failed(change: Failed) -> Entry:
    a = change.attempt
    return ["F", a.tid, int(change.state), a.number, a.start, a.end, str(a.reason),
            list(a.error), change.due, a.reason not in UNCHARGED]


def _pack_started(change: Started) -> Entry:
    return ["R", [a.tid for a in change.attempts], [a.number for a in change.attempts],
            [a.start for a in change.attempts]]


def _pack_expanded(c: Expanded) -> Entry:
    marks = None
    if c.marks is not None:
        marks = ([c.marks.start, c.marks.stop, c.marks.step] if isinstance(c.marks, range)
                 else pack_column(list(c.marks)))
    keys = None if c.keys is None else list(c.keys)
    return ["X", c.node, c.base, c.size, keys, marks, [list(pair) for pair in c.carried]]


_PACKERS: dict[type, Callable[[Any], Entry]] = {
    Succeeded: lambda c: pack_succeeded(c.attempts),
    Failed: _pack_failed,
    Started: _pack_started,
    Moved: lambda c: ["M", pack_ids(c.tids), int(c.state), c.cause, c.why, *(c.ran or ())],
    Restored: lambda c: ["B", pack_ids(c.bump), [_PACKERS[type(i)](i) for i in c.changes]],
    Reset: lambda c: ["Z", pack_ids(c.tids), pack_ids(c.bump), c.why],
    Expanded: _pack_expanded,
    RunMoved: lambda c: ["V", str(c.state), c.why, c.at],
    OutlineChanged: lambda c: ["U", c.outline.to_data()],
}


class ChangePacker:
    """Makes rows of changes. Keeps its packer, which costs more to make than a row to pack.

    Used by one thread at a time.
    """

    def __init__(self) -> None:
        self._pack = msgpack.Packer(unicode_errors="surrogatepass").pack

    def __call__(self, changes: Iterable[Change]) -> bytes:
        """Changes in their order as the data of one row."""
        packed: bytes = self._pack([_PACKERS[type(c)](c) for c in changes])
        return packed


def pack_entries(entries: list[Entry]) -> bytes:
    """Entries made by hand (session openings, graphs) as the data of one row."""
    packed: bytes = msgpack.packb(entries, unicode_errors="surrogatepass")
    return packed


def unpack_entries(data: bytes) -> list[Entry]:
    """The entries of a row."""
    entries: list[Entry] = msgpack.unpackb(
        data, unicode_errors="surrogatepass", strict_map_key=False
    )
    return entries


# -- folding ---------------------------------------------------------------------------------


def _doubles(data: bytes) -> array[float]:
    column = array("d")
    column.frombytes(data)
    return column


def _fold_succeeded(r: RunRecord, e: Entry) -> None:
    r.succeeded(unpack_ids(e[1]), e[2], _doubles(e[3]), _doubles(e[4]), unpack_column(e[5]))


def _fold_success(r: RunRecord, e: Entry) -> None:
    _, tid, number, start, end, value = e
    r.succeeded((tid,), (number,), (start,), (end,), unpack_column(value))


def _fold_failed(r: RunRecord, e: Entry) -> None:
    _, tid, state, number, start, end, reason, error, due, counts = e
    r.failed(tid, TaskState(state), number, start, end, reason, ErrorInfo(*error), due, counts)


def _fold_expanded(r: RunRecord, e: Entry) -> None:
    _, node, base, count, keys, marks, carried = e
    if isinstance(marks, list):
        marks = range(*marks)
    elif marks is not None:
        marks = unpack_column(marks)
    r.expanded(node, base, count, keys, marks, [(new, old) for new, old in carried])


def _fold_restored(r: RunRecord, e: Entry) -> None:
    r.restored(unpack_ids(e[1]))
    for entry in e[2]:
        fold(r, entry)


_FOLDS: dict[str, Callable[[RunRecord, Entry], None]] = {
    "S": _fold_succeeded,
    "s": _fold_success,
    "F": _fold_failed,
    "R": lambda r, e: r.started(e[1], e[2], e[3]),
    "M": lambda r, e: r.moved(unpack_ids(e[1]), TaskState(e[2]), e[3], e[4], ran_of(e)),
    "Z": lambda r, e: r.reset(unpack_ids(e[1]), unpack_ids(e[2])),
    "X": _fold_expanded,
    "B": _fold_restored,
    "V": lambda r, e: r.run_moved(RunState(e[1]), e[2], e[3]),
}


def fold(record: RunRecord, entry: Entry) -> bool:
    """Apply one entry to the record; False if its kind is not one of the machine's."""
    apply = _FOLDS.get(entry[0])
    if apply is None:
        return False
    apply(record, entry)
    return True
