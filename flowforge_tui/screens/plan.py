"""What a run that is carried on would do, task by task and why, before anything of it happens.

Rule 1: nothing is written until the person says so; leaving it leaves the run as it is.
Rule 2: what a choice means for everything downstream shows at once: the engine's own plan is
        asked, and decides.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from rich.style import Style
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.strip import Strip

from flowforge_tui.keys import MOVE_KEYS, Key, bindings
from flowforge_tui.look import ACCENT, BOLD, CURSOR, DIM, GOOD, WARN, Look
from flowforge_tui.owned import Owned
from flowforge_tui.strips import Line
from flowforge_tui.widgets.keybar import KeyBar
from flowforge_tui.widgets.lines import LineView
from flowforge_tui.widgets.panel import Panel

if TYPE_CHECKING:
    from engine.front import Plan, PlanRow, Wish

KEYS = (
    Key("start", "enter", "start", "Enter", "carry the run on like this", "run", "carry on"),
    Key("toggle", "space", "choose", "space", "keep, or run again", "act", "keep/run"),
    Key("kept", "f", "kept", "f", "hide what is kept, and show it", "find", "hide kept"),
    Key("help", "question_mark,f1", "help", "?", "this help", "view", "keys"),
    Key("refuse", "q,escape", "refuse", "q", "leave the run as it is", "run", "leave it"),
)

#: An action → its word, sign, ASCII sign, and style.
_ACTIONS: dict[str, tuple[str, str, str, Style]] = {
    "keep": ("keep", "✓", "+", DIM), "run": ("run", "●", ">", ACCENT),
    "changed": ("changed", "↻", "~", WARN), "new": ("new", "◆", "*", GOOD),
    "gone": ("gone", "–", "-", DIM),
}


class PlanList(LineView):
    """The rows of a plan."""

    def __init__(self, look: Look, plan: Plan, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self.plan = plan
        self.wishes: dict[int, Wish] = {}
        """Node → what the person wants of it."""
        self.shows_kept = True
        self._shown: Sequence[PlanRow] = ()
        self._gather()

    def _gather(self) -> None:
        rows = self.plan.choose(self.wishes).rows() if self.wishes else self.plan.rows()
        self.sums: dict[str, int] = {}
        for row in rows:
            for action, number in row.counts.items():
                self.sums[action] = self.sums.get(action, 0) + number
        self._shown = rows if self.shows_kept else [
            r for r in rows if r.action != "keep" or r.node in self.wishes]

    def toggle(self) -> str:
        """Wish otherwise for the row under the cursor; why that cannot be, or ""."""
        if not self._shown:
            return "there is nothing here to choose"
        row = self._shown[self.cursor]
        if row.node in self.wishes:
            del self.wishes[row.node]
        elif row.choices:
            self.wishes[row.node] = row.choices[0]
        else:
            return f"{row.action}: {row.reason}; there is no choice"
        self._gather()
        self.repaint()
        return ""

    def toggle_kept(self) -> None:
        """Hide what is kept, and show it."""
        self.shows_kept = not self.shows_kept
        self._gather()
        self.repaint()

    def count(self) -> int:
        """As in `LineView`."""
        return len(self._shown)

    def key(self, index: int) -> Hashable:
        """As in `LineView`."""
        row = self._shown[index]
        return row.node, row.action, row.reason, row.node in self.wishes

    def empty(self) -> str:
        """As in `LineView`."""
        return "nothing is recorded yet: all of it would run"

    def build(self, index: int, width: int) -> Strip:
        """As in `LineView`."""
        row = self._shown[index]
        word, sign, plain, style = _ACTIONS[row.action]
        here = index == self.cursor
        line = Line().add(f" {self.look.marks.cursor} " if here else "   ", ACCENT)
        line.add(self.look.marks.marked if row.node in self.wishes else " ", WARN)
        line.add(f" {sign if self.look.unicode else plain} ", style).column(word, 8, style)
        line.put(row.name, BOLD, width=max(10, min(36, width // 3)))
        total = sum(row.counts.values())
        line.column(f"{row.counts.get(row.action, 0):,}/{total:,}" if total > 1 else "", 14, DIM,
                    right=True)
        line.add("  ").put(row.reason, DIM)
        strip = line.strip(width)
        return strip.apply_style(CURSOR) if here and self.has_focus else strip


class PlanHead(Panel):
    """What the plan comes to, in one line."""

    DEFAULT_CSS = """
    PlanHead { height: 2; }
    """

    def __init__(self, look: Look, rows: PlanList, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self._rows = rows

    def lines(self, width: int, height: int) -> list[Strip]:
        """As in `Panel`."""
        line = Line().add(" CARRY ON ", BOLD).put(self._rows.plan.new.name, BOLD, limit=width // 3)
        for action, (word, _, _, style) in _ACTIONS.items():
            number = self._rows.sums.get(action, 0)
            if number:
                line.add(f"  {number:,} {word}", style)
        return [line.strip(width)]


class PlanScreen(Owned, ModalScreen[Any]):
    """Returns the person's wishes by node; None: nothing is to be run."""

    DEFAULT_CSS = """
    PlanScreen { background: $background; }
    PlanScreen > Vertical { width: 100%; height: 100%; }
    """
    BINDINGS = bindings(KEYS)

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def compose(self) -> ComposeResult:
        """Head, rows, keys."""
        rows = PlanList(self.own.look, self._plan, id="plan")
        with Vertical():
            yield PlanHead(self.own.look, rows)
            yield rows
            yield KeyBar((*KEYS, *MOVE_KEYS))

    def on_mount(self) -> None:
        """The rows have the keys."""
        self.query_one(PlanList).focus()
        self.call_after_refresh(self.query_one(PlanHead).paint)

    def action_choose(self) -> None:
        """Wish otherwise for the row under the cursor."""
        trouble = self.query_one(PlanList).toggle()
        if trouble:
            self.own.tell(trouble, severity="warning")
        self.query_one(PlanHead).paint()

    def action_kept(self) -> None:
        """Hide what is kept, and show it."""
        self.query_one(PlanList).toggle_kept()

    def action_help(self) -> None:
        """All keys."""
        from flowforge_tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen((*KEYS, *MOVE_KEYS)))

    def action_start(self) -> None:
        """Carry the run on like this."""
        self.dismiss(self.query_one(PlanList).wishes)

    def action_refuse(self) -> None:
        """Leave the run as it is."""
        self.dismiss(None)
