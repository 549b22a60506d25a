"""What a person does to a run from its screen: each key is a command of the command line too.

Rule 1: a command goes to the run's owner from a thread; the screen never waits for it, and
        what the owner answers is a toast.
Rule 2: what throws something away, or stops something, asks first, and the answer defaults to
        no.
Rule 3: a key that does nothing here says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import work
from textual.screen import Screen

from engine import RunState, TaskState
from engine.errors import FlowForgeError
from engine.front import wording
from flowforge_tui.downstream import taken_along
from flowforge_tui.errand import Errand
from flowforge_tui.owned import Owned
from flowforge_tui.screens.ask import NO, YES, Ask, Choice

if TYPE_CHECKING:
    from flowforge_tui.feed import Feed
    from flowforge_tui.hosting import Host
    from flowforge_tui.model import RunView

#: Names of task runs that a question lists.
_LISTED = 6

_RETRIED = (TaskState.FAILED, TaskState.CANCELLED)
_RERUN = (TaskState.SUCCESS, TaskState.CACHED, TaskState.FAILED, TaskState.CANCELLED,
          TaskState.SKIPPED)


CarryOn = Callable[[str, str | None, str, Sequence[str]], "Host"]
"""(run's id, state directory, command, tasks) → what hosts the run that goes on."""


class Steering(Owned, Screen[None]):
    """The commands. What is shown is the business of `RunScreen`."""

    def __init__(self) -> None:
        super().__init__()
        self.errand = Errand(self)

    feed: Feed
    host: Host | None
    carry_on: CarryOn | None
    """Makes what hosts a retry or rerun of a run that nobody runs; None: that is not offered."""

    # -- what the screen below supplies -----------------------------------------------------------

    def selected(self) -> list[int]:
        """The task runs that are marked, else those under the cursor."""
        raise NotImplementedError

    def unmark(self) -> None:
        """The marked were given a command: they are marked no more."""
        raise NotImplementedError

    def take(self, host: Host) -> None:
        """Show another run from now on: one that begins here."""
        raise NotImplementedError

    @property
    def view(self) -> RunView:
        """The run as it is known now."""
        return self.feed.view

    # -- asking the owner --------------------------------------------------------------------------

    @work(thread=True, group="ask")
    def send(
        self, command: str, tasks: Sequence[str] = (), then: Callable[[], None] | None = None,
        **more: Any,
    ) -> None:
        """Have the run's owner do something; its answer is a toast. `then`: done if it did."""
        try:
            answer, severity = self.feed.ask(command, tasks, **more), "information"
        except FlowForgeError as error:
            answer, severity = str(error), "warning"
        else:
            if then is not None:
                self.app.call_from_thread(then)
        self.app.call_from_thread(self.own.tell, answer, severity=severity)

    def _names(self, tids: Sequence[int]) -> list[str]:
        return [self.view.name_of(tid) for tid in tids]

    def _chosen(self, states: Sequence[TaskState], otherwise: str) -> list[int]:
        """Of the selection, those in one of the states; none, and said why, if there are none."""
        if self._is_past():
            return []
        selected = self.selected()
        found = [tid for tid in selected if self.view.state_of(tid) in states]
        if not found:
            self.own.tell(otherwise if selected else "no task is under the cursor",
                          severity="warning")
        return found

    # -- retry, rerun ------------------------------------------------------------------------------

    def action_retry(self) -> None:
        """Run failed and cancelled task runs again, with their code as it is now."""
        found = self._chosen(_RETRIED, "nothing to retry here: no failed or cancelled task; "
                                       "R runs again what succeeded")
        if found:
            self._again("retry", found)

    def action_rerun(self) -> None:
        """Run task runs again though they succeeded, and all downstream; asks first."""
        found = self._chosen(_RERUN, "nothing to rerun here: it has not ended yet")
        if not found:
            return
        below = taken_along(self.view, found)
        lost = sum(self.view.state_of(tid) in (TaskState.SUCCESS, TaskState.CACHED)
                   for tid in (*found, *below))
        title = f"Rerun {wording.amount(len(found), 'task run')} and everything downstream?"
        lines = [*self._listed(found), f"downstream of that: {len(below):,}",
                 f"results thrown away: {lost:,}"]
        self.app.push_screen(
            Ask(title, lines, (YES, NO)),
            lambda answer: self._again("rerun", found) if answer else None)

    def _listed(self, tids: Sequence[int]) -> list[str]:
        names = self._names(tids[:_LISTED])
        more = len(tids) - len(names)
        return [*names, f"… and {more:,} more"] if more > 0 else names

    def _again(self, command: str, tids: Sequence[int]) -> None:
        names = self._names(tids)
        self.unmark()
        if self.feed.live:
            edited = self.edited()
            if edited:
                self.send(command, names, partial(self.code_loaded, edited), reload=True)
            else:
                self.send(command, names)
            return
        self._again_here(command, names)

    def _again_here(self, command: str, names: Sequence[str]) -> None:
        """Nobody runs the run any more: it is carried on from here; its plan asks first."""
        if self.carry_on is None:
            line = wording.command(command, self.feed.run_id, *names[:3], home=self.feed.home)
            self.own.tell(f"nobody runs this run; {line}", severity="warning")
        else:
            self._go_on(command, names)

    def _go_on(self, command: str, names: Sequence[str]) -> None:
        carry_on, feed = self.carry_on, self.feed
        assert carry_on is not None
        self.errand.run(
            f"opening the run to {command} it",
            lambda: carry_on(feed.run_id, feed.home, command, names), self.take,
            lambda: self.feed is feed and self.app.screen is self)

    def edited(self) -> Mapping[Path, float]:
        """Files of the workflow that are newer than what the run has of them → their times."""
        return {}

    def code_loaded(self, files: Mapping[Path, float]) -> None:
        """The run has the code of these files as it was at these times."""

    # -- cancel, pause, workers, undo --------------------------------------------------

    def action_cancel(self) -> None:
        """Cancel the selected task runs, or the run; asks first."""
        if not self._live("cancel"):
            return
        found = [t for t in self.selected() if self.view.state_of(t) not in (
            TaskState.SUCCESS, TaskState.CACHED, TaskState.FAILED, TaskState.UPSTREAM_FAILED,
            TaskState.SKIPPED, TaskState.CANCELLED)]
        choices = [Choice("r", "the whole run", "run"), NO]
        if found:
            choices.insert(0, Choice("y", wording.amount(len(found), "task run"), "tasks"))
        names = self._names(found)

        def answered(answer: str | None) -> None:
            if answer:
                self.unmark()
                self.send("cancel", names if answer == "tasks" else ())

        self.app.push_screen(Ask("Cancel?", self._listed(found), choices), answered)

    def action_pause(self) -> None:
        """Start nothing new; again: go on."""
        if self._live("pause"):
            paused = self.view.run_state is RunState.PAUSED
            self.send("unpause" if paused else "pause")

    def action_workers(self, change: int) -> None:
        """A worker more or fewer."""
        if self._live("change the workers of"):
            self.send("workers", (f"{change:+d}",))

    def action_undo(self) -> None:
        """Take the last command back, if nothing of it has started."""
        if self._live("undo anything of"):
            self.send("undo")

    in_past = False
    """True while a moment of the past is shown."""

    def _is_past(self) -> bool:
        if self.in_past:
            self.own.tell("this is the past, and is only looked at; t goes back to the present",
                          severity="warning")
        return self.in_past

    def _live(self, what: str) -> bool:
        if self._is_past():
            return False
        if self.feed.live:
            return True
        self.own.tell(f"nothing to {what}: nobody runs this run", severity="warning")
        return False

    # -- leaving ----------------------------------------------------------------------

    def action_detach(self) -> None:
        """Leave, and have the run go on; it can only where another process runs it."""
        if self.host is not None and not self.host.ended:
            self.own.tell(
                "this screen's own process runs it, so it cannot go on without it; start with "
                "`flowforge run --detach FILE` to be able to leave (q stops it to be resumed)",
                severity="warning", seconds=8)
            return
        self.app.exit()

    def action_quit_run(self) -> None:
        """Leave; asks if a live run is ours."""
        if self.host is None or self.host.ended or not self.feed.unfinished:
            self.leave()
            return
        self.app.push_screen(
            Ask("The run is not over. Leave it?", [], (
                Choice("s", "stop it now, and resume it later", "stop"),
                Choice("c", "cancel it", "cancel"),
                Choice("n", "no, stay", ""))),
            self._leave_live)

    def _leave_live(self, answer: str | None) -> None:
        if answer == "cancel":
            self.send("cancel")
            self.leave_when_ended("cancelling; leaving when what runs has ended")
        elif answer == "stop" and self.host is not None:
            self.host.stop(2)
            self.leave_when_ended("stopping; leaving when what runs has ended (Ctrl-C: at once)")

    def action_interrupt_run(self) -> None:
        """Ctrl-C: drain, then cancel what runs, then leave at once; the run can be resumed."""
        host = self.host
        if host is None or host.ended or not self.feed.unfinished:
            self.leave()
            return
        level = host.stop(host.level + 1)
        if level >= 3:
            self.leave()
            return
        self.leave_when_ended(
            "no new task starts; once more to stop the running ones" if level == 1
            else "stopping the running tasks; once more to leave at once")

    def leave_when_ended(self, text: str) -> None:
        """Leave as soon as the host has ended."""
        self.own.tell(text)
        self.leaving = True
        if self.host is not None:
            self.host.close()

    leaving = False
    """True once a person wants to leave, and waits for what runs to end."""

    returns = False
    """True if there is a screen to go back to: the launcher."""
    _left = False

    def leave(self) -> None:
        """Close this screen and what is open over it; where it was the first, end."""
        if self._left:
            return
        self._left = True
        self.feed.close()
        while self.app.screen is not self:
            self.app.pop_screen()
        if self.returns:
            self.dismiss()
        else:
            self.app.exit()
