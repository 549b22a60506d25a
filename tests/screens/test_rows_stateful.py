"""The tree's rows over runs and keys that Hypothesis makes up, against rows made from scratch."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from engine import TaskState
from flowforge_tui import blocks as blocks_module
from flowforge_tui import finding
from flowforge_tui import rows as rows_module
from flowforge_tui.blocks import CHAIN, GROUP, REST, SECTION, TASK
from flowforge_tui.filtering import parse
from flowforge_tui.ordering import Sort
from flowforge_tui.rows import Caps, Rows
from tests.core.test_machine_stateful import graphs
from tests.screens.test_model import ViewMachine, Watched

FILTERS = ["", "state:failed,retry", "n1", "-n2", "state:ok", "[1]", "tries>1", "nothing"]

#: So small that the few task runs of a made-up workflow fold, rest and chain.
TINY = {(rows_module, "FEW"): 1, (blocks_module, "_SMALL"): 2, (blocks_module, "_CHAIN_LEAST"): 2}


class RowsMachine(ViewMachine):
    """What can happen to a run, and what a person does in the tree meanwhile."""

    @initialize(built=graphs(), stop=st.sampled_from(["continue", "stop"]),
                places=st.lists(st.sampled_from(["", "", "a", "a/b", "c"]), min_size=10,
                                max_size=10))
    def begin(self, built, stop, places):
        self.kept = {of: getattr(*of) for of in TINY}
        for of, value in TINY.items():
            setattr(*of, value)
        graph, sizes = built
        for node, group in zip(graph.nodes, places):
            node.group = group
        self.d = Watched(graph, sizes, limits={"gpu": 2}, on_failure=stop)
        self.rows = Rows(self.d.view, Caps(2, 1, 1))
        self.d.start()

    def teardown(self):
        for of, value in getattr(self, "kept", {}).items():
            setattr(*of, value)

    @rule(data=st.data(), opened=st.booleans())
    def open_or_fold(self, data, opened):
        self.rows.refresh(self.d.now)
        if len(self.rows):
            row = self.rows.row(data.draw(st.integers(0, len(self.rows) - 1)))
            self.rows.set_open(row.kind, row.id, opened)
            if row.kind != TASK and row.kind != REST:
                assert self.rows.block_of(row.kind, row.id).open == opened

    @rule(data=st.data())
    def show_all_of_a_section(self, data):
        self.rows.refresh(self.d.now)
        if len(self.rows):
            row = self.rows.row(data.draw(st.integers(0, len(self.rows) - 1)))
            self.rows.toggle_all_items(row.kind, row.id)

    @rule(opened=st.booleans())
    def open_all(self, opened):
        self.rows.refresh(self.d.now)
        self.rows.open_all(opened)
        assert not opened or self.rows.all_open

    @rule(sort=st.sampled_from(list(Sort)))
    def sort(self, sort):
        self.rows.refresh(self.d.now)
        self.rows.set_sort(sort, self.d.now)

    @rule(text=st.sampled_from(FILTERS))
    def filter(self, text):
        self.rows.refresh(self.d.now)
        self.rows.set_filter(parse(text), self.d.now)

    @rule(caps=st.sampled_from([Caps(1, 1, 1), Caps(2, 2, 2), Caps()]))
    def another_height(self, caps):
        self.rows.refresh(self.d.now)
        self.rows.set_caps(caps)

    @rule(data=st.data())
    def reveal(self, data):
        self.rows.refresh(self.d.now)
        self.rows.refilter(self.d.now)
        tids = list(self.d.view.live_ids())
        if not tids:
            return
        tid = data.draw(st.sampled_from(tids))
        at = self.rows.reveal(tid)
        if self.rows.filter is None or tid in set(self.rows.matches()):
            assert self.rows.row(at)[:2] == (TASK, tid)
        else:
            assert at == -1

    @precondition(lambda self: self.d.view.totals[TaskState.FAILED])
    @rule(back=st.booleans())
    def walk_all_failures(self, back):
        self.rows.refresh(self.d.now)
        self.rows.refilter(self.d.now)
        failed = {t for t in self.rows.matches() if self.d.view.state[t] == TaskState.FAILED}
        at, seen = (GROUP, -1), []
        for _ in failed:
            tid = finding.failure(self.rows, *at, back=back)
            assert self.rows.reveal(tid) >= 0
            seen.append(tid)
            at = (TASK, tid)
        assert set(seen) == failed and len(seen) == len(failed)
        if failed:
            assert finding.failure(self.rows, *at, back=back) == seen[0]

    # -- what must hold -----------------------------------------------------------------------

    @invariant()
    def rows_and_places_agree(self):
        if not hasattr(self, "rows"):
            return
        rows = self.rows
        rows.refresh(self.d.now)
        listed = [rows.row(i) for i in range(len(rows))]
        assert len({row[:2] for row in listed}) == len(listed)
        for i, row in enumerate(listed):
            assert rows.index_of(row.kind, row.id) == i, row
            parent = rows.parent_of(row.kind, row.id)
            assert (parent is None) == (row.depth == 0)
            if parent is not None:
                above = rows.index_of(*parent)
                assert 0 <= above < i and listed[above].depth == row.depth - 1
        shown = {row.id for row in listed if row.kind == TASK}
        for tid in self.d.view.live_ids():
            assert (rows.index_of(TASK, tid) >= 0) == (tid in shown)

    @invariant()
    def counts_equal_a_recount(self):
        if not hasattr(self, "rows"):
            return
        rows, view = self.rows, self.d.view
        rows.refresh(self.d.now)
        for block in rows.blocks.by_key.values():
            if block.kind == GROUP:
                tids = [t for place in block.places
                        for t in view.runs_of(view.shape.sections[place])]
            else:
                tids = list(rows.all_of(block))
            states = [view.state[t] for t in tids]
            assert block.counts == [states.count(s) for s in TaskState], block.key
            if block.rest:
                assert sum(rows.hidden(block)) == len(rows.tasks_of(REST, block.places[0]))
                assert min(rows.hidden(block)) >= 0

    @invariant()
    def it_is_as_if_made_anew(self):
        if not hasattr(self, "rows"):
            return
        rows = self.rows
        rows.refresh(self.d.now)
        rows.refilter(self.d.now)
        if rows.sort is Sort.DURATION:
            rows.resort(self.d.now)
        anew = rows.moved_to(self.d.view)
        for key, block in rows.blocks.by_key.items():
            anew.blocks.by_key[key].woken = block.woken
        anew._arrange()
        assert [anew.row(i) for i in range(len(anew))] == [rows.row(i) for i in range(len(rows))]

    @invariant()
    def nothing_that_failed_is_without_a_row(self):
        """Unless a person folded it, or the filter keeps it out."""
        if not hasattr(self, "rows") or self.rows.filter is not None or self.rows._chosen:
            return
        self.rows.refresh(self.d.now)
        for section in self.d.view.shape.sections:
            failed = self.d.view.hot[TaskState.FAILED][section.place]
            shown = [t for t in failed if self.rows.index_of(TASK, t) >= 0]
            assert bool(shown) == bool(failed)


def test_the_made_up_workflows_have_rows_of_every_kind():
    """Else the machine above would prove nothing of them."""
    from tests.core.graphs import chain_graph
    from tests.screens.scenes import nightly_etl

    kinds = set()
    for scene in (nightly_etl().view,):
        rows = Rows(scene)
        kinds |= {rows.row(i).kind for i in range(len(rows))}
    assert kinds == {GROUP, SECTION, TASK, REST}
    graph = chain_graph(30)
    view = Watched(graph).start().view
    rows = Rows(view)
    assert [rows.row(i).kind for i in range(len(rows))] == [CHAIN]


TestRows = RowsMachine.TestCase
TestRows.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
