"""Rows of trees of known shape: what folds, floats and rests, and what a million items cost."""

from __future__ import annotations

import sys

from engine import TaskState
from flowforge_tui import finding
from flowforge_tui.blocks import CHAIN, GROUP, REST, SECTION, TASK
from flowforge_tui.filtering import parse
from flowforge_tui.marking import Marked, cause_of, same_error
from flowforge_tui.model import RunView
from flowforge_tui.ordering import Sort
from flowforge_tui.rows import Caps, Rows
from tests.core.graphs import chain_graph
from tests.screens.made import attempt, succeeded
from tests.screens.scenes import NOW, Scene, nightly_etl
from tests.screens.test_model import Watched


def listed(rows: Rows) -> list[str]:
    """Rows as text, indented by depth."""
    out = []
    for i in range(len(rows)):
        row = rows.row(i)
        block = rows.block_of(row.kind, row.id)
        name = rows.view.name_of(row.id) if row.kind == TASK else block.name
        text = "…" if row.kind == REST else name
        out.append("  " * row.depth + text)
    return out


def million() -> tuple[Scene, range]:
    s = Scene()
    before = s.task("before")
    many = s.task("many", over=range(1))
    s.task("after", many)
    s.begin()
    s.ok([before.index])
    return s, s.expand(many, 1_000_000)


def test_failures_float_up_and_the_rest_is_one_row():
    rows = Rows(nightly_etl().view, Caps(3, 1, 2))
    assert listed(rows) == [
        "list_files", "extract", "  extract[17]", "  extract[31]", "  …", "transform",
        "  transform[412]", "  transform[41877]", "  transform[60240]", "  transform[60241]",
        "  …", "load", "publish", "closing", "  closing/report", "  closing/archive",
    ]
    block = rows.block_of(SECTION, 2)
    hidden = rows.hidden(block)
    assert hidden[TaskState.RUNNING] == 30
    assert hidden[TaskState.SUCCESS] == 60_207
    assert sum(hidden) == 98_000 - 4


def test_a_million_items_cost_no_more_than_ten():
    s, ids = million()
    rows = Rows(s.view)
    rows.toggle_all_items(SECTION, 1)
    assert len(rows) == 1_000_003
    assert rows.row(2)[:2] == (TASK, ids[0])
    assert rows.row(1_000_001)[:2] == (TASK, ids[-1])
    assert rows.index_of(TASK, ids[777_777]) == 777_779
    block = rows.block_of(SECTION, 1)
    assert block.tids is not None and isinstance(block.tids, range)
    assert sys.getsizeof(block.tids) < 100


def test_a_change_measures_its_own_section_alone():
    s = Scene()
    nodes = [s.task(f"t{i}") for i in range(300)]
    s.begin()
    rows = Rows(s.view)
    measured = []
    before = rows._measure
    rows._measure = lambda block: (measured.append(block.key), before(block))
    s.run([nodes[7].index])
    rows.refresh(NOW)
    assert measured == [(TASK, nodes[7].index)]
    rows.refresh(NOW)
    assert len(measured) == 1


def test_a_section_that_ended_well_folds_and_one_that_failed_stays_open():
    s = Scene()
    good, bad = s.task("good", over=range(1)), s.task("bad", over=range(1))
    s.begin()
    g, b = s.expand(good, 20), s.expand(bad, 20)
    rows = Rows(s.view)
    assert listed(rows) == ["good", "bad"]
    s.run([g[0], b[0]])
    rows.refresh(NOW)
    assert listed(rows) == ["good", "  good[0]", "  …", "bad", "  bad[0]", "  …"]
    s.ok([*g[:10], *b[:10]])
    rows.refresh(NOW)
    assert "  …" in listed(rows), "open sections stay so between two batches"
    s.ok([*g[10:], *b[10:-1]]).fail(b[-1])
    rows.refresh(NOW)
    assert listed(rows) == ["good", "bad", "  bad[19]", "  …"]


def test_what_a_person_opened_or_folded_stays_so():
    s = nightly_etl()
    rows = Rows(s.view)
    rows.set_open(SECTION, 1, False)
    rows.set_open(GROUP, 0, False)
    s.fail(list(s.view.runs_of(s.view.shape.sections[1]))[3])
    rows.refresh(NOW)
    assert "  extract[3]" not in listed(rows)
    assert "  closing/report" not in listed(rows)


