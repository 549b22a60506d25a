"""How a session enters a run: what it makes of the graph that it finds, and its first row.

Rule 1: whoever asked for a plan gets it, and decides, before anything is written.
Rule 2: the first row says who runs it now, with what, and the graph where that is new; a run is
        as it was until that row is on disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from engine.core.states import RunState
from engine.runtime.asking import asked_for
from engine.runtime.history import GRAPHS, graphs_in
from engine.runtime.journal import pack_entries
from engine.runtime.opening import About, Opened, session_entry
from engine.runtime.options import lasting_flags
from engine.runtime.origin import signed, words_of
from engine.runtime.outline import Outline
from engine.runtime.plan import Plan, Wish, make_plan
from engine.runtime.recorder import RESTED
from engine.runtime.request import PlanMade, PlanRefused, Request
from engine.runtime.settings import Settings
from engine.worker.clock import now


class Entry:
    """A session about to begin. Making one makes the plan, and takes in what it changes.

    Raises CodeChanged, PlanMade, PlanRefused.
    """

    def __init__(
        self, opened: Opened, outline: Outline, about: About, settings: Settings, request: Request
    ) -> None:
        self._opened = opened
        self._outline = outline
        self._about = about
        self._settings = settings
        self._request = request
        self.plan = self._plan()
        """What changed since the run was started; None for a new run."""
        self._row = self._taken_in()

    def record(self) -> None:
        """Write down that the run goes on. Raises StorageError."""
        history, store, about = self._opened.history, self._opened.store, self._about
        words: dict[str, str] = {}
        if self.plan is None or not self.plan.same:
            graphs = sorted({*graphs_in(store.meta()), history.seq + 1})
            words[GRAPHS] = ",".join(map(str, graphs))
            history.graph_seq = history.seq + 1
        at = now()
        history.seq = store.append(self._row, {
            **words, **words_of(self._opened.run_id),
            "workflow": about.workflow, "file": about.file or "",
            "identity": about.identity(), "state": str(RunState.RUNNING),
            "updated": repr(at), RESTED: repr(history.record.rested(at)),
            **({"created": repr(at)} if self.plan is None else {}),
        })

    # -- the plan ----------------------------------------------------------------------------

    def _plan(self) -> Plan | None:
        """Compare the graph with the one the run was started with."""
        history, request = self._opened.history, self._request
        if history.outline is None:
            if request.dry_run:
                raise PlanMade
            return None
        plan = make_plan(
            history.outline, self._outline, history.record, self._settings.on_code_change)
        if request.dry_run or request.review is not None:
            self._tell(plan, history.outline)
        if request.dry_run:
            raise PlanMade
        return plan if request.review is None else self._reviewed(plan, request.review)

    def _tell(self, plan: Plan, outline: Outline) -> None:
        """Fill in what only a look at the plan needs."""
        request, record = self._request, self._opened.history.record
        if request.command != "retry":
            plan.barred = frozenset(filter(record.was_interrupted, record.live_ids()))
        if request.tasks:
            plan.asked = asked_for(outline, record, request.command, request.tasks)
        request.plan = plan

    def _reviewed(
        self, plan: Plan, review: Callable[[Plan], Mapping[int, Wish] | None]
    ) -> Plan:
        wishes = review(plan)
        if wishes is None:
            raise PlanRefused
        chosen = plan.choose(wishes) if wishes else plan
        self._request.plan = chosen
        return chosen

    # -- the row -----------------------------------------------------------------------------

    def _taken_in(self) -> bytes:
        """The row: who runs it now, and the graph where it is new or has changed."""
        history, plan, outline = self._opened.history, self.plan, self._outline
        entries: list[list[Any]] = [["O", self._about_entry(), session_entry()]]
        if plan is None:
            entries.append(["G", outline, None, [], [], 0])
        elif not plan.same:
            entries.append(["G", outline, list(plan.node_map),
                            sorted(plan.stale), sorted(plan.rematch), history.graph_seq])
        elif outline.to_data() != history.outline_data():
            entries.append(["U", outline])
        data = pack_entries([
            [part.to_data() if isinstance(part, Outline) else part for part in entry]
            for entry in entries
        ])
        # Folded now: what is read at the end follows it, or a changed graph would be taken over
        # a second time.
        history.begin(entries)
        return data

    def _about_entry(self) -> dict[str, Any]:
        about, s = self._about, self._settings
        return signed(self._opened.run_id, {
            "workflow": about.workflow, "file": about.file, "form": about.form,
            "parameters": about.encoded(), "cwd": os.getcwd(),
            "executor": s.executor, "workers": s.workers, "durability": s.durability,
            "flags": lasting_flags(self._request.options),
        })
