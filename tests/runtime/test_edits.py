"""A run is carried on by a workflow that was edited: what changed runs again, and no more.

The versions of a flow are made by functions, as in an editor: same names, other text.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine import task, workflow
from engine.errors import CodeChanged
from tests.runtime.harness import Bench, die, first, note

pytestmark = pytest.mark.fault(32)


def helped(x: int) -> int:
    return x + 1


def helped_otherwise(x: int) -> int:
    return x + 100


FACTOR = 2


def flow_of(*, comment: bool = False, code: int = 1, default: int = 1, extra: bool = False,
            gone: bool = False, renamed: bool = False, items: int = 3) -> Any:
    """A flow that fails at its end the first time, in one of many versions."""
    @task
    def load(n):
        note("load")
        return list(range(n))

    if comment:
        @task
        def clean(xs, by=1):
            """Now with a docstring."""
            # and a comment
            note("clean")
            return [
                x + by
                for x in xs
            ]
    elif code == 2:
        @task
        def clean(xs, by=1):
            note("clean")
            return [x + by + 0 for x in xs]
    elif renamed:
        @task
        def tidy(xs, by=1):
            note("clean")
            return [x + by for x in xs]
        clean = tidy
    else:
        @task
        def clean(xs, by=1):
            note("clean")
            return [x + by for x in xs]

    @task
    def side():
        note("side")
        return "side"

    @task
    def each(x):
        note(f"each{x}")
        return 10 * x

    @task
    def end(xs, ys):
        note("end")
        if first("fail"):
            raise ValueError("the run is to be carried on")
        return [xs, ys]

    @task
    def added():
        note("added")
        return "added"

    @workflow
    def flow():
        cleaned = clean(load(3), default) if default != 1 else clean(load(3))
        if not gone:
            side()
        if extra:
            added()
        return end(cleaned, each.map(list(range(items))))

    return flow


def after(bench: Bench, **edit: Any) -> list[str]:
    """What runs when the edited flow carries on."""
    bench.run(flow_of())
    bench.ledger.new()
    bench.run(flow_of(**edit))
    assert len(bench.run_dirs) == 1
    return bench.ledger.new()


def test_nothing_edited(bench: Bench):
    assert after(bench) == ["end"]


def test_comments_docstrings_and_formatting_change_nothing(bench: Bench):
    assert after(bench, comment=True) == ["end"]


def test_code(bench: Bench):
    assert after(bench, code=2) == ["clean", "end"]
    assert any("code of clean changed" in s for s in bench.said)


def test_an_argument(bench: Bench):
    assert after(bench, default=5) == ["clean", "end"]
    assert any("arguments changed" in s for s in bench.said)


def test_a_task_added(bench: Bench):
    assert after(bench, extra=True) == ["added", "end"]


def test_a_task_removed(bench: Bench):
    assert after(bench, gone=True) == ["end"]


def test_a_task_renamed_is_known_by_its_code(bench: Bench):
    assert after(bench, renamed=True) == ["end"]


def test_a_literal_that_has_grown_runs_its_new_items(bench: Bench):
    assert after(bench, items=5) == ["each3", "each4", "end"]


def test_a_literal_that_has_shrunk_runs_nothing_of_itself(bench: Bench):
    bench.run(flow_of())
    bench.ledger.new()
    assert bench.run(flow_of(items=2)).result == [[1, 2, 3], [0, 10]]
    assert bench.ledger.new() == ["end"]


def test_reuse_keeps_what_is_recorded(bench: Bench):
    bench.run(flow_of())
    bench.ledger.new()
    bench.run(flow_of(code=2), on_code_change="reuse")
    assert bench.ledger.new() == ["end"]


def test_fail_refuses_and_leaves_the_run_as_it_was(bench: Bench):
    bench.run(flow_of())
    bench.ledger.new()
    with pytest.raises(CodeChanged, match="code of clean changed"):
        bench.run(flow_of(code=2), on_code_change="fail")
    assert bench.ledger.new() == []
    assert bench.run(flow_of()).state == "SUCCESS"
    assert bench.ledger.new() == ["end"]


def test_reuse_unblocks_what_waited_for_a_task_that_is_gone(bench: Bench):
    def version(broken: bool) -> Any:
        @task
        def bad():
            raise ValueError

        @task
        def use():
            note("use")
            return 1

        @workflow
        def flow():
            used = use()
            if broken:
                used.after(bad())
            return used

        return flow

    assert bench.run(version(True)).state == "FAILED"
    run = bench.run(version(False), on_code_change="reuse")
    assert run.result == 1
    assert bench.ledger.new() == ["use"]


def test_a_helper_and_a_module_value(bench: Bench, monkeypatch):
    def version() -> Any:
        @task
        def use():
            note("use")
            return helped(1) * FACTOR

        @task
        def end(x):
            note("end")
            raise ValueError(x)

        @workflow
        def flow():
            return end(use())

        return flow

    bench.run(version())
    bench.ledger.new()
    monkeypatch.setitem(globals(), "FACTOR", 3)
    run = bench.run(version())
    assert run.task_runs["end"].error.message == "6"
    assert bench.ledger.new() == ["end", "use"]
    assert any("FACTOR" in s for s in bench.said)
    monkeypatch.setitem(globals(), "helped", helped_otherwise)
    run = bench.run(version())
    assert run.task_runs["end"].error.message == "303"
    assert bench.ledger.new() == ["end", "use"]
    assert any("helped" in s for s in bench.said)


def keyed(version: int) -> Any:
    @task
    def rows():
        note("rows")
        values = {"north": 1, "south": 2, "west": 3}
        if version == 2:
            values = {"west": 3, "south": 20, "east": 4, "north": 1}
        return list(values.items())

    @task
    def work(row):
        note(row[0])
        return row[1] * 10

    @task
    def follow(x):
        note(f"f{x}")
        return x + 1

    @task
    def end(xs):
        note("end")
        if first("fail"):
            raise ValueError
        return xs

    @workflow
    def flow():
        return end(follow.map(work.map(rows(), key=lambda row: row[0])))

    return flow


def test_an_item_whose_key_stands_and_whose_value_changed_runs_again(bench: Bench):
    bench.run(keyed(1))
    bench.ledger.new()
    run = bench.run(keyed(2))
    assert run.result == [31, 201, 41, 11]
    assert bench.ledger.new() == ["east", "end", "f200", "f40", "rows", "south"]


def unkeyed(version: int, *, mixed: bool = False) -> Any:
    @task
    def rows():
        note("rows")
        return [3, 1, 2, 1] if version == 1 else [1, 1, 5, 3]

    @task
    def work(x):
        note(f"w{x}")
        return x

    @task
    def follow(x, y=0):
        note(f"f{x}")
        return x + y

    @task
    def end(xs):
        note("end")
        if first("fail"):
            raise ValueError
        return xs

    @workflow
    def flow():
        worked = work.map(rows())
        if mixed:
            ys = [10, 20, 30, 40] if version == 1 else [20, 40, 30, 11]
            return end(follow.map(worked, ys))
        return end(follow.map(worked))

    return flow


def test_items_with_equal_values_stand_wherever_they_are_now(bench: Bench):
    bench.run(unkeyed(1))
    bench.ledger.new()
    assert bench.run(unkeyed(2)).result == [1, 1, 5, 3]
    assert bench.ledger.new() == ["end", "f5", "rows", "w5"]


def test_what_a_follower_is_zipped_with_counts_too(bench: Bench):
    bench.run(unkeyed(1, mixed=True))
    bench.ledger.new()
    assert bench.run(unkeyed(2, mixed=True)).result == [21, 41, 35, 14]
    assert bench.ledger.new() == ["end", "f3", "f5", "rows", "w5"]


def test_an_edit_while_items_wait_to_be_matched_does_not_lose_them(bench: Bench):
    """Edited, killed before the producer had run again, and edited once more elsewhere."""
    def version(n: int) -> Any:
        if n == 1:
            @task
            def rows():
                note("rows")
                return [1, 2, 3]
        else:
            @task
            def rows():
                note("rows")
                if first("kill"):
                    die()
                return [1, 2, 3, 4]

        @task
        def work(x):
            note(f"w{x}")
            return x

        if n < 3:
            @task
            def end(xs):
                note("end")
                raise ValueError
        else:
            @task
            def end(xs):
                note("end")
                return sum(xs)

        @workflow
        def flow():
            return end(work.map(rows()))

        return flow

    bench.run(version(1))
    bench.ledger.new()
    assert bench.killed(version(2)) == ["rows"]
    assert bench.run(version(3)).result == 10
    assert bench.ledger.new() == ["end", "rows", "w4"]


def test_an_at_most_once_item_stays_failed_when_its_map_is_made_anew(bench: Bench):
    def version() -> Any:
        @task(persist=False)
        def rows():
            note("rows")
            return [1, 2, 3]

        @task(on_interrupt="fail")
        def pay(x):
            note(f"pay{x}")
            if x == 2 and first("kill"):
                die()
            return x

        @workflow
        def flow():
            return pay.map(rows())

        return flow

    killed = bench.killed(version(), workers=1)
    assert killed == ["pay1", "pay2", "rows"]
    run = bench.run(version())
    assert run.state == "FAILED"
    assert bench.ledger.new() == ["pay3", "rows"]
    assert run.task_runs["pay[1]"].reason == "interrupted"
    assert bench.run(version()).state == "FAILED"
    assert "pay2" not in bench.ledger.new()
    run = bench.command(version(), "retry", run=run.run_id)
    assert run.result == [1, 2, 3]


@pytest.mark.parametrize("edit", [
    {}, {"code": 2}, {"default": 5}, {"extra": True}, {"gone": True}, {"items": 5},
    {"renamed": True},
])
def test_the_plan_says_what_then_happens(bench: Bench, edit: dict[str, Any]):
    bench.run(flow_of())
    bench.ledger.new()
    plan = bench.plan(flow_of(**edit))
    will = {e.name.partition("[")[0] for e in plan.entries() if e.action in
            ("run", "new", "changed")}
    assert bench.ledger.new() == []
    bench.run(flow_of(**edit))
    ran = {n.rstrip("0123456789") for n in bench.ledger.new()}
    assert ran == {name.replace("tidy", "clean") for name in will}
