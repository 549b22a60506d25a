"""What those who show a run see of it, by shape: the runtime's `Live` and `Run` fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from engine.core.events import ErrorInfo
from engine.core.machine import Machine
from engine.core.states import RunState


class TaskNames(Protocol):
    """Names of task runs."""

    def of(self, tid: int, node: int) -> str: ...

    def item(self, node: int, index: int) -> str: ...


class LiveRun(Protocol):
    """A run that has begun."""

    @property
    def run_id(self) -> str: ...

    @property
    def workflow(self) -> str: ...

    @property
    def machine(self) -> Machine: ...

    @property
    def names(self) -> TaskNames: ...

    @property
    def resumed(self) -> str:
        """One line about what is carried on; empty for a new run."""

    @property
    def home(self) -> str | None:
        """The state directory; None if nothing is kept."""


class EndedRun(Protocol):
    """A run whose session is over."""

    @property
    def run_id(self) -> str: ...

    @property
    def workflow(self) -> str: ...

    @property
    def state(self) -> RunState: ...

    @property
    def why(self) -> str: ...

    @property
    def counts(self) -> Mapping[str, int]: ...

    @property
    def seconds(self) -> float: ...

    @property
    def task_runs(self) -> Mapping[str, Any]: ...


class PlanSeen(Protocol):
    """What a resume will do."""

    def entries(self) -> Iterable[Any]:
        """Its lines: name, action, reason, task_runs."""


#: Lines of a plan, and failed tasks, that are told one by one.
TOLD = 10


def plan_lines(plan: PlanSeen) -> list[str]:
    """What a changed workflow means for the run: a line in all, then one for each change."""
    changes = [e for e in plan.entries() if e.action in ("changed", "new", "gone")]
    totals: dict[str, int] = {}
    for entry in changes:
        totals[entry.action] = totals.get(entry.action, 0) + entry.task_runs
    if not changes:
        return []
    words = {"changed": "to run again", "new": "new", "gone": "gone"}
    told = ", ".join(f"{n:,} {words[action]}" for action, n in totals.items())
    lines = [f"the workflow changed since: {told}"]
    lines += [f"  {e.name}: {e.reason}" for e in changes[:TOLD]]
    if len(changes) > TOLD:
        lines.append(f"  … and {len(changes) - TOLD:,} more; --dry-run lists them all")
    return lines


def failures_of(run: EndedRun, live: LiveRun) -> tuple[list[tuple[str, ErrorInfo | None]], int]:
    """The first failed task runs with their errors, and how many there are in all."""
    machine = live.machine
    failed: Sequence[int] = sorted(machine.failed)
    told: list[tuple[str, ErrorInfo | None]] = []
    for tid in failed[:TOLD]:
        name = live.names.of(tid, machine.node_of(tid))
        found = run.task_runs.get(name)
        told.append((name, found.error if found is not None else None))
    return told, len(failed)
