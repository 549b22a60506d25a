"""Workflows and values at the edges of what can be: cycles, chains, names, sizes, mutations."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack
import pytest

from engine import Dag, Scheduler, Task, task, workflow
from engine.errors import CycleError, DuplicateNameError, FlowForgeError
from engine.runtime.journal import unpack_entries
from engine.runtime.stored import open_stored
from engine.state.snapshot import write_snapshot
from engine.state.sqlite_rows import row_crc
from engine.state.sqlite_schema import connect
from tests.cli.flows import ROOT, Place
from tests.runtime.harness import Bench, die, first, note

#: Links of the chain; the suite's machine and plan tests go to 100,000 without running them.
CHAIN = int(os.environ.get("FLOWFORGE_TEST_CHAIN", "20000"))

NAMES = ["../../escape", "/etc/passwd", "-rf", "--help", "a\0b", "x" * 300, "ünï—😀", "a b", ".",
         "..", "'; DROP TABLE journal; --", "%s{0}$HOME`id`", "con", "a[3]",
         "line\nbreak", "\u202eevil"]


# -- shapes -------------------------------------------------------------------------------------


@pytest.mark.fault(26)
def test_a_cycle_of_any_length_is_named_and_nothing_runs(bench: Bench):
    dag = Dag("ring")
    tasks = [Task(f"t{i}", note, args=(f"t{i}",)) for i in range(2000)]
    for below, above in zip(tasks, [*tasks[1:], tasks[0]], strict=True):
        below.add_dependency(above)
        dag.add_task(below)
    with pytest.raises(CycleError, match="→"):
        Scheduler(dag).run()
    assert bench.ledger.all() == []


@pytest.mark.fault(27)
def test_a_long_chain_runs_and_resumes(bench: Bench):
    """No recursion anywhere: in the graph, the machine, the journal, the plan, the values.

    `FLOWFORGE_TEST_CHAIN=100000` makes it longer.
    """
    @task
    def step(x):
        if x == CHAIN - 10 and first("kill"):
            die()
        return x + 1

    @workflow
    def chain():
        x: Any = 0
        for _ in range(CHAIN):
            x = step(x)
        return x

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        bench.killed(chain, workers=1)
        assert bench.run(chain, workers=1).result == CHAIN
    finally:
        sys.setrecursionlimit(limit)
    assert any("carrying on" in s and f"{CHAIN // 1000 - 1}," in s for s in bench.said), bench.said


@pytest.mark.fault(33)
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_of_a_crashed_map_of_a_hundred_thousand_the_missing_items_alone_run(
    bench: Bench, executor: str
):
    @task
    def item(x):
        if x == 60_000 and first("kill"):
            die()
        return x

    @task
    def total(xs):
        return sum(xs)

    @workflow
    def wide():
        return total(item.map(range(100_000)))

    bench.killed(wide, executor=executor)
    recorded = len(bench.recorded())
    assert 1_000 < recorded < 100_000
    run = bench.run(wide, executor=executor)
    assert run.result == sum(range(100_000))
    (line,) = [s for s in bench.said if "carrying on" in s]
    assert f"{recorded:,} done" in line


@pytest.mark.fault(33)
@pytest.mark.parametrize("count", [0, 1])
def test_maps_of_nothing_and_of_one(bench: Bench, count: int):
    @task
    def item(x):
        return x

    @workflow
    def small():
        return item.map(list(range(count)))

    assert bench.run(small).result == list(range(count))


# -- names --------------------------------------------------------------------------------------


@pytest.mark.fault(28)
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_names_are_data_and_never_paths(bench: Bench, executor: str):
    outside = set(bench.folder.rglob("*"))

    @task
    def speak(i):
        print(f"spoken {i}")
        return i

    @workflow("../" + "w" * 300)
    def named():
        return [speak.options(name=name)(i) for i, name in enumerate(NAMES)]

    run = bench.run(named, executor=executor)
    assert run.result == list(range(len(NAMES)))
    new = set(bench.folder.rglob("*")) - outside - {bench.folder / "home"}
    strange = [p for p in new if bench.folder / "home" not in p.parents]
    assert [p for p in strange if p.name not in ("logs", "workflow.log")] == []
    for path in new:
        assert path.name.isascii() and len(path.name) < 80 and path.name[0] != "-"
    stored = open_stored(bench.folder / "home", "latest")
    for i, name in enumerate(NAMES):
        assert stored.find(name) == [i], name


@pytest.mark.fault(28)
def test_two_of_one_name_are_refused(bench: Bench):
    @task
    def one():
        note("one")

    @workflow
    def twice():
        one.options(name="same")()
        one.options(name="same")()

    with pytest.raises(DuplicateNameError, match="same"):
        bench.run(twice)
    assert bench.ledger.all() == []


# -- values -------------------------------------------------------------------------------------

LARGE = """
import sys
from engine import task, workflow

@task
def make(size):
    return b"x" * size

@task
def measure(data):
    return len(data), data[:1], data[-1:]

@workflow
def flow(size: int):
    return measure(make(size))

if __name__ == "__main__":
    home, size, executor = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    run = flow.options(home=home, executor=executor, output="silent", workers=1).run(size=size)
    assert run.result == (size, b"x", b"x"), run.result
    # Not getrusage: its figure begins with what the process had that started this one.
    print(int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]))
