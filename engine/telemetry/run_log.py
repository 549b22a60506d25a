"""A run told in the workflow log: the same news as on the console, and a line a task.

Rule 1: while few tasks end, each has a line of its own; in a burst, those of one task are
        summed up once a second, so that a run of 100,000 tasks writes some hundred lines.
Rule 2: failures always have their own line, up to a number a second.
Rule 3: lines are gathered and written together; a log that cannot be written stops no run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.core.events import (
    Attempt,
    Change,
    Expanded,
    Failed,
    Moved,
    OutlineChanged,
    Reset,
    Restored,
    RunMoved,
    Started,
    Succeeded,
)
from engine.core.states import FAILED, UPSTREAM_FAILED, TaskState
from engine.telemetry.glyphs import LOOKS
from engine.telemetry.safe_text import safe_line
from engine.telemetry.shown import EndedRun, LiveRun, PlanSeen, failures_of, plan_lines
from engine.telemetry.wording import (
    amount,
    duration,
    error_line,
    how_it_ended,
    next_try,
    states_of,
)
from engine.telemetry.workflow_log import WorkflowLog

#: Where it is, below the working directory.
PLACE = Path("logs") / "workflow.log"

#: Lines about single task runs that a second may have.
LINES_A_SECOND = 50

#: Task runs that ended alike at one moment and are named one by one.
NAMED = 3

_INFO, _WARNING, _ERROR = "INFO", "WARNING", "ERROR"


class RunLog:
    """Writes one run's news to the workflow log. Implements the runtime's `Reporter`."""

    def __init__(
        self, log: WorkflowLog | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`log`: else logs/workflow.log in the working directory. `clock`: seconds, monotonic."""
        self._log = log if log is not None else WorkflowLog(Path.cwd() / PLACE)
        self._clock = clock
        self._lock = threading.Lock()
        self._live: LiveRun | None = None
        self._run_id = ""
        self._second = 0.0
        self._left = LINES_A_SECOND
        self._sums: dict[tuple[str, str], tuple[int, float]] = {}
        """(task, what became of it) → how many, and their seconds in all."""
        self._timer: threading.Timer | None = None
        self._tell: dict[type, Callable[[Any, list[str]], None]] = {
            Succeeded: self._succeeded, Started: self._started, Failed: self._failed,
            Moved: self._moved, Reset: self._reset, Expanded: self._expanded,
            RunMoved: self._run_moved, OutlineChanged: lambda change, lines: None,
            Restored: self._restored,
        }

    def begin(self, live: LiveRun) -> None:
        """As in `Reporter`."""
        self._live, self._run_id = live, live.run_id
        lines = [self._line(_INFO, f"{live.workflow} begins: {self._size(live)}")]
        if live.resumed:
            lines.append(self._line(_INFO, live.resumed))
        self._log.write(lines)

    def changes(self, batch: Sequence[Change]) -> None:
        """As in `Reporter`."""
        lines: list[str] = []
        with self._lock:
            if self._clock() - self._second >= 1.0:
                self._second, self._left = self._clock(), LINES_A_SECOND
            for change in batch:
                self._tell[type(change)](change, lines)
            if self._sums and self._timer is None:
                self._timer = threading.Timer(1.0, self._flush)
                self._timer.daemon = True
                self._timer.start()
        if lines:
            self._log.write(lines)

    def say(self, text: str) -> None:
        """As in `Reporter`."""
        self._log.write([self._line(_WARNING, line) for line in text.splitlines()])

    def plan(self, plan: PlanSeen) -> None:
        """As in `Reporter`."""
        self._log.write([self._line(_INFO, line) for line in plan_lines(plan)])

    def end(self, run: EndedRun) -> None:
        """As in `Reporter`."""
        self._flush()
        told, total = failures_of(run, self._live) if self._live is not None else ([], 0)
        lines = [self._line(_ERROR, f"{name} failed: {error_line(error)}") for name, error in told]
        if total > len(told):
            lines.append(self._line(_ERROR, f"… and {total - len(told):,} more failed"))
        ended = how_it_ended(states_of(run.counts))
        level = _INFO if run.state == "SUCCESS" else _ERROR
        why = f" ({run.why})" if run.why else ""
        lines.append(self._line(
            level, f"{run.workflow} ended {run.state}{why} in {duration(run.seconds)}: {ended}"))
        self._log.write(lines)
        self._log.close()

    # -- lines ---------------------------------------------------------------------------------

    def _line(self, level: str, text: str) -> str:
        at = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
        return f"{stamp}.{int(at % 1 * 1000):03} {self._run_id} {level} {safe_line(text, 500)}"

    @staticmethod
    def _size(live: LiveRun) -> str:
        return amount(live.machine.graph.size, "task")

    def _flush(self) -> None:
        """Write the sums of a burst."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            sums, self._sums = self._sums, {}
        self._log.write([
            self._line(_INFO, f"{task}: {count:,} {what}"
                       + (f", {duration(seconds / count)} each" if seconds else ""))
            for (task, what), (count, seconds) in sums.items()
        ])

    def _sum_up(self, task: str, what: str, count: int, seconds: float = 0.0) -> None:
        had, took = self._sums.get((task, what), (0, 0.0))
        self._sums[task, what] = (had + count, took + seconds)

    def _room(self, number: int) -> bool:
        """True if so many lines still fit into this second; they then are spoken for."""
        if number > self._left:
            return False
        self._left -= number
        return True

    def _name(self, a: Attempt) -> str:
        assert self._live is not None  # `begin` comes first
        return self._live.names.item(a.node.index, a.index)

    # -- changes -------------------------------------------------------------------------------

    def _succeeded(self, change: Succeeded, lines: list[str]) -> None:
        attempts = change.attempts
        if self._room(len(attempts)):
            lines += [
                self._line(_INFO, f"{self._name(a)} succeeded in {duration(a.end - a.start)}"
                           + (f" at try {a.number}" if a.number > 1 else ""))
                for a in attempts
            ]
            return
        per_task: dict[str, list[float]] = {}
        for a in attempts:
            per_task.setdefault(a.node.spec.name, []).append(a.end - a.start)
        for task, took in per_task.items():
            self._sum_up(task, "succeeded", len(took), sum(took))

    def _started(self, change: Started, lines: list[str]) -> None:
        # Only what runs long is announced; in a burst its end will tell enough.
        lines += [
            self._line(_INFO, f"{self._name(a)} started, try {a.number}")
            for a in change.attempts if self._room(1)
        ]

    def _failed(self, change: Failed, lines: list[str]) -> None:
        a = change.attempt
        again = change.state is not FAILED
        if not self._room(1):
            self._sum_up(a.node.spec.name, "failed a try" if again else "failed", 1)
            return
        text = f"{self._name(a)} failed, try {a.number}: {error_line(a.error)}"
        if again:
            text += f"; {next_try(change.due - a.end)}"
        lines.append(self._line(_WARNING if again else _ERROR, text))

    def _moved(self, change: Moved, lines: list[str]) -> None:
        machine = self._live.machine if self._live is not None else None
        if machine is None or change.state not in (
            UPSTREAM_FAILED, TaskState.SKIPPED, TaskState.CANCELLED, TaskState.CACHED
        ):
            return
        word = LOOKS[change.state].word
        why = f": {change.why}" if change.why else ""
        if len(change.tids) <= NAMED and self._room(len(change.tids)):
            lines += [self._line(_INFO, f"{self._of(t)} {word}{why}") for t in change.tids]
            return
        per_task: dict[str, int] = {}
        for tid in change.tids:
            task = machine.graph.nodes[machine.node_of(tid)].spec.name
            per_task[task] = per_task.get(task, 0) + 1
        for task, number in per_task.items():
            self._sum_up(task, word, number)

    def _of(self, tid: int) -> str:
        assert self._live is not None
        return self._live.names.of(tid, self._live.machine.node_of(tid))

    def _reset(self, change: Reset, lines: list[str]) -> None:
        number = amount(len(change.tids), "task run")
        lines.append(self._line(_INFO, f"{number} to run again ({change.why})"))

    def _expanded(self, change: Expanded, lines: list[str]) -> None:
        if self._room(1):
            carried = f", {len(change.carried):,} as before" if change.carried else ""
            items = amount(change.size, "item")
            lines.append(self._line(_INFO, f"{self._of(change.node)} has {items}{carried}"))

    def _restored(self, change: Restored, lines: list[str]) -> None:
        lines.append(self._line(_INFO, "the last reset was taken back: results and failures stand "
                                       "as before"))

    def _run_moved(self, change: RunMoved, lines: list[str]) -> None:
        lines.append(self._line(
            _INFO, f"run {change.state}" + (f": {change.why}" if change.why else "")))
