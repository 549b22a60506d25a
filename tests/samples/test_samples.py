"""The sample flows: each runs to its end both ways, and what it makes is right."""

import csv
import json
import math
import re
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import zlib
from pathlib import Path
from typing import Any

import pytest

from engine import RunState, TaskState
from sample_flows import (
    block,
    census,
    classic,
    etl_sqlite,
    shell_tools,
    sweep,
    trouble,
    wfformat,
)
from tests.samples.conftest import SAMPLES, STUCK, Command, environment

#: What makes the longer ones short.
SHORT = {
    "census": {"limit": "20"},
    "sweep": {"points": "200"},
    "shell_tools": {"packages": "json"},
    "trouble": {"hold": "0.02"},
    "wfformat": {"scale": "0.00001"},
}
NAMES = sorted(path.stem for path in SAMPLES.glob("*.py") if path.stem != "__init__")


def quiet(workflow: Any) -> Any:
    return workflow.options(output="silent", fresh=True)


# -- both ways to run them ------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_runs_by_the_command(name: str, python: Command) -> None:
    pairs = [f"-p{key}={value}" for key, value in SHORT.get(name, {}).items()]
    done = python("-m", "flowforge_tui", "run", SAMPLES / f"{name}.py", *pairs)
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stderr


@pytest.mark.parametrize("name", [n for n in NAMES if n != "census"])
def test_runs_as_a_module(name: str, python: Command) -> None:
    done = python("-m", f"sample_flows.{name}")
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_teaches(name: str) -> None:
    module = sys.modules[f"sample_flows.{name}"]
    assert module.__doc__ is not None
    assert "Teaches: **" in module.__doc__
    assert f"flowforge run sample_flows/{name}.py" in module.__doc__


# -- census -----------------------------------------------------------------------------------


def test_census_measures_what_there_is(tmp_path: Path) -> None:
    result = quiet(census.census).run(limit=30, out=tmp_path / "report").result
    with Path(result["table"]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result["modules"] == 30
    assert [r["module"] for r in rows] == sorted(r["module"] for r in rows)
    assert sum(int(r["lines"]) for r in rows) == result["lines"]
    library = Path(sysconfig.get_path("stdlib"))
    argparse = next(r for r in rows if r["module"] == "argparse")
    assert int(argparse["size"]) == (library / "argparse.py").stat().st_size
    assert "gettext" in argparse["imports"].split()


def test_census_report_holds_its_data(tmp_path: Path) -> None:
    run = quiet(census.census).run(limit=5, out=tmp_path)
    page = (tmp_path / "census.html").read_text(encoding="utf-8")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page)
    assert found is not None
    data = json.loads(found[1])
    assert data["run"] == run.run_id
    assert len(data["modules"]) == 5
    assert "http://" not in page and "https://" not in page


def test_census_counts() -> None:
    source = '''
"""Documented."""
import os.path
from json import decoder
from . import sibling

def plain(x):
    """Documented."""
    return [y for y in x if y and not x or y] if x else None

class Thing:
    def _hidden(self): ...
    def shown(self):
        while True:
            try:
                pass
            except ValueError:
                pass
'''
    file = Path("counted.py")
    file.write_text(source)
    facts = census.measure(census.Source("pack.counted", file.absolute()))
    assert (facts.functions, facts.classes) == (3, 1)
    assert (facts.public, facts.documented) == (4, 2)
    assert facts.imports == ["json", "os"]
    # plain: itself, if-expression, comprehension, `or`, `and`; shown: itself, while, except.
    assert (facts.complexity, facts.hardest, facts.hardest_complexity) == (5 + 1 + 3, "plain", 5)


def test_census_passes_over_what_is_not_python() -> None:
    Path("broken.py").write_text("def (:\n")
    with pytest.raises(census.Skip):
        census.measure(census.Source("broken", Path("broken.py")))


