"""A model of a screen, as small as can be: what one fold over changes must be able to tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from engine.core.events import (
    Expanded,
    Failed,
    Moved,
    Reset,
    Restored,
    RunMoved,
    Started,
    Succeeded,
)
from engine.core.record import RunRecord
from engine.core.states import PENDING, RUNNING, SUCCESS, TaskState
from engine.runtime.replay import Damaged, GraphChanged, Step


class Model:
    """Task run → (state, attempt's number, generation, start, end, error's text)."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Any, ...]] = {}
        self.generation: dict[int, int] = {}
        self.groups: dict[int, range] = {}
        self.run = ""
        self.damage: list[str] = []

    def take(self, changes: Iterable[Any]) -> None:
        for c in changes:
            act = getattr(self, f"_{type(c).__name__.lower()}", None)
            if act is not None:
                act(c)

    def steps(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.take(step.changes)

    def _graphchanged(self, c: GraphChanged) -> None:
        self.rows, self.groups, self.generation = {}, {}, {}

    def _succeeded(self, c: Succeeded) -> None:
        for a in c.attempts:
            self.rows[a.tid] = (SUCCESS, a.number, a.generation, a.start, a.end, "")

    def _failed(self, c: Failed) -> None:
        a = c.attempt
        self.rows[a.tid] = (c.state, a.number, a.generation, a.start, a.end, str(a.error))

    def _started(self, c: Started) -> None:
        for a in c.attempts:
            self.rows[a.tid] = (RUNNING, a.number, a.generation, a.start, 0.0, "")

    def _moved(self, c: Moved) -> None:
        for t in c.tids:
            self.rows[t] = (c.state, *self.rows.get(t, (PENDING, 0, 0, 0.0, 0.0, ""))[1:])

    def _reset(self, c: Reset) -> None:
        for t in c.tids:
            self.groups.pop(t, None)
            self.rows[t] = (PENDING, 0, 0, 0.0, 0.0, "")

    def _restored(self, c: Restored) -> None:
        self.take(c.changes)

    def _expanded(self, c: Expanded) -> None:
        self.groups[c.node] = range(c.base, c.base + c.size)
        self.rows[c.node] = (RUNNING, 0, 0, 0.0, 0.0, "")
        for new, old in c.carried:
            self.rows[new] = self.rows[old]

    def _runmoved(self, c: RunMoved) -> None:
        self.run = str(c.state)

    def _damaged(self, c: Damaged) -> None:
        self.damage.append(c.text)

    def states(self) -> dict[int, str]:
        """What is not PENDING."""
        return {t: TaskState(row[0]).name for t, row in self.rows.items() if row[0] != PENDING}

    def ends(self) -> dict[int, tuple[Any, ...]]:
        """What ended by an attempt of its own, with all that is told of it."""
        return {t: row for t, row in self.rows.items()
                if t not in self.groups and row[0] in (SUCCESS, TaskState.FAILED)}


def states_in(record: RunRecord) -> dict[int, str]:
    """The same as `Model.states`, of a record."""
    return {t: record.state_of(t).name for t in (*record.live_ids(), *record.expansions)
            if record.state[t] != PENDING}
