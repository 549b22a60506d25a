"""The screen of one run: what there is to see, and when it is drawn.

Rule 1: a frame, not an event, is the unit of cost. A timer drains the feed; each pane then
        repaints those of its lines that look different.
Rule 2: nothing is drawn while nothing changes, and after a while nothing is looked at: the
        screen rests until it is rung for, or somebody presses a key. The clock goes on.
Rule 3: what takes time (a detail, a reason) is fetched on a thread and shown when it comes,
        if it is still wanted.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Container

from engine import TaskState
from engine.errors import FlowForgeError, StorageError
from flowforge_tui.bell import Bell
from flowforge_tui.details import Details, run_facts
from flowforge_tui.feed import CLOCK
from flowforge_tui.figures import Figures
from flowforge_tui.keys import RUN_KEYS, TRAVEL_KEYS, bindings
from flowforge_tui.model import RunView
from flowforge_tui.screens.plan import PlanScreen
from flowforge_tui.screens.travelling import Travelling
from flowforge_tui.widgets.detail import DetailPane
from flowforge_tui.widgets.filterfield import FilterField
from flowforge_tui.widgets.graph import GraphPane, Stages
from flowforge_tui.widgets.header import Header
from flowforge_tui.widgets.keybar import KeyBar
from flowforge_tui.widgets.messages import Jump, Left
from flowforge_tui.widgets.metrics import MetricsPanel
from flowforge_tui.widgets.scrubber import Scrubber
from flowforge_tui.widgets.timeline import Timeline
from flowforge_tui.widgets.tree import TaskTree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.timer import Timer

    from engine.front import Durations, Gauges
    from flowforge_tui.details import Facts
    from flowforge_tui.feed import Feed, Proposal
    from flowforge_tui.hosting import Host
    from flowforge_tui.screens.steering import CarryOn

#: Seconds between frames; without any change or key, after which the screen rests; and after
#: which the clock of a run that has ended stops, since its gauges show the end by then.
FRAME, CALM, SETTLED = 0.08, 0.75, 3.0
#: So much of a second (seconds) is one: a timer may be a little early.
_SECOND = 0.97
#: Seconds between two looks at figures and gauges; and while only time passes, which is two
#: thirds of what a second of that costs.
FIGURES, FIGURES_AT_REST = 0.25, 3.0
#: A frame that took so long (seconds) makes the next ones rarer, so that drawing stays cheap.
SLOW = 0.02
#: States in which the error is what a person wants to see first.
_OF_FAILURE = (TaskState.FAILED, TaskState.UP_FOR_RETRY)


class RunScreen(Travelling):
    """Tree, figures, pane and timeline of one run."""

    # Those of travelling first: they give way while nobody travels.
    BINDINGS = bindings((*TRAVEL_KEYS, *RUN_KEYS))

    def __init__(
        self,
        feed: Feed,
        host: Host | None = None,
        carry_on: CarryOn | None = None,
    ) -> None:
        super().__init__()
        self.feed, self.host, self.carry_on = feed, host, carry_on
        self.figures = Figures(feed.view)
        self._watched = {}
        self._shown: RunView | None = None
        self._gauges: Gauges | None = None
        self._asking = False
        self._skip = 0
        self._last_clock = 0.0
        self._last_change = 0.0
        self.resting = False
        """True while nothing happens: nothing is looked at, but for the clock."""
        self._slow: Timer | None = None
        self._last_figures = 0.0
        self._owes_figures = False
        """True if the last frame was drawn without the panes that are drawn less often."""
        self._notes = 0
        self._proposal: Proposal | None = None
        """The plan that the person was last asked about."""
        self._tab_chosen = False
        """True while a person has chosen which side of a task to see."""

    def compose(self) -> ComposeResult:
        """The panes; where they are is said in flowforge.tcss."""
        look = self.own.look
        yield Header(look=look, id="header")
        yield Scrubber(look=look, id="scrubber")
        with Container(id="body"):
            yield TaskTree(look=look, id="tree")
            yield MetricsPanel(look=look, id="metrics")
            yield DetailPane(look=look, id="pane")
            yield Timeline(look=look, id="timeline")
            yield GraphPane(look=look, id="graph")
        yield FilterField(lambda: [s.name for s in self.view.shape.sections], id="filter")
        yield KeyBar(RUN_KEYS)

    def on_mount(self) -> None:
        """Start the clock, and the run if it is ours."""
        self.tree_pane.focus()
        if self.host is not None:
            self.host.start()
        self._bell = Bell(self.stir)
        self.feed.ring = self._bell.ring
        self.pane.log_pane.rung_by(self._bell.ring)
        self._fast = self.set_interval(FRAME, self.tick)
        self.tick()

    def on_unmount(self) -> None:
        """Nobody looks any more, however the screen ends."""
        self._bell.listens = False
        self.feed.close()

    # -- frames ---------------------------------------------------------------------------------

    def tick(self) -> None:
        """One turn of the timer."""
        if self._skip and not self.resting:
            self._skip -= 1
            return
        began = time.perf_counter()
        try:
            changed = self.feed.poll()
        except StorageError as error:
            self._stop()
            self.own.tell(str(error), severity="error", seconds=30)
            return
        self._tell_notes()
        self._ask_about_plan()
        clock = self._is_second()
        if changed or self._behind() or (clock and not self._still):
            self.frame(changed)
        elif clock or self.feed.live:  # what a task prints is no change of the run
            self.pane.frame(self.seen()[1], live=self.feed.live)
        self._check_host()
        self._set_pace(changed or self._behind() or self.pane.behind or self.leaving, began)
        self._skip = int((time.perf_counter() - began) / SLOW)

    @property
    def _still(self) -> bool:
        """True if nothing looks different by time alone: the run is over, and panes that are drawn
        less often than others have had their last turn."""
        return self.resting and self.feed.view.ended > 0.0 and self._is_settled(time.perf_counter())

    def _is_settled(self, at: float) -> bool:
        return at - self._last_change > SETTLED

    def _is_second(self) -> bool:
        """True once in each second of the clock, or after one where looks are that rare."""
        at = time.time()
        if int(at) == int(self._last_clock) and at - self._last_clock < _SECOND:
            return False
        self._last_clock = at
        return True

    def _behind(self) -> bool:
        """True while panes have not taken in, or drawn, all that there is."""
        timeline = self.timeline.size.height > 0 and self.timeline.behind
        return timeline or self._owes_figures or self.figures.behind

    # -- how often -------------------------------------------------------------------------------

    def _set_pace(self, busy: bool, at: float) -> None:
        """Look up often while things change: a turn of the timer costs 0.3 ms."""
        if busy:
            self._last_change = at
            self._wake()
        elif not self.resting and at - self._last_change > CALM:
            self._rest()
        elif self.resting and self.feed.rest is None and self._is_settled(at):
            self._stop_slow()

    def stir(self) -> None:
        """Something happens, or will: look up often for a while."""
        self._last_change = time.perf_counter()
        self._wake()

    def _rest(self) -> None:
        self.resting = True
        self._fast.pause()
        self._slow = self.set_interval(self.feed.rest or CLOCK, self.tick)
        self._bell.listens = True
        self.call_later(self.tick)  # what came until then has rung for nobody

    def _wake(self) -> None:
        if self.resting:
            self.resting = self._bell.listens = False
            self._stop_slow()
            self._fast.resume()

    def _stop_slow(self) -> None:
        if self._slow is not None:
            self._slow.stop()
            self._slow = None

    def _stop(self) -> None:
        """Look at nothing any more."""
        self._bell.listens = False
        self._stop_slow()
        self._fast.stop()

    def frame(self, changed: bool = True) -> None:
        """Draw what looks different now."""
        feed = self.feed
        view, now = self.seen()
        if view is not self._shown:
            self._show(view)
        self.figures.look()
        if self.travel is not None:
            self.scrubber.frame(self.travel)
        self.header.frame(feed, self.figures, now)
        self.tree_pane.frame(now, feed.progress)
        self.pane.frame(now, live=feed.live)
        if self.graph.size.height:
            self._frame_graph()
        self._fetch_details()
        at = time.monotonic()
        idle = self.resting and not (changed or view.ended)
        due = at - self._last_figures > (FIGURES_AT_REST if idle else FIGURES)
        self._owes_figures = not (due or idle)
        if due:
            self._last_figures = at
            self._frame_figures(now)

    def _frame_graph(self) -> None:
        self.graph.select(self.tree_pane.highlighted())
        find = self.graph.wants()
        if find is not None:
            self._find_stages(find)
        self.graph.frame()

    @work(thread=True, exclusive=True, group="stages")
    def _find_stages(self, find: Callable[[], Stages]) -> None:
        self.app.call_from_thread(self.graph.take, find())

    def _frame_figures(self, now: float) -> None:
        if self.metrics.display and self.metrics.size.height:
            self._look_at_gauges()
            self.metrics.frame(self.figures, now, self._gauges)
        if self.timeline.display and self.timeline.size.height:
            self.timeline.mark(None if self.travel is None else self.travel.moment)
            self.timeline.frame(self.feed.now())

    def _show(self, view: RunView) -> None:
        """Another run, or the same with another graph, or at another moment."""
        first, self._shown = self._shown is None or view.shape is not self._shown.shape, view
        self.figures.show(view)
        for pane in (self.tree_pane, self.pane, self.graph):
            pane.show(view)
        self.timeline.show(self.feed.view)  # all of it, with a mark where somebody looks back
        self.pane.open_logs(self.feed.logs)
        self._find_facts(self.feed)
        self.pane.durations = self._durations
        self._point()
        file = self.feed.about.get("file")
        if file:
            self._watch(str(file))
        if self.feed.resumed and first:
            self.own.tell(self.feed.resumed)

    @work(thread=True, exclusive=True, group="facts")
    def _find_facts(self, feed: Feed) -> None:
        self.app.call_from_thread(self._take_facts, feed, run_facts(feed))

    def _take_facts(self, feed: Feed, facts: Sequence[tuple[str, str]]) -> None:
        if feed is self.feed:
            self.pane.facts = facts
            self.stir()

    def _durations(self, place: int) -> Durations | None:
        figures = self.figures.sections.get(place)
        return figures.durations if figures is not None else None

    def _tell_notes(self) -> None:
        """News that are no change: a toast each, the last few of a flood."""
        notes = self.feed.notes
        fresh = min(self.feed.told - self._notes, len(notes), 3)
        for _, text in list(notes)[len(notes) - fresh:] if fresh > 0 else ():
            self.own.tell(text)
        self._notes = self.feed.told

    def _check_host(self) -> None:
        """Leave if the run that is hosted here is over for good."""
        if self.host is not None and self.host.ended and (
                self.leaving or self.host.error is not None or not self.feed.run_id):
            self.leave()

    def _ask_about_plan(self) -> None:
        """Before a run is carried on: what that will do, to be changed or refused."""
        proposal = self.host.feed.proposal if self.host is not None else None
        if proposal is None or proposal is self._proposal:
            return
        self._proposal = proposal
        self.app.push_screen(PlanScreen(proposal.plan), proposal.answer)

    def take(self, host: Host) -> None:
        """As in `Steering`."""
        self.feed.close()
        self.be_present()
        self.feed, self.host = host.feed, host
        self.feed.ring = self._bell.ring
        self.stir()
        self.own.feed, self.own.host = host.feed, host
        self._notes = 0
        self._watched = {}  # it loads the code as it is now
        host.start()

    # -- what is fetched beside the loop -----------------------------------------------------------

    def _look_at_gauges(self) -> None:
        if self.feed.hosted:
            self._gauges = self.feed.gauges()
        elif self.feed.live and not self._asking:
            self._asking = True  # one at a time: an owner that sleeps would be asked by all threads
            self._ask_for_gauges()

    @work(thread=True, exclusive=True, group="gauges")
    def _ask_for_gauges(self) -> None:
        try:
            self._gauges = self.feed.gauges()
        except FlowForgeError:  # it has just ended
            self._gauges = None
        finally:
            self._asking = False

    def _fetch_details(self) -> None:
        load = self.pane.wants()
        if load is not None:
            self._load(load)

    @work(thread=True, exclusive=True, group="details")
    def _load(self, load: Callable[[Facts], Details]) -> None:
        self.app.call_from_thread(self._take_details, load(self.feed))

    def _take_details(self, details: Details) -> None:
        self.pane.take(details)
        if details.waits:
            self.tree_pane.set_reason(details.tid, details.waits)
        if self.is_current:
            self.frame()

    # -- the panes tell each other --------------------------------------------------

    @on(TaskTree.Highlighted)
    def _point(self) -> None:
        """The pane shows what is under the tree's cursor."""
        tree, pane = self.tree_pane, self.pane
        row = tree.highlighted()
        pane.select(row)
        if not self._tab_chosen:
            failed = isinstance(row, int) and tree.view.state_of(row) in _OF_FAILURE
            summed = not isinstance(row, int)
            pane.action_tab("error" if failed or summed else "log")
        pane.frame(self.seen()[1], live=self.feed.live)

    @on(TaskTree.Changed)
    def _set(self) -> None:
        """What is marked, filtered and sorted is told in the last line."""
        self.query_one(KeyBar).tell(self.tree_pane.status)

    @on(TaskTree.Opened)
    def _opened(self) -> None:
        """Enter on a task run: its details take the keys, and the room if there is little."""
        if not self.pane.size.height:
            self.action_zoom("pane")
        self.pane.focus()

    @on(Jump)
    def _jump(self, event: Jump) -> None:
        if self.has_class("-zoomed"):
            self.action_zoom()
        self.tree_pane.reveal(event.tid)
        self.tree_pane.focus()

    @on(Left)
    def _left_pane(self) -> None:
        self.action_clear()
        self.tree_pane.focus()

    def action_tree(self, what: str) -> None:
        """As in `Inspecting`; at a failure the pane shows the error."""
        super().action_tree(what)
        if what in ("next_failure", "previous_failure"):
            self._tab_chosen = False
            self._point()

    def action_tab(self, name: str) -> None:
        """As in `Inspecting`; the choice stays until Esc, or the next failure is looked for."""
        self._tab_chosen = True
        super().action_tab(name)
        self.frame()

    def action_clear(self) -> None:
        """As in `Inspecting`."""
        self._tab_chosen = False
        super().action_clear()