def test_census_carries_on_after_a_kill() -> None:
    """The README's promise: `kill -9` in the middle, the same command again."""
    command = [
        sys.executable, "-m", "flowforge_tui", "run", str(SAMPLES / "census.py"),
        "--output", "json",
    ]
    engine = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        text=True, env=environment(),
    )
    assert engine.stdout is not None
    done: list[str] = []
    for line in engine.stdout:
        done += succeeded([line])
        if len(done) == 100:
            engine.send_signal(signal.SIGKILL)  # what it still said is read to the end
    engine.stdout.close()
    assert engine.wait(STUCK) == -signal.SIGKILL

    again = subprocess.run(
        command, capture_output=True, text=True, timeout=STUCK, env=environment(),
        stdin=subprocess.DEVNULL,
    )
    assert again.returncode == 0, again.stderr
    ran = succeeded(again.stdout.splitlines(keepends=True))
    assert not set(done) & set(ran), "a task that was told to be done ran again"
    with Path("out/census.csv").open(encoding="utf-8") as file:
        modules = sum(1 for _ in csv.DictReader(file))
    assert modules >= 300
    assert 0 < len(ran) <= modules + 4 - len(done)  # find, table, report and summary besides


def succeeded(lines: list[str]) -> list[str]:
    """The tasks that ended well by these events; a last line that was cut off is none."""
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return [e["task"] for e in events if e["event"] == "task.succeeded"]


# -- the others ---------------------------------------------------------------------------------


def test_sweep_finds_what_is_known_of_the_logistic_map(tmp_path: Path) -> None:
    result = quiet(sweep.sweep).run(points=1000, out=tmp_path).result
    assert result["at_4"] == pytest.approx(math.log(2), abs=0.01)
    assert result["chaos_begins"] == pytest.approx(3.5699, abs=0.005)
    # The window of period three opens at 1 + √8.
    assert result["window_begins"] == pytest.approx(1 + math.sqrt(8), abs=0.005)
    assert len((tmp_path / "lyapunov.csv").read_text().splitlines()) == 1001


def test_etl_loads_what_is_valid_and_keeps_the_rest() -> None:
    result = quiet(etl_sqlite.etl).run().result
    assert result == {
        "elements": 84, "rejected": 34, "inversions": ["Ar-K", "Co-Ni", "Te-I", "Th-Pa"],
    }
    with sqlite3.connect(etl_sqlite.DATABASE) as db:
        rejected = [s for (s,) in db.execute("SELECT symbol FROM rejected ORDER BY number")]
    db.close()
    assert rejected[:2] == ["Tc", "Pm"]


def test_etl_twice_makes_the_same_database() -> None:
    for _ in range(2):
        assert quiet(etl_sqlite.etl).run().result["elements"] == 84


@pytest.mark.parametrize("changed,reason", [
    ({"weight": ""}, "no standard atomic weight"),
    ({"weight": "heavy"}, "'heavy' is not a number"),
    ({"weight": "-1"}, "not above 0"),
    ({"symbol": ""}, "no symbol"),
    ({}, ""),
])
def test_etl_says_what_is_wrong(changed: dict[str, str], reason: str) -> None:
    row = {"number": "1", "symbol": "H", "name": "Hydrogen", "period": "1", "weight": "1.008"}
    complaint = etl_sqlite.complaint(row | changed)
    assert reason in complaint
    assert bool(complaint) == bool(reason)


def test_classic_counts_every_plane() -> None:
    run = classic.scheduler.run()
    total = run.raise_for_failure().task_runs["total"].result
    assert total["Lu"] > 1000
    assert total["Cs"] == 2048
    text = classic.OUT.read_text(encoding="utf-8")
    assert f"{total['Ll']:,}  Ll" in text


def test_block_reports_and_orders() -> None:
    assert quiet(block.wf).run().result == {"report": "enough"}
    assert "GiB are free" in Path("out/room.txt").read_text(encoding="utf-8")


