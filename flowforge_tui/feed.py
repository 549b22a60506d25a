"""Where a screen's run comes from: this process's bus, or what another process records.

Rule 1: news wait in a deque until the screen drains them (`poll`); nobody who runs tasks waits
        for the screen, nor the screen for them. A screen that rests is rung for (`ring`).
Rule 2: commands and look-ups that may take time (`ask`, `waits_for`, `figures`) are called
        from a thread of the screen's, never from its loop.
Rule 3: what comes out of a feed is untrusted text; whoever shows it makes it safe.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import RunState
from engine.front import Succeeded
from flowforge_tui.attempts import Ended
from flowforge_tui.history import Past
from flowforge_tui.model import RunView
from flowforge_tui.shape import Shape

if TYPE_CHECKING:
    from engine import Run
    from engine.front import Change, Gauges, Live, Look, Place, Plan, Reporter, Request, Wish

#: Seconds between two looks of a screen that rests: what runs shows for how long it has.
CLOCK = 1.0

#: Seconds of news that are taken in at once. The rest waits for the next frame: at 400,000 tasks
#: a second all of it would take the interpreter from the engine for half of the time.
AT_ONCE = 0.012

_OPEN = (RunState.PENDING, RunState.RUNNING, RunState.PAUSED, RunState.CANCELLING)


class Feed:
    """What every feed has. A feed is made before its run is there: `view` is empty until then."""

    hosted = False
    """True if this process runs the workflow."""

    def __init__(self) -> None:
        self.view = RunView(Shape.empty())
        self.run_id = ""
        self.workflow = ""
        self.home: str | None = None
        """The state directory; None for a run that is kept in memory."""
        self.logs: Path | None = None
        """Where the tasks' output is; None if it is not kept."""
        self.resumed = ""
        """One line about what is carried on."""
        self.notes: deque[tuple[float, str]] = deque(maxlen=1000)
        """News that are no change: (when, text)."""
        self.told = 0
        """How many news there were in all."""
        self.progress: Mapping[int, tuple[float, float | None]] = {}
        """Task run → (done, total) as its own code told it."""
        self.run: Run | None = None
        """The run as it ended, if this process ran it."""
        self.ring: Callable[[], None] = _nobody
        """Called, from any thread, when there may be something new; see `Bell.ring`."""

    @property
    def rest(self) -> float | None:
        """Seconds between two looks while nothing happens; None: who has news rings."""
        return CLOCK

    @property
    def live(self) -> bool:
        """True while somebody runs it."""
        return False

    @property
    def unfinished(self) -> bool:
        """True if the run has not ended, as far as is known."""
        return self.view.run_state in _OPEN

    def poll(self) -> bool:
        """Take in what is new; True if anything is."""
        raise NotImplementedError

    def note(self, text: str, at: float | None = None) -> None:
        """News that are no change."""
        self.notes.append((time.time() if at is None else at, text))
        self.told += 1
        self.ring()

    def now(self) -> float:
        """The moment that running tasks are measured against, seconds since the epoch."""
        return time.time()

    def ask(self, command: str, tasks: Sequence[str] = (), **more: Any) -> str:
        """Have the run's owner do something; what it answers. Raises RunError if it refuses."""
        raise NotImplementedError

    def waits_for(self, tid: int) -> str:
        """What a QUEUED task run waits for; empty if that is not known."""
        return ""

    @property
    def about(self) -> Mapping[str, Any]:
        """What the run was started with, as in `Live.about`."""
        return {}

    # -- a task run looked at closely; may take time, and raise FlowForgeError -------------------

    def inputs(self, tid: int) -> Mapping[str, str]:
        """Parameter → value, as shown."""
        return {}

    def output(self, tid: int) -> str:
        """The result, as shown; empty if there is none."""
        return ""

    def place(self, tid: int) -> Place | None:
        """Where its code is; None for a command, or where that is not known."""
        return None

    def gauges(self) -> Gauges | None:
        """What the owner's workers do at this moment; None if nobody runs it, or tells."""
        return None

    def close(self) -> None:
        """Nobody will look any more."""


def _nobody() -> None:
    """No screen is there that could be rung for."""