def test_long_chains_fold_where_there_are_many_sections():
    view = Watched(chain_graph(30)).start().view
    rows = Rows(view)
    assert [rows.row(0)[:2], len(rows)] == [(CHAIN, 0), 1]
    assert rows.block_of(CHAIN, 0).total == 30
    view.apply([succeeded([attempt(0, 1, 1)])])
    rows.toggle_all_items(CHAIN, 0)
    assert listed(rows)[1:4] == ["  t0", "  t1", "  t2"]
    few = Rows(Watched(chain_graph(6)).start().view)
    assert len(few) == 6


def test_orders():
    s = Scene()
    b, a, c = s.task("b"), s.task("A"), s.task("c")
    s.begin()
    s.ok([b.index], 0, 1).ok([a.index], 0, 5).fail(c.index, seconds=2)
    rows = Rows(s.view)
    s.view.pace.read()
    expected = {Sort.DEFINITION: "bAc", Sort.ATTENTION: "cbA", Sort.DURATION: "Acb",
                Sort.NAME: "Abc"}
    for sort, order in expected.items():
        rows.set_sort(sort, NOW)
        assert "".join(listed(rows)) == order


def test_a_filter_shows_what_matches_with_its_parents():
    s = nightly_etl()
    rows = Rows(s.view)
    rows.set_filter(parse("state:failed,retry"), NOW)
    assert listed(rows) == [
        "extract", "  extract[17]", "  extract[31]", "transform", "  transform[412]",
        "  transform[41877]"]
    assert rows.hits == 4
    rows.set_filter(parse("report"), NOW)
    assert listed(rows) == ["closing", "  closing/report"]
    rows.set_filter(None, NOW)
    assert len(rows) > 10


def watched(filter):
    """How many task runs a filter looks at from now on, a number a time."""
    asked, select = [], filter.select
    filter.select = lambda view, ids, now: (asked.append(len(ids)), select(view, ids, now))[1]
    return asked


def test_the_filter_looks_again_at_what_changed_alone():
    s = nightly_etl()
    rows = Rows(s.view)
    rows.set_filter(parse("state:failed"), NOW)
    extract = s.view.runs_of(s.view.shape.sections[1])
    s.fail(extract[5])
    rows.refresh(NOW)
    assert rows.is_stale
    asked = watched(rows.filter)
    rows.refilter(NOW)
    assert asked == [1000]
    assert "  extract[5]" in listed(rows) and not rows.is_stale


def test_typing_on_looks_at_the_last_matches_alone():
    s = nightly_etl()
    rows = Rows(s.view)
    rows.set_filter(parse("412"), NOW)
    wanted = parse("4123")
    asked = watched(wanted)
    rows.set_filter(wanted, NOW)
    assert sum(asked) < 1000
    assert rows.hits == 20  # 4123, 14123 … 94123, 41230 … 41239


# -- marks ---------------------------------------------------------------------------------------


def test_the_same_cause_is_told_from_what_varies():
    s = Scene()
    many = s.task("many", over=range(1))
    s.begin()
    ids = s.expand(many, 8)
    for i, text in enumerate((
        "no file '/data/a.csv' (12 rows)", "no file '/data/b.csv' (9 rows)",
        "no file \"x\" (1,200 rows)", "no room", "no file 0xdeadbeef (3 rows)",
    )):
        s.fail(ids[i], text, "OSError")
    s.fail(ids[5], "no file 'c' (2 rows)", "ValueError")
    assert same_error(s.view, ids[0]) == [ids[i] for i in (0, 1, 2, 4)]
    assert same_error(s.view, ids[3]) == [ids[3]]
    assert same_error(s.view, ids[7]) == []
    assert cause_of(s.view.errors[ids[3]][1]) == ("OSError", "no room")


def test_marks():
    marked = Marked()
    marked.toggle([1, 2])
    assert 1 in marked and marked.all_of([1, 2]) and not marked.all_of([1, 3])
    marked.toggle([2, 3])
    assert marked.tids == {1, 2, 3}
    marked.toggle([2, 3])
    assert marked.tids == {1}
    assert marked.clear() and not marked.clear()


def test_an_empty_run_has_no_rows():
    from flowforge_tui.shape import Shape

    rows = Rows(RunView(Shape.empty()))
    assert len(rows) == 0
    assert finding.failure(rows, GROUP, -1) == -1
    assert finding.running(rows) == -1