def test_shell_tools_pack_and_check(tmp_path: Path) -> None:
    run = quiet(shell_tools.shell_tools).run(packages=["json", "email"], out=tmp_path)
    result = run.result
    library = shell_tools.LIBRARY
    lines = sum(f.read_bytes().count(b"\n") for f in (library / "json").rglob("*.py"))
    assert result["json"][1] == lines
    assert result["email"][0] >= len(list((library / "email").glob("*.py")))
    checksum = run.task_runs["checksum-json"].result
    assert int(checksum.stdout.split()[0]) == posix_checksum((tmp_path / "json.tar").read_bytes())


def posix_checksum(data: bytes) -> int:
    """What `cksum` computes: CRC-32 of the data and its length, most significant bit first."""
    length, size = len(data), b""
    while length:
        size, length = size + bytes([length & 0xFF]), length >> 8
    swapped = bytes(int(f"{byte:08b}"[::-1], 2) for byte in data + size)
    # zlib starts from all ones, which the POSIX sum does not; the first argument undoes that.
    return int(f"{zlib.crc32(swapped, 0xFFFFFFFF):032b}"[::-1], 2)


def test_trouble_is_survived() -> None:
    run = quiet(trouble.trouble).run(hold=0.02)
    states = {name: task.state for name, task in run.task_runs.items()}
    assert run.state is RunState.SUCCESS
    assert run.task_runs["match_cleverly"].reason == "timeout"
    assert run.task_runs["read_address"].reason == "crashed"
    assert states["parse"] is TaskState.FAILED and run.task_runs["parse"].attempt == 1
    assert states["use"] is TaskState.UPSTREAM_FAILED
    assert states["newer_than"] is states["process_news"] is TaskState.SKIPPED
    assert run.result["answer"] is False and run.result["total"] == 0
    assert run.result["crash"].startswith("as expected")
    assert sorted(run.result["attempts"])[0] == 1


def test_trouble_fails_if_nobody_deals_with_it() -> None:
    run = quiet(trouble.trouble).run(handled=False, hold=0.0)
    assert run.state is RunState.FAILED


@pytest.mark.parametrize("trace,tasks", [("montage", 58), ("blast", 43)])
def test_wfformat_replays(trace: str, tasks: int) -> None:
    run = quiet(wfformat.wfformat).run(trace=wfformat.DATA / f"{trace}.json", scale=1e-5)
    assert run.counts == {"SUCCESS": tasks + 1}
    assert run.result["makespan"] >= run.result["bound"] * 0.99


def test_wfformat_keeps_the_order_of_the_trace() -> None:
    run = quiet(wfformat.wfformat).run(scale=1e-5)
    began = {name: task.result[0] for name, task in run.task_runs.items() if name != "report"}
    ended = {name: task.result[1] for name, task in run.task_runs.items() if name != "report"}
    document = json.loads((wfformat.DATA / "montage.json").read_text(encoding="utf-8"))
    jobs = wfformat.read(document, 1.0)
    edges = [(p, name) for name, each in jobs.items() for p in each.parents]
    assert len(edges) > 58
    assert all(ended[parent] <= began[name] for parent, name in edges)
    # Priorities: the longest path below a task is never shorter than one below its child.
    assert all(jobs[p].remaining > jobs[name].remaining for p, name in edges)


def test_wfformat_reads_flat_files() -> None:
    """Schema 1.4: run times with the tasks, parents by name."""
    flat = {"workflow": {"tasks": [
        {"name": "b", "id": "2", "runtimeInSeconds": 2.0, "parents": ["a"]},
        {"name": "a", "id": "1", "runtimeInSeconds": 1.0, "parents": []},
    ]}}
    jobs = wfformat.read(flat, 0.5)
    assert [(j.name, j.seconds, j.parents, j.remaining) for j in jobs.values()] == [
        ("1", 0.5, [], 1.5), ("2", 1.0, ["1"], 1.0),
    ]


def test_wfformat_refuses_other_documents() -> None:
    with pytest.raises(ValueError, match="not WfFormat"):
        wfformat.read({"workflow": {"jobs": []}}, 1.0)


def test_shipped_traces_are_small() -> None:
    assert all(f.stat().st_size < 300_000 for f in wfformat.DATA.glob("*.json"))
