"""Lists of the launcher: workflows found here, and runs there have been."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.strip import Strip

from engine.front import wording
from flowforge_tui.look import ACCENT, BAD, BOLD, DIM, run_style
from flowforge_tui.strips import Line
from flowforge_tui.widgets.lines import LineView

if TYPE_CHECKING:
    from engine.front import Found, RunSummary


class WorkflowList(LineView):
    """The workflows of a directory, by file."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.found: Sequence[Found] = ()
        self.looked = False
        self.root = Path.cwd()

    def show(self, found: Sequence[Found]) -> None:
        """Show these."""
        self.found, self.looked = found, True
        self.repaint()

    def count(self) -> int:
        """As in `LineView`."""
        return len(self.found)

    def key(self, index: int) -> Hashable:
        """As in `LineView`."""
        return self.found[index], self.has_focus

    def empty(self) -> str:
        """As in `LineView`."""
        return "no workflows in this directory" if self.looked else "looking for workflows…"

    def build(self, index: int, width: int) -> Strip:
        """As in `LineView`."""
        item = self.found[index]
        here = index == self.cursor and self.has_focus
        file = item.file
        if file.is_relative_to(self.root):
            file = file.relative_to(self.root)
        name = max(12, min(36, width // 3))
        line = Line().add(f" {self.look.marks.cursor} " if here else "   ", ACCENT)
        line.put(item.name, BOLD, width=name).add("  ")
        line.put(str(file), DIM, limit=max(8, width - line.used - 12))
        return line.end(f"{item.form} ", DIM).strip(width)


class RunList(LineView):
    """Runs of a state directory, newest first."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.runs: Sequence[RunSummary] = ()
        self.looked = False

    def show(self, runs: Sequence[RunSummary]) -> None:
        """Show these."""
        self.runs, self.looked = runs, True
        self.frame()

    def count(self) -> int:
        """As in `LineView`."""
        return len(self.runs)

    def key(self, index: int) -> Hashable:
        """As in `LineView`."""
        run = self.runs[index]
        return run, self.has_focus, int(time.time() - run.updated) // 60

    def empty(self) -> str:
        """As in `LineView`."""
        return "no runs yet; Enter on a workflow starts one" if self.looked else "looking…"

    def build(self, index: int, width: int) -> Strip:
        """As in `LineView`."""
        run = self.runs[index]
        here = index == self.cursor and self.has_focus
        line = Line().add(f" {self.look.marks.cursor} " if here else "   ", ACCENT)
        if run.state is None:
            line.column("UNREADABLE", 13, BAD)
        else:
            line.column(str(run.state), 13, run_style(run.state))
        line.put(run.workflow, BOLD, width=max(10, min(30, width // 4))).add("  ")
        line.put(run.run_id, DIM, width=min(26, max(8, width // 4))).add("  ")
        if run.problem:
            return line.put(run.problem, DIM).strip(width)
        when = time.strftime("%d %b %H:%M", time.localtime(run.created)) if run.created else "–"
        took = wording.duration(run.updated - run.created) if _ended(run) else ""
        return line.end(f"{took:>12}  {when} ", DIM).strip(width)


def _ended(run: RunSummary) -> bool:
    return run.state is not None and str(run.state) in ("SUCCESS", "FAILED", "CANCELLED") \
        and run.updated > run.created > 0
