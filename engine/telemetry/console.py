"""A run told in plain lines: what a person wants to see scroll by, and no more.

Rule 1: lines go to stderr; stdout belongs to the program that the user wrote.
Rule 2: a run of any size stays readable: failures are told as they happen, but not more than
        some a second; all else is one line of counts, the rarer the longer the run takes.
Rule 3: a console that cannot be written to (a closed pipe) falls silent; the run goes on.
Rule 4: whatever comes from a task or a file passes `safe_text`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, Any

from engine.core.events import Attempt, Change, Failed, RunMoved
from engine.core.overview import Overview
from engine.core.states import FAILED, RunState
from engine.telemetry.glyphs import glyph, takes_unicode
from engine.telemetry.safe_text import safe_line
from engine.telemetry.shown import EndedRun, LiveRun, PlanSeen, failures_of, plan_lines
from engine.telemetry.wording import (
    amount,
    command,
    duration,
    error_line,
    how_it_ended,
    how_it_stands,
    next_step,
    next_try,
    states_of,
)

#: Seconds between lines of counts: at first, and at most; in between a twentieth of the time
#: that the run has taken, so that an hour of it is some sixty lines.
COUNTS_EVERY = 5.0
COUNTS_SELDOM = 60.0

#: Failures told one by one between two lines of counts.
FAILURES_TOLD = 10

#: Characters of a name that are shown.
NAME_WIDTH = 80


class Lines:
    """Writes whole lines to a stream, each with the time of day; falls silent if it is closed."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream: IO[str] | None = stream
        self._lock = threading.Lock()

    def write(self, *lines: str) -> None:
        """Write lines, at once and together. Never raises for a stream that is gone."""
        stamp = time.strftime("%H:%M:%S")
        text = "".join(f"{stamp}  {line}\n" for line in lines)
        with self._lock:
            if self._stream is None:
                return
            try:
                encoding = getattr(self._stream, "encoding", None) or "utf-8"
                self._stream.write(text.encode(encoding, "replace").decode(encoding))
                self._stream.flush()
            except (OSError, ValueError):  # a closed pipe, a closed file
                self._stream = None


class PlainConsole:
    """Tells a run line by line."""

    def __init__(
        self, stream: IO[str] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`stream`: stderr as it now is. `clock`: seconds, monotonic."""
        chosen = stream if stream is not None else sys.stderr
        self._lines = Lines(chosen)
        self._unicode = takes_unicode(chosen)
        self._clock = clock
        self._live: LiveRun | None = None
        self._overview = Overview(0)
        self._began = self._last = clock()
        self._told = self._untold = 0
        """Failures since the last line of counts: told one by one, and left out."""

    def begin(self, live: LiveRun) -> None:
        """As in `Reporter`."""
        self._live = live
        self._overview = Overview.of(live.machine)
        self._began = self._last = self._clock()
        size = amount(live.machine.graph.size, "task")
        self._lines.write(
            f"{safe_line(live.workflow, NAME_WIDTH)}: run {live.run_id}, {size}",
            *([safe_line(live.resumed)] if live.resumed else []),
        )

    def changes(self, batch: Sequence[Change]) -> None:
        """As in `Reporter`."""
        self._overview.apply(batch)
        lines: list[str] = []
        for change in batch:
            if type(change) is Failed:
                self._failure(change, lines)
            elif type(change) is RunMoved and self._is_pause(change):
                lines.append(_because("paused", change.why))
        now = self._clock()
        if now - self._last >= min(max(COUNTS_EVERY, (now - self._began) / 20), COUNTS_SELDOM):
            lines.append(self._counts_line())
            self._last, self._told, self._untold = now, 0, 0
        if lines:
            self._lines.write(*lines)

    def say(self, text: str) -> None:
        """As in `Reporter`."""
        self._lines.write(*(safe_line(line) for line in text.splitlines()))

    def plan(self, plan: PlanSeen) -> None:
        """As in `Reporter`."""
        self._lines.write(*(safe_line(line, 300) for line in plan_lines(plan)))

    def end(self, run: EndedRun) -> None:
        """As in `Reporter`."""
        ended = how_it_ended(states_of(run.counts))
        lines = [_because(f"{run.state} in {duration(run.seconds)}: {ended}", run.why)]
        if self._live is not None:
            lines += self._failed_lines(run, self._live)
            lines += advice(run.state, run.run_id, self._live.home)
        self._lines.write(*lines)

    # -- the lines ----------------------------------------------------------------------------

    def _counts_line(self) -> str:
        line = how_it_stands(self._overview.counts())
        return f"{line} ({self._untold:,} failures not told)" if self._untold else line

    def _is_pause(self, change: RunMoved) -> bool:
        """True if a person paused the run; a part of a run ends PAUSED too."""
        over = self._live is not None and self._live.machine.over
        return change.state is RunState.PAUSED and not over

    def _failure(self, change: Failed, lines: list[str]) -> None:
        if self._told >= FAILURES_TOLD:
            self._untold += 1
            return
        self._told += 1
        a = change.attempt
        mark = glyph(change.state, unicode=self._unicode)
        line = f"{mark} {self._name(a)}: {error_line(a.error)}"
        if change.state is not FAILED:
            line += f"; try {a.number} failed, {next_try(change.due - a.end)}"
        lines.append(line)

    def _name(self, a: Attempt) -> str:
        assert self._live is not None  # `begin` comes first
        return safe_line(self._live.names.item(a.node.index, a.index), NAME_WIDTH)

    def _failed_lines(self, run: EndedRun, live: LiveRun) -> list[str]:
        told, total = failures_of(run, live)
        mark = glyph(FAILED, unicode=self._unicode)
        lines = [f"  {mark} {safe_line(name, NAME_WIDTH)}: {error_line(error)}"
                 for name, error in told]
        if total > len(told):
            lines.append(f"  … and {total - len(told):,} more failed")
        if told and live.home is not None:
            lines.append(f"  details: {command('show', run.run_id, told[0][0], home=live.home)}")
        return lines


def advice(state: RunState, run_id: str, home: str | None) -> list[str]:
    """What a person would do next, as a command to copy; empty if there is nothing to do."""
    step = next_step(state, run_id, home) if home is not None else None
    return [f"  {step[0]}: {step[1]}"] if step is not None else []


def _because(text: str, why: Any) -> str:
    return f"{text} ({safe_line(str(why), 200)})" if why else text
