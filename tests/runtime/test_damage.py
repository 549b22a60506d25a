"""Runs whose files were damaged between two sessions: never a wrong value, never in silence."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from engine import task, workflow
from engine.runtime.journal import unpack_entries
from tests.runtime.harness import Bench, die, first, note


def lines(count: int = 12, *, front: bool = False) -> Any:
    @task
    def make(i):
        note(f"make{i}")
        return {"value": i}

    @task
    def extra():
        note("extra")
        return "extra"

    @task
    def end(xs, more):
        note("end")
        if first("kill"):
            die()
        return [x["value"] for x in xs]

    @workflow
    def flow():
        more = extra() if front else None
        return end([make(i) for i in range(count)], more)

    return flow


def journal(bench: Bench) -> sqlite3.Connection:
    return sqlite3.connect(bench.run_dirs[0] / "run.db")


def rows_of(bench: Bench, kind: str) -> list[int]:
    """The seqs of the rows with an entry of that kind."""
    with journal(bench) as db:
        rows = db.execute("SELECT seq, data FROM journal ORDER BY seq").fetchall()
    db.close()
    return [seq for seq, data in rows if any(e[0] == kind for e in unpack_entries(data))]


def damage(bench: Bench, *seqs: int) -> None:
    with journal(bench) as db:
        for seq in seqs:
            (data,) = db.execute("SELECT data FROM journal WHERE seq = ?", (seq,)).fetchone()
            flipped = bytes([*data[:-1], data[-1] ^ 1])
            db.execute("UPDATE journal SET data = ? WHERE seq = ?", (flipped, seq))
    db.close()


def drop_snapshot(bench: Bench) -> Path:
    path = bench.run_dirs[0] / "snapshot.msgpack"
    if path.exists():
        path.unlink()
    return path


EXPECTED = list(range(12))


def test_a_damaged_row_costs_what_it_held(bench: Bench):
    bench.killed(lines(), workers=1)
    recorded = bench.recorded()
    seqs = rows_of(bench, "S")
    damage(bench, seqs[0])
    run = bench.run(lines())
    assert run.result == EXPECTED
    again = bench.ledger.new()
    assert "end" in again and 1 < len(again) <= len(recorded) + 1
    assert any("damage found" in s for s in bench.said)


def maps() -> Any:
    """Maps that follow maps, killed while the second has items that are open."""
    @task
    def rows():
        return list(range(4))

    @task
    def one(x):
        return [x]

    @task
    def two(given, offset):
        note(f"two{given[0]}")
        if given[0] == 3 and first("kill"):
            die()
        return given[0] + offset

    @task
    def offset(ones):
        return 6 + len(ones)

    @workflow
    def flow():
        ones = one.map(rows())
        return two.partial(offset=offset(ones)).map(ones)

    return flow


@pytest.mark.fault(20)
@pytest.mark.parametrize(
    ("make", "expected"), [(lines, EXPECTED), (maps, [10, 11, 12, 13])], ids=["lines", "maps"])
def test_every_single_row_may_be_damaged(bench: Bench, make: Any, expected: list[int]):
    """Whatever row it is, the result is right in the end."""
    import shutil

    bench.killed(make(), workers=1)
    home, pristine = bench.folder / "home", bench.folder / "pristine"
    shutil.copytree(home, pristine)
    count = journal(bench).execute("SELECT max(seq) FROM journal").fetchone()[0]
    for seq in range(1, count + 1):
        shutil.rmtree(home)
        shutil.copytree(pristine, home)
        damage(bench, seq)
        bench.ledger.new()
        assert bench.run(make()).result == expected, f"row {seq}"
        assert any("damage found" in s for s in bench.said), f"row {seq}"


@pytest.mark.fault(20)
@pytest.mark.parametrize("how", ["missing", "cut", "flipped", "empty"])
def test_without_its_snapshot_a_run_is_what_the_journal_says(bench: Bench, how: str):
    @task
    def make(i):
        note(f"make{i}")
        return i

    @task
    def end(xs):
        note("end")
        if first("fail"):
            raise ValueError
        return sum(xs)

    @workflow
    def flow():
        return end(make.map(range(5)))

    bench.run(flow)
    bench.ledger.new()
    path = bench.run_dirs[0] / "snapshot.msgpack"
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[:len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert bench.run(flow).result == 10
    assert bench.ledger.new() == ["end"]


@pytest.mark.fault(20)
def test_a_damaged_journal_is_made_good_by_the_snapshot(bench: Bench):
    @task
    def make(i):
        note(f"make{i}")
        return i

    @task
    def end(xs):
        note("end")
        if first("fail"):
            raise ValueError
        return sum(xs)

    @workflow
    def flow():
        return end(make.map(range(5)))

    bench.run(flow)
    bench.ledger.new()
    damage(bench, *rows_of(bench, "S"))
    assert bench.run(flow).result == 10
    assert bench.ledger.new() == ["end"]


def test_rows_that_follow_a_lost_change_of_the_graph_are_not_read_with_the_old_one(bench: Bench):
    """The ids of an edited flow mean other tasks; a row of it read with the old ids would put
    one task's result in another's place."""
    def version(n: int) -> Any:
        @task
        def a():
            note("a")
            return "a"

        @task
        def b():
            note("b")
            return "b"

        @task
        def zero():
            note("zero")
            return "zero"

        @task
        def end(*xs):
            note("end")
            if first(f"kill-{n}"):
                die()
            return list(xs)

        @workflow
        def flow():
            if n == 1:
                return end(a(), b())
            return end(zero(), b(), a())

        return flow

    bench.killed(version(1), workers=1)
    bench.killed(version(2), workers=1)
    changed = rows_of(bench, "G")[1]
    damage(bench, changed)
    assert bench.run(version(2)).result == ["zero", "b", "a"]
    assert any("damage found" in s for s in bench.said)
    assert bench.command(version(2), "resume", run=bench.run_dirs[0].name).result == [
        "zero", "b", "a"]


def test_a_lost_change_of_the_graph_is_got_over_for_good(bench: Bench):
    """Read back once more, after the session that met the damage was itself killed."""
    def version(n: int) -> Any:
        @task
        def a():
            note("a")
            return "a"

        @task
        def b():
            note("b")
            return "b"

        @task
        def end(*xs):
            note("end")
            if first(f"kill-{n}") or first(f"kill-{n}-again"):
                die()
            return list(xs)

        @workflow
        def flow():
            return end(a(), b()) if n == 1 else end(b(), a())

        return flow

    bench.killed(version(1), workers=1)
    bench.killed(version(1), workers=1)
    bench.killed(version(2), workers=1)
    damage(bench, rows_of(bench, "G")[1])
    bench.killed(version(2), workers=1)
    recorded = bench.recorded()
    bench.ledger.new()
    run = bench.run(version(2))
    assert run.result == ["b", "a"]
    assert set(bench.ledger.new()) == {"a", "b", "end"} - recorded


def test_a_map_that_follows_items_which_are_lost_is_made_anew():
    """Its own row is there, and that of the map above it is not."""
    from engine.core.dag import Dag
    from engine.core.machine import Machine
    from engine.core.record import RunRecord
    from engine.runtime.recovery import lost_results
    from tests.core.graphs import add

    dag = Dag("mapped")
    rows = add(dag, "rows")
    above = add(dag, "above", over=rows)
    add(dag, "below", over=above)
    graph, record = dag.freeze(), RunRecord(3)
    record.succeeded([0], None, [1.0], [2.0], [[1, 2]])
    record.expanded(2, 3, 2, None, None, [])
    machine = Machine(graph, ["thread"] * 3)
    machine.restore(record)
    assert lost_results(graph, machine, (), lambda tid: True) == [2]


def test_an_item_stands_though_what_it_follows_was_cut_short_while_it_was_computed_again():
    """Items that follow a map which is not kept: one crash, and one more in the making anew."""
    from engine.runtime.carryover import Carryover

    done = {20}
    before = {0: (10, 1, None, ["x"]), 1: (20, 1, None, None)}
    carryover = Carryover(before, done=done.__contains__, there=done.__contains__)
    assert carryover.match(0, 1, None, ["x"]).carried == []
    assert carryover.match(1, 1, None, None, sources=(0,)).carried == [(0, 20)]
