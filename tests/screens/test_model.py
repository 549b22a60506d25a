"""The view of a run against the engine's own record of it, over runs that Hypothesis makes up.

The machine is the real one, and so is its journal; the view gets the very changes that the
journal holds. After each step counters equal a recount, and both folds tell the same.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from engine import RunState, TaskState
from engine.front import Outline
from flowforge_tui.model import RunView
from flowforge_tui.run_columns import HOT
from flowforge_tui.shape import Shape
from tests.core.driver import Driver
from tests.core.test_machine_stateful import graphs


class Watched(Driver):
    """A driver whose changes go to views too, as the bus brings them: after they are recorded."""

    def __init__(self, graph, sizes=None, **kwargs) -> None:
        super().__init__(graph, sizes, **kwargs)
        self.shape = Shape(Outline.of(graph, fingerprints=lambda spec: {}))
        self.view = RunView(self.shape)
        self.later: RunView | None = None
        """Made of the record at some moment; gets the changes after it."""

    def journal(self, changes) -> None:
        super().journal(changes)
        for view in (self.view, self.later):
            if view is not None:
                view.apply(changes)


class ViewMachine(RuleBasedStateMachine):
    """What can happen to a run, with a view that watches."""

    @initialize(built=graphs(), stop=st.sampled_from(["continue", "continue", "stop"]))
    def begin(self, built, stop):
        graph, sizes = built
        self.d = Watched(graph, sizes, limits={"gpu": 2}, on_failure=stop).start()

    @rule(seconds=st.sampled_from([0.001, 1.0, 1e9]), share=st.integers(1, 5))
    def take(self, seconds, share):
        self.d.take(seconds, share)

    @precondition(lambda self: self.d.hands)
    @rule(data=st.data(), worker=st.sampled_from([None, 0, 3]))
    def an_attempt_is_announced(self, data, worker):
        a = data.draw(st.sampled_from(self.d.hands))
        if self.d.m.in_hand.get(a.tid) is not a or a.start:
            return
        a.start = self.d.now
        if worker is not None:
            a.worker = worker
        self.d.m.announce([a])
        self.d.settle()

    @precondition(lambda self: self.d.hands)
    @rule(data=st.data(), how=st.sampled_from(["ok", "ok", "ok", "fail", "skip", "back"]))
    def end(self, data, how):
        self.d.end(data.draw(st.sampled_from(self.d.hands)), how)

    @precondition(lambda self: len(self.d.hands) > 1)
    @rule()
    def all_end_well_in_one_batch(self):
        batch, self.d.hands = self.d.hands, []
        for a in batch:
            a.start, a.end = a.start or self.d.now, self.d.now + 0.5
            a.succeed(a.tid, a.tid)
        self.d.now += 1.0
        self.d.m.finish(batch, self.d.now)
        self.d.settle()

    @rule(ends=st.lists(st.sampled_from(["ok", "ok", "fail", "hold"]), min_size=4, max_size=4))
    def a_wave(self, ends):
        """Several steps in one, so that runs get on before Hypothesis has enough of them."""
        self.d.now += 2.0
        self.d.m.tick(self.d.now)
        for _ in range(2):
            self.d.take(1e9, 1)
        for i, a in enumerate(list(self.d.hands)):
            how = ends[i % len(ends)]
            if how == "hold":
                if self.d.m.in_hand.get(a.tid) is a and not a.start:
                    a.start = self.d.now
                    self.d.m.announce([a])
                    self.d.settle()
            else:
                self.d.end(a, how)

    @rule(data=st.data())
    def start_a_map_over(self, data):
        """What its items failed at, or are at, is gone with them."""
        over = [n for n in self.d.view.spread if self.d.m.halted != "cancel"]
        if over:
            node = data.draw(st.sampled_from(sorted(over)))
            above = list(self.d.graph.nodes[node].upstream)
            self.d.m.rerun(above[:1] or [node], self.d.now)
            self.d.settle()

    @rule()
    def time_passes(self):
        self.d.now += 1.0
        self.d.m.tick(self.d.now)
        self.d.settle()

    @rule(data=st.data(), what=st.sampled_from(["cancel", "retry", "rerun"]))
    def command(self, data, what):
        m = self.d.m
        tid = data.draw(st.integers(0, len(m.state) - 1))
        if m.halted == "cancel" or not (tid < self.d.graph.size or self.d.view.is_live(tid)):
            return
        getattr(m, what)([tid], self.d.now)
        self.d.settle()

    @precondition(lambda self: self.d.stops)
    @rule()
    def stopped_attempts_end(self):
        for a in list(self.d.stops):
            if a in self.d.hands:
                self.d.end(a, "cancelled")
        self.d.stops.clear()

    @precondition(lambda self: not self.d.m.over)
    @rule()
    def pause_or_unpause(self):
        if not self.d.m.unpause(self.d.now):
            self.d.m.pause(self.d.now)
        self.d.settle()

    @precondition(lambda self: self.d.m.run_state is not RunState.CANCELLED)
    @rule()
    def crash_and_reopen(self):
        self.d.reopen()

    @rule()
    def a_screen_attaches(self):
        self.d.later = RunView.of_record(self.d.shape, self.d.record())

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def counters_equal_a_recount(self):
        if hasattr(self, "d"):
            for view in (self.d.view, self.d.later):
                if view is not None:
                    check_counters(view)

    @invariant()
    def the_record_tells_the_same(self):
        if not hasattr(self, "d"):
            return
        record = self.d.record()
        for view in (self.d.view, self.d.later):
            if view is not None:
                check_record(view, record)


def check_counters(view: RunView) -> None:
    """All that is kept beside the states, from the states."""
    totals = [0] * len(TaskState)
    for section in view.shape.sections:
        ids = list(view.runs_of(section))
        assert all(view.is_live(tid) and view.section[tid] == section.place for tid in ids)
        states = [view.state[tid] for tid in ids]
        assert view.counts[section.place] == [states.count(s) for s in TaskState], section
        for state in HOT:
            mine = {tid for tid in ids if view.state[tid] == state}
            assert set(view.hot[state][section.place]) == mine, (section, state)
        for s in states:
            totals[s] += 1
    assert view.totals == totals
    assert view.size == sum(totals)
    running = {t for t in view.live_ids() if view.state_of(t) in (TaskState.RUNNING,
                                                                  TaskState.CANCELLING)}
    assert view.worker.keys() <= running
    assert {t for t in view.due if view.is_live(t)} <= {
        t for t in view.live_ids() if view.state_of(t) is TaskState.UP_FOR_RETRY}


def check_record(view: RunView, record) -> None:
    """The view against the engine's own fold of the journal."""
    assert view.run_state == record.run_state
    assert len(view.rests) == len(record.rests)
    assert view.began == record.began
    assert view.generation == record.generation
    assert view.spread.keys() == record.expansions.keys()
    for node, (base, count, keys) in record.expansions.items():
        assert (view.spread[node][0], view.spread[node][1]) == (base, count)
        assert keys is None or list(view.spread[node][2] or ()) == list(keys)
    assert list(view.live_ids()) == sorted(record.live_ids(), key=lambda t: _order(view, t))
    for tid in record.live_ids():
        assert view.state_of(tid) == record.state_of(tid), view.name_of(tid)
        assert view.number[tid] == record.number[tid], view.name_of(tid)
        assert (view.start[tid], view.end[tid]) == (record.start[tid], record.end[tid])
        assert view.errors.get(tid) == record.errors.get(tid), view.name_of(tid)


def _order(view: RunView, tid: int) -> tuple[int, int, int]:
    return view.section[tid], view.node[tid], tid


TestView = ViewMachine.TestCase
TestView.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