"""


@pytest.mark.fault(29)
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_large_result_goes_to_a_file_and_is_not_read_for_a_look(place: Place, executor: str):
    """`FLOWFORGE_TEST_LARGE=500` makes it 500 MB."""
    size = int(os.environ.get("FLOWFORGE_TEST_LARGE", "40")) << 20
    place.write("large.py", LARGE)
    done = subprocess.run(
        [sys.executable, "large.py", ".flowforge", str(size), executor], cwd=place.path,
        env=place.env, capture_output=True, text=True, check=True,
    )
    peak = int(done.stdout) << 10
    assert peak < 6 * size + (300 << 20), f"{peak >> 20} MB"
    run_dir = next((place.path / ".flowforge" / "runs").iterdir())
    assert (run_dir / "run.db").stat().st_size < 1 << 20
    assert [p.stat().st_size >= size for p in (run_dir / "blobs").rglob("?" * 40)] == [True]
    shown = place.do("show", "latest", "make").stdout
    assert "bytes" in shown and len(shown) < 3000


@pytest.mark.fault(31)
@pytest.mark.parametrize("executor", ["thread", "process", "sequential"])
def test_what_is_stored_does_not_change_with_an_argument(bench: Bench, executor: str):
    @task
    def make():
        note("make")
        return {"rows": [1, 2, 3]}

    @task
    def spoil(d):
        d["rows"].clear()
        d["spoilt"] = True
        return len(d)

    @task
    def last(d, after):
        note("last")
        if first("fail"):
            raise ValueError("once")
        return d["rows"]

    @workflow
    def flow():
        made = make()
        return last(made, spoil(made))

    run = bench.run(flow, executor=executor)
    assert run.state.name == "FAILED"
    assert run.task_runs["make"].result == {"rows": [1, 2, 3]}
    assert bench.run(flow, executor=executor).result == [1, 2, 3]
    assert bench.ledger.all() == ["make", "last", "last"]


# -- bombs ---------------------------------------------------------------------------------------

BOMBS = {
    "array of 4 billion": b"\xdd\xff\xff\xff\xff",
    "map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "bytes of 4 billion": b"\xc6\xff\xff\xff\xff",
    "nested 100,000 deep": b"\x91" * 100_000,
    "a map of 2 billion items": msgpack.packb([["X", 0, 1, 2_000_000_000, None, None, []]]),
    "a map of 10**18 items": msgpack.packb([["X", 0, 1, 10**18, None, None, []]]),
    "ids far beyond the end": msgpack.packb([["M", [2_000_000_000, 1_000_000_000], 3, -1, ""]]),
    "no entries": msgpack.packb(7),
    "an entry of nothing": msgpack.packb([[]]),
    "an outline of nothing": msgpack.packb([["G", {}, None, [], [], 0]]),
    "columns that lie": msgpack.packb([["S", [0, 4_000_000_000], None, b"", b"", b"\x90"]]),
}


@pytest.mark.fault(53)
@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_in_the_journal_is_damage_and_no_crash(place: Place, what: str):
    """With a checksum that is right, as somebody would make it who means it. 1 GB is all there
    is."""
    place.write("broken", "")
    place.do("run", "pipe.py", code=1)
    run_dir = next((place.path / ".flowforge" / "runs").iterdir())
    (run_dir / "snapshot.msgpack").unlink()
    plant(run_dir, BOMBS[what])
    for words in (("show", "latest"), ("show", "latest", "--json"), ("runs",)):
        done = in_a_gigabyte(place, *words)
        assert done.returncode == 0, done.stderr[-2000:]
    assert "damage" in in_a_gigabyte(place, "show", "latest").stdout
    (place.path / "broken").unlink()
    done = in_a_gigabyte(place, "resume", "latest")
    assert done.returncode in (0, 2, 3) and "Traceback" not in done.stderr, done.stderr[-2000:]


@pytest.mark.fault(53)
@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_in_the_snapshot_is_no_snapshot(place: Place, what: str):
    place.write("broken", "")
    place.do("run", "pipe.py", code=1)
    run_dir = next((place.path / ".flowforge" / "runs").iterdir())
    write_snapshot(run_dir / "snapshot.msgpack", 5, BOMBS[what], sync=False)
    assert "9 succeeded, 1 failed, 1 blocked" in in_a_gigabyte(place, "show", "latest").stdout
    (place.path / "broken").unlink()
    assert in_a_gigabyte(place, "resume", "latest").returncode == 0


def plant(run_dir: Path, data: bytes) -> None:
    """Put a row in the place of the last one that tells of a success."""
    db = connect(run_dir / "run.db", "rw")
    for seq, found in db.execute("SELECT seq, data FROM journal ORDER BY seq DESC").fetchall():
        if any(e[0] in "Ss" for e in unpack_entries(found)):
            db.execute("UPDATE journal SET data = ?, crc = ? WHERE seq = ?",
                       (data, row_crc(seq, data), seq))
            break
    db.close()


def in_a_gigabyte(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    return subprocess.run(
        [sys.executable, "-m", "flowforge_tui", *words], cwd=place.path, text=True,
        env={**place.env, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False,
        preexec_fn=limit, timeout=60,
    )


def test_the_bench_can_tell(place: Place):
    """A look at a run that is in order says nothing of damage."""
    place.do("run", "pipe.py")
    assert json.loads(in_a_gigabyte(place, "show", "latest", "--json").stdout)["damage"] == []
    with pytest.raises(FlowForgeError):
        open_stored(place.path / ".flowforge", "nothing")
