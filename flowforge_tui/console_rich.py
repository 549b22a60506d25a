"""A run on a terminal: what happened scrolls by above, how it stands is redrawn below.

Rule 1: the display is drawn at most some times a second, and once a second when nothing
        happens but time; never on an event.
Rule 2: it is never taller than half the screen; what does not fit is summed up.
Rule 3: failures and news are printed once, above the display, and stay.
Rule 4: text from tasks is `plain` text: no markup, no control sequences.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live as LiveDisplay
from rich.table import Table
from rich.text import Text

from engine import TaskState
from engine.front import (
    IS_TERMINAL,
    LOOKS,
    RUN_COLOURS,
    Change,
    Failed,
    Overview,
    Section,
    advice,
    failures_of,
    glyph,
    plan_lines,
    sections_of,
    wording,
)
from flowforge_tui.safe_text import plain, safe_line

if TYPE_CHECKING:
    from engine import Run
    from engine.front import Live

#: Seconds between two drawings while things change.
FRAME = 0.125

#: Failures printed one by one in a frame; a storm of them is summed up in the figures below.
FAILURES_A_FRAME = 5

#: Failures printed one by one in all.
FAILURES_IN_ALL = 200

#: What a line of several task runs shows of itself: what asks most for attention.
_ATTENTION = (
    TaskState.FAILED, TaskState.RUNNING, TaskState.CANCELLING, TaskState.UP_FOR_RETRY,
    TaskState.QUEUED, TaskState.PENDING, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED,
    TaskState.SKIPPED, TaskState.SUCCESS, TaskState.CACHED,
)


class RichConsole:
    """Shows a run live. Implements the engine's `Reporter`."""

    def __init__(self, console: Console | None = None) -> None:
        """`console`: else one on stderr as it now is."""
        self.console = console if console is not None else Console(stderr=True, highlight=False)
        self.unicode = not self.console.options.ascii_only
        self._display: LiveDisplay | None = None
        self._live: Live | None = None
        self._overview = Overview(0)
        self._sections: list[Section] = []
        self._lock = threading.Lock()
        self._above: list[Text] = []
        self._told = 0
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None
        self._began = time.monotonic()

    # -- as in `Reporter` ------------------------------------------------------------------------

    def begin(self, live: Live) -> None:
        """Show the first frame."""
        self._live = live
        self._overview = Overview.of(live.machine)
        self._sections = sections_of(live.machine.graph)
        self._began = time.monotonic()
        if live.resumed:
            self._print([plain(live.resumed)])
        self._display = LiveDisplay(
            self._frame(), console=self.console, auto_refresh=False, transient=True,
        )
        self._display.start(refresh=True)
        # Rich hides the cursor; left as it is, no way of dying can leave it hidden.
        self.console.show_cursor(True)
        self._ticker = threading.Thread(target=self._tick, name="flowforge-display", daemon=True)
        self._ticker.start()

    def changes(self, batch: Sequence[Change]) -> None:
        """Take changes in; the next frame shows them."""
        with self._lock:
            self._overview.apply(batch)
            for change in batch:
                if type(change) is Failed:
                    self._failure(change)
        self._changed.set()

    def say(self, text: str) -> None:
        """Print a line above the display."""
        with self._lock:
            self._above += [plain(line) for line in text.splitlines()]
        if self._display is None:
            self._print_above()
        self._changed.set()

    def plan(self, plan: Any) -> None:
        """Print what a changed workflow means for the run."""
        self._print([plain(line, limit=300) for line in plan_lines(plan)])

    def end(self, run: Run) -> None:
        """Take the display away and print how it ended."""
        self.close()
        self._print(self._ending(run))

    def close(self) -> None:
        """Take the display away. May be called twice, and without an `end`."""
        self._ended.set()
        self._changed.set()
        if self._ticker is not None:
            self._ticker.join()
        self._print_above()
        if self._display is not None:
            self._display.stop()

    # -- drawing ----------------------------------------------------------------------------------

    def _tick(self) -> None:
        while not self._ended.is_set():
            self._changed.wait(1.0)
            self._changed.clear()
            if self._ended.is_set():
                return
            self._print_above()
            assert self._display is not None
            self._display.update(self._frame(), refresh=True)
            self._ended.wait(FRAME)

    def _print_above(self) -> None:
        with self._lock:
            above, self._above = self._above, []
        self._print(above)

    def _print(self, lines: list[Text]) -> None:
        for line in lines:
            self.console.print(line, soft_wrap=True)

    def _frame(self) -> Group:
        with self._lock:
            counts = self._overview.counts()
            sections = [(s.name, self._overview.counts_of(s.nodes)) for s in self._sections]
            running = sorted(self._overview.running.items(), key=lambda item: item[1])
        room = max(4, self.console.height // 2) - 2
        rows = self._section_rows(sections, max(2, room - min(len(running), room // 2)))
        rows += self._running_rows(running, room - len(rows))
        table = Table.grid(padding=(0, 2))
        for row in rows:
            table.add_row(*row)
        return Group(self._head(counts), self._bar(counts), table)

    def _head(self, counts: dict[TaskState, int]) -> Text:
        assert self._live is not None
        state = self._overview.run_state
        head = _title(self._live.workflow, self._live.run_id)
        head.append(str(state), RUN_COLOURS[state])
        head.append(f"  {wording.clock(time.monotonic() - self._began)} ")
        for s in _ATTENTION:
            if counts[s]:
                head.append(f" {self._mark(s)}{counts[s]:,}", _style(s))
        return head

    def _bar(self, counts: dict[TaskState, int]) -> Text:
        total = sum(counts.values())
        done = sum(n for s, n in counts.items() if IS_TERMINAL[s])
        share = done / total if total else 1.0
        width = max(10, min(self.console.width - 8, 72))
        filled = int(width * share)
        full, empty = ("█", "░") if self.unicode else ("#", ".")
        bar = Text(full * filled, no_wrap=True)
        bar.stylize(LOOKS[TaskState.SUCCESS].colour)
        bar.append(empty * (width - filled), "dim")
        bar.append(f" {int(100 * share):3}%")
        return bar

    def _section_rows(
        self, sections: list[tuple[str, dict[TaskState, int]]], room: int
    ) -> list[tuple[Text, ...]]:
        """A line a task; where there are too many, those that are done are left out first."""
        if len(sections) > room:
            open_ones = [s for s in sections if _attention(s[1]) is not TaskState.SUCCESS]
            sections = (open_ones or sections)[:room]
        return [self._section_row(name, counts) for name, counts in sections]

    def _section_row(self, name: str, counts: dict[TaskState, int]) -> tuple[Text, ...]:
        state = _attention(counts)
        title = Text.assemble((f"{self._mark(state)} ", _style(state)), plain(name, limit=40))
        done = sum(n for s, n in counts.items() if IS_TERMINAL[s])
        figures = Text(f"{done:,}/{sum(counts.values()):,}", justify="right")
        details = Text()
        for s in (TaskState.FAILED, TaskState.RUNNING, TaskState.UP_FOR_RETRY,
                  TaskState.UPSTREAM_FAILED, TaskState.SKIPPED, TaskState.CANCELLED):
            if counts[s]:
                details.append(f"{self._mark(s)}{counts[s]:,} ", _style(s))
        return title, figures, details

    def _running_rows(
        self, running: list[tuple[int, float]], room: int
    ) -> list[tuple[Text, ...]]:
        """The attempts that run longest."""
        assert self._live is not None
        names, machine, now = self._live.names, self._live.machine, time.time()
        rows: list[tuple[Text, ...]] = []
        for tid, start in running[:max(0, room)]:
            mark = (f"  {self._mark(TaskState.RUNNING)} ", _style(TaskState.RUNNING))
            name = plain(names.of(tid, machine.node_of(tid)), limit=40)
            took = Text(wording.clock(now - start), justify="right")
            rows.append((Text.assemble(mark, name), took, Text()))
        return rows

    # -- lines that stay --------------------------------------------------------------------------

    def _failure(self, change: Failed) -> None:
        self._told += 1
        if len(self._above) >= FAILURES_A_FRAME or self._told > FAILURES_IN_ALL:
            return
        assert self._live is not None
        a = change.attempt
        line = self._failed_line(self._live.names.item(a.node.index, a.index), a.error,
                                 change.state)
        if change.state is TaskState.UP_FOR_RETRY:
            line.append(f"; {wording.next_try(change.due - a.end)}", "dim")
        self._above.append(line)

    def _failed_line(self, name: str, error: Any, state: TaskState = TaskState.FAILED) -> Text:
        return Text.assemble((f"{self._mark(state)} ", _style(state)),
                             (safe_line(name, 80), "bold"), f": {wording.error_line(error)}")

    def _ending(self, run: Run) -> list[Text]:
        assert self._live is not None
        counts = wording.states_of(run.counts)
        head = _title(run.workflow, run.run_id)
        head.append(str(run.state), f"bold {RUN_COLOURS[run.state]}")
        head.append(f" in {wording.duration(run.seconds)}: {wording.how_it_ended(counts)}")
        told, total = failures_of(run, self._live)
        lines = [head, *(self._failed_line(name, error) for name, error in told)]
        if total > len(told):
            lines.append(Text(f"… and {total - len(told):,} more failed"))
        lines += [plain(line) for line in advice(run.state, run.run_id, self._live.home)]
        return lines

    def _mark(self, state: TaskState) -> str:
        return glyph(state, unicode=self.unicode)


def _title(workflow: str, run_id: str) -> Text:
    return Text.assemble((safe_line(workflow, 40), "bold"), (f"  {run_id}  ", "dim"),
                         no_wrap=True, overflow="ellipsis")


def _attention(counts: dict[TaskState, int]) -> TaskState:
    return next((s for s in _ATTENTION if counts[s]), TaskState.SUCCESS)


def _style(state: TaskState) -> str:
    look = LOOKS[state]
    return f"{look.colour}{' bold' if look.bold else ''}{' dim' if look.dim else ''}"
