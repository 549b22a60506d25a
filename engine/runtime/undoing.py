"""Taking the last command back: for a few seconds, and while nothing of it has started.

Rule 1: what is undone stands as it did, on disk too: how it stood is read from the journal, folded
        up to the row with the reset, and written again behind it. A crash right after that resumes
        to the same.
Rule 2: results come back as they were in memory, so that nothing is computed again for an undo.
Rule 3: what has begun is not undone; who asks is told what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from engine.core.events import ErrorInfo, Restored
from engine.core.machine import Machine, Taken
from engine.core.record import RunRecord
from engine.core.states import GOOD
from engine.errors import RunError
from engine.runtime.history import History
from engine.runtime.journal import pack_entries, unpack_entries, unpack_ids
from engine.runtime.replay import changes_to
from engine.runtime.values import Values
from engine.state.store import Row

#: Seconds for which a command can be taken back.
UNDO_SECONDS = 5.0

Rows = Callable[[], Iterable[Row]]


class Undo(NamedTuple):
    """How the last command is taken back."""

    at: float
    """When it was given."""
    act: Callable[[], str]
    """Takes it back; what is told. Raises RunError if that is too late."""


class Lost(NamedTuple):
    """What a reset takes out of memory."""

    taken: Taken
    slots: dict[int, Any]
    errors: dict[int, tuple[str, ErrorInfo]]


def about_to_go(taken: Taken, values: Values) -> Lost:
    """Keep what a reset takes. Under the runner's lock, before the reset is recorded."""
    slots = {t: values.slots[t] for t in taken.tids}
    return Lost(taken, slots, {t: values.errors[t] for t in taken.tids if t in values.errors})


def how_it_stood(rows: Rows, taken: Taken) -> Restored:
    """What is to be recorded to take a reset back. Raises RunError."""
    wanted = list(taken.tids)
    place = _place(rows(), wanted)
    if place is None:
        raise RunError("it cannot be undone: its row in the journal is not found")
    record = _folded(rows(), place)
    return Restored(taken.bump, changes_to(record, wanted))


def give_back(lost: Lost, values: Values) -> None:
    """Results and errors as they were. Under the runner's lock."""
    for tid, value in lost.slots.items():
        values.slots[tid] = value
    values.errors.update(lost.errors)
    values.recount()


def check_untouched(machine: Machine, taken: Taken, name_of: Callable[[int], str]) -> None:
    """Raise RunError if something of a reset has started, or another one came since."""
    if machine.taken is not taken:
        raise RunError("it cannot be undone: something else was reset since")
    if taken.final:
        raise RunError("it cannot be undone: it stopped attempts that were running, or waiting "
                       "for their next try")
    moved = machine.moved_on()
    if moved is not None:
        raise RunError(f"it cannot be undone: {name_of(moved)} has started")


def results_in(taken: Taken) -> int:
    """How many results a reset discarded."""
    return sum(state in GOOD for state in taken.states)


Place = tuple[int, int]
"""A row, and which of its entries."""


def _place(rows: Iterable[Row], tids: Sequence[int]) -> Place | None:
    """Where the last reset of these task runs is recorded."""
    found = None
    for row in rows:
        if row.data is None:
            raise RunError(f"it cannot be undone: row {row.seq} of the journal is damaged")
        for at, entry in enumerate(unpack_entries(row.data)):
            if entry[0] == "Z" and list(unpack_ids(entry[1])) == tids:
                found = (row.seq, at)
    return found


def _folded(rows: Iterable[Row], place: Place) -> RunRecord:
    """The record as it was before one entry of the journal."""
    history = History()
    for row in rows:
        history.read([_before(row, place)])
        if row.seq == place[0]:
            break
    return history.record


def _before(row: Row, place: Place) -> Row:
    if row.seq != place[0] or row.data is None:
        return row
    return Row(row.seq, pack_entries(unpack_entries(row.data)[:place[1]]))
