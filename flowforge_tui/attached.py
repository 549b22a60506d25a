"""A run that another process owns, or one long ended: its journal, read as it grows.

Rule 1: reading never disturbs the owner; a poll takes at most some 25 ms of a large journal,
        and what is left comes with the next.
Rule 2: whether it is live is asked of its lock, once a second, never of its last words.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine import RunState
from engine.errors import StorageError
from engine.front import (
    Damaged,
    Figures,
    GraphChanged,
    OutlineChanged,
    SessionBegan,
    follow_stored,
    preview,
)
from flowforge_tui.feed import CLOCK, Feed
from flowforge_tui.history import Past
from flowforge_tui.model import RunView
from flowforge_tui.shape import Shape

if TYPE_CHECKING:
    from pathlib import Path

    from engine.front import Change, Gauges, Place, Step

#: Seconds between two looks at the owner's lock.
_LOOK = 1.0

#: Seconds between two looks at what a live run records, while nothing comes.
_REST = 0.5

#: States that nobody leaves a run in: without an owner, it was interrupted.
_CLAIMS = (RunState.PENDING, RunState.RUNNING, RunState.CANCELLING)


class StoredFeed(Feed):
    """Follows a run of a state directory."""

    def __init__(self, home: Path, name: str) -> None:
        """`name`: the run's id, a unique beginning of one, or `latest`. Raises RunNotFound."""
        super().__init__()
        self.stored, self._follower = follow_stored(home, name)
        self.run_id = self.stored.run_id
        self.home, self.logs = str(home), self.stored.logs
        self.behind = True
        """True until the journal was read to its end once."""
        self._looked = 0.0
        self._owned = self.stored.owner is not None

    @property
    def live(self) -> bool:
        """As in `Feed`."""
        return self._owned

    @property
    def rest(self) -> float | None:
        """As in `Feed`. Nobody rings for what another process records."""
        return _REST if self._owned else CLOCK

    def poll(self) -> bool:
        """As in `Feed`. Raises StorageError if nothing of the run can be read."""
        moved = self._look()
        steps = self._follower.poll()
        for step in steps:
            self._take(step)
        if not steps:
            moved = self._at_end() or moved
        return moved or bool(steps)

    def _look(self) -> bool:
        """See once in a while whether it is still owned; True if that changed."""
        at = time.monotonic()
        if at - self._looked < _LOOK:
            return False
        self._looked = at
        before, self._owned = self._owned, self.stored.owner is not None
        return before != self._owned

    def _at_end(self) -> bool:
        """All that is recorded is read: a run that claims to go on, and has no owner, was
        interrupted. True if that changed something."""
        first, self.behind = self.behind, False
        interrupted = not self._owned and self.view.run_state in _CLAIMS
        if interrupted:
            self.view.interrupt()
        return first or interrupted

    def _take(self, step: Step) -> None:
        changes: list[Change] = []
        for told in step.changes:
            if isinstance(told, GraphChanged):
                changes.clear()
                rests, self.view = self.view.rests, RunView(Shape(told.outline))
                self.view.rests = rests[:]
                Past(self.view)
            elif isinstance(told, OutlineChanged):
                self.view.reshape(Shape(told.outline))
            elif isinstance(told, SessionBegan):
                self.workflow = str(told.about.get("workflow", self.workflow))
            elif isinstance(told, Damaged):
                self.note(f"damage: {told.text}", step.at)
            elif not isinstance(told, Figures):
                changes.append(told)
        self.view.apply(changes)

    def now(self) -> float:
        """As in `Feed`: of a run that nobody runs, the moment of its last change."""
        return time.time() if self._owned else self.view.ended or self.view.latest

    def ask(self, command: str, tasks: Sequence[str] = (), **more: Any) -> str:
        """As in `Feed`."""
        return self.stored.ask(command, tasks, **more)

    def waits_for(self, tid: int) -> str:
        """As in `Feed`."""
        return self.stored.waits_for(tid) if self._owned else ""

    def inputs(self, tid: int) -> Mapping[str, str]:
        """As in `Feed`."""
        return self.stored.inputs(tid)

    def output(self, tid: int) -> str:
        """As in `Feed`."""
        return self.stored.preview(tid)

    def place(self, tid: int) -> Place | None:
        """As in `Feed`."""
        return self.stored.place(tid)

    def gauges(self) -> Gauges | None:
        """As in `Feed`."""
        return self.stored.gauges() if self._owned else None

    def close(self) -> None:
        """As in `Feed`; who waits for the owner's answer waits no longer."""
        self._follower.close()
        self.stored.hang_up()

    @property
    def about(self) -> Mapping[str, Any]:
        """As in `Feed`."""
        about = dict(self.stored.about)
        try:
            known = self.stored.parameters(trusted=False)
            about["parameters"] = {name: preview(value) for name, value in known.items()}
        except StorageError as error:
            about["parameters"] = {"(unreadable)": str(error)}
        return about