class Proposal:
    """What a run that is carried on would do, put to the person before anything is written."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._wishes: Mapping[int, Wish] | None = None
        self._answered = threading.Event()

    def answer(self, wishes: Mapping[int, Wish] | None) -> None:
        """What is to be done otherwise, by node; None: nothing is to be done at all."""
        self._wishes = wishes
        self._answered.set()

    def wait(self) -> Mapping[int, Wish] | None:
        """The answer, once it is there."""
        self._answered.wait()
        return self._wishes


class LiveFeed(Feed):
    """A run of this process. Implements the engine's `Reporter`."""

    hosted = True

    def __init__(self) -> None:
        super().__init__()
        self._live: Live | None = None
        self._beginning = threading.Lock()
        self._batches: deque[Sequence[Change | Ended]] = deque()
        self._fresh: RunView | None = None
        self._lines: Reporter | None = None
        self.proposal: Proposal | None = None
        """A plan that waits for the person's answer."""
        self.refused = False
        """True if the person did not want what the last plan said."""
        self._wanted = 0
        """How far the run was asked to stop before it had begun."""
        self._closed = False

    @property
    def live(self) -> bool:
        """As in `Feed`."""
        return self._live is not None and self.run is None

    @property
    def rest(self) -> float | None:
        """As in `Feed`."""
        return None if self.view.ended else CLOCK

    # -- as in `Reporter`, from the engine's threads -------------------------------------------

    def begin(self, live: Live) -> None:
        """The run starts."""
        assert live.outline is not None and live.record is not None
        self.run_id, self.workflow, self.home = live.run_id, live.workflow, live.home
        self.logs, self.resumed, self.progress = live.logs, live.resumed, live.progress
        self._fresh = RunView.of_record(Shape(live.outline), live.record)
        Past(self._fresh)
        with self._beginning:
            if self._lines is not None:
                self._lines.begin(live)
            self._live = live
        self.ring()
        # `stop` and `close` reach the run from here on; what they were told before counts, too.
        if self._wanted:
            self.stop(self._wanted)
        if self._closed and live.close is not None:
            live.close()

    def changes(self, batch: Sequence[Change]) -> None:
        """Recorded changes. Of attempts that ended well columns wait, not the engine's objects,
        which hold results, and which the collector would walk: 20 ms for a hundred thousand."""
        self._batches.append(
            [Ended.of(c.attempts) if isinstance(c, Succeeded) else c for c in batch])
        self.ring()
        if self._lines is not None:
            self._lines.changes(batch)

    def say(self, text: str) -> None:
        """News."""
        self.note(text)
        if self._lines is not None:
            self._lines.say(text)

    def plan(self, plan: Any) -> None:
        """What a resume does."""
        from engine.front import plan_lines

        for line in plan_lines(plan):
            self.say(line)

    def end(self, run: Run) -> None:
        """The session is over."""
        self.run = run
        self.ring()
        if self._lines is not None:
            self._lines.end(run)

    def prepare(self, request: Request) -> None:
        """Have the run that meets `request` be told to this feed, and stay for its commands."""
        request.reporter = lambda output: self
        request.linger = True
        request.review = self.review

    def review(self, plan: Plan) -> Mapping[int, Wish] | None:
        """Put a plan to the person, and wait for the answer."""
        proposal = self.proposal = Proposal(plan)
        if self._closed or self._wanted:
            proposal.answer(None)
        self.ring()
        wishes = proposal.wait()
        self.proposal, self.refused = None, wishes is None
        return wishes

    def stop(self, level: int) -> None:
        """As Ctrl-C does: 1 starts nothing new, 2 stops what runs, 3 leaves at once."""
        self._wanted = level
        self._refuse()
        if self._live is not None and self._live.stop is not None:
            self._live.stop(level)

    def close(self) -> None:
        """As in `Feed`: a run that was kept open for commands ends."""
        self._closed = True
        self._refuse()
        if self._live is not None and self._live.close is not None:
            self._live.close()

    def _refuse(self) -> None:
        """Nobody will answer any more."""
        proposal = self.proposal
        if proposal is not None:
            proposal.answer(None)

    def tell_on_in_lines(self) -> None:
        """The screen is gone: tell what follows in plain lines."""
        from engine.front import PlainConsole

        lines = PlainConsole()
        with self._beginning:
            if self._live is not None:
                lines.begin(self._live)
            self._lines = lines

    def stray(self, stream: str, text: str) -> None:
        """What this process wrote to its descriptors outside of any attempt."""
        if self._live is not None:
            self._live.write_stray(stream, text)
            self.ring()

    # -- as in `Feed`, from the screen's ----------------------------------------------------------

    def poll(self) -> bool:
        """As in `Feed`."""
        changed = False
        if self._fresh is not None:
            self.view, self._fresh = self._fresh, None
            changed = True
        until = time.perf_counter() + AT_ONCE
        while self._batches and time.perf_counter() < until:
            self.view.apply(self._batches.popleft())
            changed = True
        return changed

    def ask(self, command: str, tasks: Sequence[str] = (), **more: Any) -> str:
        """As in `Feed`."""
        from engine.errors import RunError

        live = self._live
        if live is None or live.commands is None:
            raise RunError("the run has not begun yet")
        answer = live.commands.handle({"command": command, "tasks": list(tasks), **more})
        return str(answer.get("message", ""))

    @property
    def about(self) -> Mapping[str, Any]:
        """As in `Feed`."""
        return self._live.about if self._live is not None else {}

    def waits_for(self, tid: int) -> str:
        """As in `Feed`."""
        if self._live is None or not self.live:
            return ""
        return str(self._live.machine.waits_for(tid))

    def inputs(self, tid: int) -> Mapping[str, str]:
        """As in `Feed`."""
        return self._look.inputs(tid) if self._look is not None else {}

    def output(self, tid: int) -> str:
        """As in `Feed`."""
        return self._look.output(tid) if self._look is not None else ""

    def place(self, tid: int) -> Place | None:
        """As in `Feed`."""
        return self._look.place(tid) if self._look is not None else None

    @property
    def _look(self) -> Look | None:
        return self._live.look if self._live is not None else None

    def gauges(self) -> Gauges | None:
        """As in `Feed`."""
        return self._live.gauges() if self._live is not None and self._live.gauges else None
