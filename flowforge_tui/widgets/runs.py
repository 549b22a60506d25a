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


#: Cells of the end of a run's id; and those of a row from which on all of it is shown, and both
#: of its times.
_ID_END, _WHOLE_ID, _ALL_TIMES = 4, 76, 60


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
        # Its end tells runs of one day apart: it stays where there is no room for the whole id.
        run_id = run.run_id if width >= _WHOLE_ID else run.run_id[-_ID_END:]
        when = _when(run, width)
        room = width - line.used - len(run_id) - len(when) - 4
        line.put(run.workflow, BOLD, width=max(8, min(30, room))).add("  ")
        line.put(run_id, DIM).add("  ")
        if run.problem:
            return line.put(run.problem, DIM).strip(width)
        return line.end(when, DIM).strip(width)


def _when(run: RunSummary, width: int) -> str:
    """How long it took, and when it began; as much as there is room for."""
    took = wording.duration(run.took) if run.took > 0 else ""
    began = time.strftime("%d %b %H:%M", time.localtime(run.created)) if run.created else "–"
    if width < _ALL_TIMES:
        return f"{began} " if width >= _ALL_TIMES - 13 else ""
    return f"{took:>11}  {began} "
