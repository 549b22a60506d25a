"""`flowforge` alone: what can be run here, and what was run.

Rule 1: no file of the user's is executed to list it.
Rule 2: looking goes on beside the screen, on a thread: a directory may be large, or slow.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Input, Static

from flowforge_tui.errand import Errand
from flowforge_tui.keys import MOVE_KEYS, Key, bindings
from flowforge_tui.look import BOLD, DIM
from flowforge_tui.owned import Owned
from flowforge_tui.safe_text import safe_line
from flowforge_tui.widgets.keybar import KeyBar
from flowforge_tui.widgets.runs import RunList, WorkflowList

if TYPE_CHECKING:
    from engine.front import Found, Listing, RunSummary
    from flowforge_tui.feed import Feed
    from flowforge_tui.hosting import Host
    from flowforge_tui.screens.run import RunScreen
    from flowforge_tui.screens.steering import CarryOn

#: Seconds that a run which was left may take to let go of its files, before another look at it.
_LET_GO = 3.0

#: Seconds between two looks at the runs.
_LOOK = 2.0

#: How many runs are listed.
_LISTED = 500

#: Characters of a name, or of a parameter as it is written, that are shown.
_NAME = 80

#: Last lines of an error that are told.
_TOLD = 12

KEYS = (
    Key("open", "enter", "open", "Enter", "run it, or look at it", "run", "open"),
    Key("retry", "r", "carry_on", "r", "carry the run on, or retry it", "run", "resume/retry"),
    Key("next_pane", "tab", "next_pane", "Tab", "to the other list", "view", "other list"),
    Key("palette", "colon,ctrl+p", "app.command_palette", ":", "all commands", "view"),
    Key("help", "question_mark,f1", "help", "?", "this help", "view", "keys"),
    Key("quit", "q,escape", "leave", "q", "quit", "run", "quit"),
)


class LauncherScreen(Owned, Screen[None]):
    """Two lists: workflows above, runs below."""

    DEFAULT_CSS = """
    LauncherScreen .title { height: 1; padding: 0 1; color: $text-muted; text-style: bold; }
    LauncherScreen WorkflowList { height: 1fr; max-height: 50%; }
    LauncherScreen RunList { height: 1fr; }
    LauncherScreen Input { display: none; height: 3; }
    LauncherScreen #asked { display: none; height: auto; max-height: 4; padding: 0 1; }
    LauncherScreen #asked.-open { display: block; }
    LauncherScreen Input.-open { display: block; }
    """
    BINDINGS = [*bindings(KEYS), Binding("shift+tab", "next_pane", show=False)]

    def __init__(
        self,
        run: Callable[[Found, str], Host],
        look_at: Callable[[RunSummary], Feed],
        carry_on: Callable[[RunSummary], Host],
        carry_on_here: CarryOn,
    ) -> None:
        """`run` makes what hosts a workflow, with parameters as written; `look_at` and
        `carry_on` take a run. `carry_on_here` is for the screens of runs."""
        super().__init__()
        self._run, self._look_at, self._carry_on = run, look_at, carry_on
        self._carry_on_here = carry_on_here
        self._chosen: Found | None = None
        self._errand = Errand(self)
        self._listing: Listing | None = None

    def compose(self) -> ComposeResult:
        """The two lists."""
        look = self.own.look
        yield Static("WORKFLOWS HERE", classes="title")
        yield WorkflowList(look=look, id="workflows")
        yield Static("RUNS", classes="title")
        yield RunList(look=look, id="runs")
        yield Static(id="asked")
        yield Input(placeholder="parameters: NAME=VALUE …; Enter runs, Esc goes back",
                    id="parameters")
        yield KeyBar(KEYS)

    def on_mount(self) -> None:
        """Begin to look."""
        self._find()
        self._list()
        self.set_interval(_LOOK, self._look_again)
        self.query_one(WorkflowList).focus()

    @work(thread=True, exclusive=True, group="find")
    def _find(self) -> None:
        from engine.front import find_workflows

        found = find_workflows(Path.cwd())
        self.app.call_from_thread(self.query_one(WorkflowList).show, found)

    def _look_again(self) -> None:
        """List the runs, if they are in sight."""
        if self.is_current:
            self._list()

    @work(thread=True, exclusive=True, group="list")
    def _list(self) -> None:
        from engine.errors import FlowForgeError
        from engine.front import Listing, state_directory

        try:
            if self._listing is None:
                self._listing = Listing(state_directory(), _LISTED)
            runs = self._listing.look()
        except FlowForgeError as error:
            self.app.call_from_thread(self.own.tell, str(error), severity="error")
            return
        self.app.call_from_thread(self.query_one(RunList).show, runs)

    # -- keys ------------------------------------------------------------------------------------

    def _focused(self) -> WorkflowList | RunList:
        runs = self.query_one(RunList)
        return runs if runs.has_focus else self.query_one(WorkflowList)

    def action_next_pane(self) -> None:
        """To the other list."""
        before = self._focused()
        other = self.query_one(RunList if isinstance(before, WorkflowList) else WorkflowList)
        other.focus()
        before.repaint()
        other.repaint()

    def action_open(self) -> None:
        """Run the workflow, or look at the run."""
        view = self._focused()
        if isinstance(view, RunList):
            if view.runs:
                run = view.runs[view.cursor]
                self._open(lambda: (self._look_at(run), None))
        elif view.found:
            self._chosen = view.found[view.cursor]
            if self._chosen.parameters:
                self._ask(self._chosen)
            else:
                self._start("")

    def _ask(self, chosen: Found) -> None:
        """Which parameters it has, and a field for them."""
        told = Text(f"{safe_line(chosen.name, _NAME)}  ", BOLD)
        told.append(" · ".join(safe_line(p, _NAME) for p in chosen.parameters), DIM)
        asked = self.query_one("#asked", Static)
        asked.update(told)
        asked.add_class("-open")
        field = self.query_one(Input)
        field.add_class("-open")
        field.focus()

    def action_carry_on(self) -> None:
        """Resume or retry the run under the cursor."""
        view = self.query_one(RunList)
        if view.has_focus and view.runs:
            run = view.runs[view.cursor]
            self._open(lambda: _hosted(self._carry_on(run)))
        else:
            self.own.tell("choose a run first: Tab goes to the list of runs")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Run it with these parameters."""
        self._close_field()
        self._start(event.value)

    def _start(self, parameters: str) -> None:
        chosen = self._chosen
        if chosen is not None:
            self._open(lambda: _hosted(self._run(chosen, parameters)))

    def _open(self, make: Callable[[], tuple[Feed, Host | None]]) -> None:
        """Show a run; what is wrong with it, or with what was typed, is a toast."""
        left = self.own.host

        def open_it() -> tuple[Feed, Host | None]:
            if left is not None:
                left.join(_LET_GO)  # a run that was just left lets go of itself by then
            return make()

        self._errand.run("opening the run", open_it, self._show,
                         lambda: self.app.screen is self)

    def _show(self, opened: tuple[Feed, Host | None]) -> None:
        from flowforge_tui.screens.run import RunScreen

        self.own.feed, self.own.host = opened
        screen = RunScreen(*opened, self._carry_on_here)
        screen.returns = True
        self.app.push_screen(screen, lambda _: self._came_back(screen))

    def _came_back(self, screen: RunScreen) -> None:
        """From a run: what kept it from starting, if something did."""
        from flowforge_tui.screens.ask import Ask, Choice

        self._list()
        error = screen.host.error if screen.host is not None else None
        if error is not None and not isinstance(error, KeyboardInterrupt):
            self.own.host = None  # so that it is not told once more in the end
            lines = str(error).splitlines()[-_TOLD:]
            self.app.push_screen(Ask("That was not run", lines, (Choice("q", "close", ""),)))

    def action_leave(self) -> None:
        """Close the field, or the launcher."""
        if self.query_one(Input).has_class("-open"):
            self._close_field()
        else:
            self.app.exit()

    def _close_field(self) -> None:
        field = self.query_one(Input)
        for widget in (field, self.query_one("#asked")):
            widget.remove_class("-open")
        field.value = ""
        self.query_one(WorkflowList).focus()

    def action_help(self) -> None:
        """All keys."""
        from flowforge_tui.screens.help import HelpScreen

        self.app.push_screen(HelpScreen((*KEYS, *MOVE_KEYS)))


def _hosted(host: Host) -> tuple[Feed, Host | None]:
    return host.feed, host
