"""Hypothesis drives the machine: random graphs, outcomes, commands, and crashes.

After every step the cheap invariants hold; after every crash a new machine takes over from
the journal alone; and from wherever it got to, the run can be brought to its end.
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

from engine.core.dag import Dag
from engine.core.events import Attempt, Restored
from engine.core.rules import RULES
from engine.core.states import (
    GOOD,
    IS_TERMINAL,
    SUCCESS,
    TERMINAL,
    FailureReason,
    RunState,
    TaskState,
)
from engine.runtime.replay import changes_to
from tests.core.driver import Driver
from tests.core.graphs import add

RULE_NAMES = sorted(RULES)


@st.composite
def graphs(draw):
    """A DAG of up to ten nodes; maps over literals, over plain nodes, and over maps."""
    dag = Dag("random")
    sizes = {}
    nodes = []
    for i in range(draw(st.integers(1, 10))):
        above = draw(st.lists(st.sampled_from(nodes), max_size=3, unique=True)) if nodes else []
        options = {
            "retries": draw(st.sampled_from([0, 0, 1, 2])),
            "trigger_rule": draw(st.sampled_from(["all_success"] * 8 + RULE_NAMES)),
            "limits": draw(st.sampled_from([{}, {}, {"gpu": 1}])),
        }
        over = None
        if draw(st.integers(0, 2)) == 0:
            over = draw(st.sampled_from(nodes)) if nodes and draw(st.booleans()) else range(1)
            sizes[f"n{i}"] = draw(st.integers(0, 4))
        barrier = draw(st.booleans())
        nodes.append(add(dag, f"n{i}", *above, over=over, barrier=barrier, **options))
    return dag.freeze(), sizes


class MachineMachine(RuleBasedStateMachine):
    """The machine under test, with the oracle's own book of what was acknowledged."""

    @initialize(built=graphs(), stop=st.sampled_from(["continue", "continue", "stop"]))
    def begin(self, built, stop):
        graph, sizes = built
        self.d = Driver(graph, sizes, limits={"gpu": 2}, on_failure=stop).start()
        self.succeeded: set[tuple[str, int]] = set()
        self.undoable = None
        """(what the last command reset, the record before it), until another command."""

    # -- what can happen ------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.001, 1.0, 1e9]), share=st.integers(1, 5))
    def take(self, seconds, share):
        for a in self.d.take(seconds, share):
            self.check_may_start(a)

    @precondition(lambda self: self.d.hands)
    @rule(data=st.data(), how=st.sampled_from(["ok", "ok", "ok", "fail", "skip", "back"]))
    def end(self, data, how):
        a = data.draw(st.sampled_from(self.d.hands))
        counts = self.d.m.in_hand.get(a.tid) is a and a.tid not in self.d.m.doomed
        key = (self.d.name(a.tid), a.generation) if counts else None
        self.d.end(a, how)
        if how == "ok" and key is not None:
            assert key not in self.succeeded, f"{key} succeeded twice"
            self.succeeded.add(key)

    @precondition(lambda self: self.d.hands)
    @rule(data=st.data())
    def crash_a_worker(self, data):
        self.d.end(data.draw(st.sampled_from(self.d.hands)), "fail", FailureReason.CRASHED)

    @rule()
    def time_passes(self):
        self.d.now += 1.0
        self.d.m.tick(self.d.now)
        self.d.settle()

    @rule(data=st.data())
    def cancel_a_task(self, data):
        self.undoable = None
        tid = data.draw(st.integers(0, len(self.d.m.state) - 1))
        if tid < self.d.graph.size or self.is_live(tid):
            self.d.m.cancel([tid], self.d.now)
            self.d.settle()

    @precondition(lambda self: not self.d.m.over)
    @rule()
    def pause_or_unpause(self):
        if not self.d.m.unpause(self.d.now):
            self.d.m.pause(self.d.now)
        self.d.settle()

    @rule(data=st.data(), what=st.sampled_from(["retry", "rerun"]))
    def command(self, data, what):
        tid = data.draw(st.integers(0, len(self.d.m.state) - 1))
        if self.d.m.halted == "cancel" or not (tid < self.d.graph.size or self.is_live(tid)):
            return
        before, last = self.d.record(), self.d.m.taken
        getattr(self.d.m, what)([tid], self.d.now)
        self.d.settle()
        if self.d.m.taken is not last:
            self.undoable = (self.d.m.taken, before)

    @precondition(lambda self: self.undoable is not None)
    @rule()
    def undo(self):
        (taken, before), self.undoable = self.undoable, None
        m = self.d.m
        if m.taken is not taken or taken.final or m.moved_on() is not None:
            return
        m.take_back(Restored(taken.bump, changes_to(before, taken.tids)), self.d.now)
        self.d.settle()
        for tid in taken.tids:
            assert m.generation.get(tid, 1) == before.generation.get(tid, 1)
            if IS_TERMINAL[before.state[tid]]:
                assert m.state[tid] == before.state[tid], self.d.name(tid)
                assert self.d.record().values[tid] is before.values[tid] \
                    or self.d.record().values[tid] == before.values[tid]

    @precondition(lambda self: self.d.stops)
    @rule()
    def stopped_attempts_end(self):
        for a in list(self.d.stops):
            if a in self.d.hands:
                self.d.end(a, "cancelled")
        self.d.stops.clear()

    @precondition(lambda self: self.d.m.run_state is not RunState.CANCELLED)
    @rule()
    def crash_and_reopen(self):
        before = self.good()
        consumed = self.reset_by_resume()
        self.d.reopen()
        after = self.good()
        for name in before.keys() - consumed:
            assert name in after, f"success of {name} lost"

    # -- what must hold -------------------------------------------------------------------

    def is_live(self, tid: int) -> bool:
        m = self.d.m
        k = m.node_of(tid)
        return tid == k or 0 <= m.base[k] <= tid < m.base[k] + m.count[k]

    def good(self) -> dict[str, TaskState]:
        m = self.d.m
        return {
            self.d.name(t): TaskState(m.state[t]) for t in range(len(m.state))
            if self.is_live(t) and not m._is_group(t) and m.state[t] in GOOD
        }

    def reset_by_resume(self) -> set[str]:
        """Names that a resume runs again since they consumed a failure that it retries."""
        m, record = self.d.m, self.d.record()
        return {self.d.name(t) for t in m.downstream(record.to_retry()) if self.is_live(t)}

    def check_may_start(self, a: Attempt) -> None:
        m, node = self.d.m, a.node
        if node.spec.options.trigger_rule != "all_success":
            return
        sources = node.mapped.sources if node.mapped is not None else ()
        for u in node.upstream:
            if u in sources:
                assert m.state[m.base[u] + a.index] == SUCCESS
            elif m.base[u] >= 0:
                items = m.state[m.base[u]:m.base[u] + m.count[u]]
                assert items.count(SUCCESS) == m.count[u], f"{a} started before {u} was done"
            else:
                assert m.state[u] == SUCCESS

    @invariant()
    def counters_equal_a_recount(self):
        if not hasattr(self, "d"):
            return
        m = self.d.m
        for node in self.d.graph.nodes:
            k = node.index
            sources = node.mapped.sources if node.mapped is not None else ()
            waiting = sum(
                1 for u in node.upstream if u not in sources and not IS_TERMINAL[m.state[u]]
            )
            assert m.gate[k] == waiting, f"gate of {node.name}"
            if m.base[k] >= 0:
                items = m.state[m.base[k]:m.base[k] + m.count[k]]
                assert m.open_items[k] == sum(not IS_TERMINAL[s] for s in items)
                assert IS_TERMINAL[m.state[k]] == (m.open_items[k] == 0)
        assert m.open == sum(not IS_TERMINAL[m.state[k]] for k in range(self.d.graph.size))
        held = [a.node.spec.options.limits.get("gpu", 0) for a in m.in_hand.values()]
        assert m.free["gpu"] == 2 - sum(held)

    @invariant()
    def the_journal_tells_the_same(self):
        if not hasattr(self, "d"):
            return
        m, record = self.d.m, self.d.record()
        assert record.run_state == m.run_state
        assert record.generation == m.generation
        for k in range(self.d.graph.size):
            spread = record.expansion(k)
            assert (spread is not None) == (m.base[k] >= 0), self.d.graph.nodes[k].name
        for tid in range(len(m.state)):
            if self.is_live(tid):
                mine, theirs = TaskState(m.state[tid]), record.state_of(tid)
                if mine in TERMINAL or theirs in TERMINAL:
                    assert mine == theirs, f"{self.d.name(tid)}: {mine!r}, recorded {theirs!r}"

    def teardown(self):
        """From anywhere, the run can be brought to an end: it is never stuck."""
        if not hasattr(self, "d"):
            return
        m = self.d.m
        m.unpause(self.d.now)
        self.d.settle()
        for _ in range(500):
            for a in list(self.d.hands):
                self.d.end(a, "ok")
            if m.over:
                break
            self.d.take()
            if not self.d.hands:
                self.d.now += 10.0
                m.tick(self.d.now)
                self.d.settle()
        assert m.over, f"stuck: {self.d.states()}"


TestMachine = MachineMachine.TestCase
TestMachine.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
