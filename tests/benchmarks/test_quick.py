"""Every row of the benchmarks runs and gives the right answer; how fast is not judged here."""

import json
import math
from pathlib import Path

import pytest

from benchmarks import fresh
from benchmarks.__main__ import main
from benchmarks.baseline import BASELINES, figure
from benchmarks.measured import TINY, Line, Measured, Row, Target
from benchmarks.metg import crossing
from benchmarks.one import measure
from benchmarks.report import cells
from benchmarks.rows import ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_row_runs(row: Row, tmp_path: Path) -> None:
    found = measure(row, TINY, tmp_path)

    assert len(found.totals) == len(found.nets) >= 1
    assert all(math.isfinite(x) and x > 0 for x in found.totals)
    assert all(math.isfinite(x) for x in found.nets)


@pytest.mark.parametrize("name", BASELINES)
def test_each_baseline_runs(name: str, tmp_path: Path) -> None:
    assert figure(name, TINY, tmp_path) > 0


def test_every_row_is_held_against_a_baseline_that_exists() -> None:
    assert {name for row in ROWS for name in row.raw} <= set(BASELINES)
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_command_prints_a_table_and_writes_every_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"

    code = main(["--quick", "--only", "startup", "--dir", str(tmp_path), "--json", str(file)])

    assert code == 0
    printed = capsys.readouterr().out
    data = json.loads(file.read_text())
    assert [row["name"] for row in data["rows"]] == [r.name for r in ROWS if r.group == "startup"]
    for row in data["rows"]:
        assert row["name"] in printed
        assert row["limit"] > 0 < row["raw"]
    assert list(tmp_path.iterdir()) == [file], "the state is removed"


@pytest.mark.parametrize(("base", "why"), [
    ("nothing", "KeyError: 'nothing'"),  # its baseline, before it
    ("threads", "KeyError: 'gone'"),     # the row, between its baselines
])
def test_a_row_that_fails_says_so_in_the_table_and_in_the_file(
    base: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "figures.json"
    monkeypatch.setattr("benchmarks.__main__.ROWS", (Row("w1", "odd", _never, base=base),))
    monkeypatch.setattr("benchmarks.__main__.fresh.answer", _gone)

    assert main(["--quick", "--only", "w1", "--dir", str(tmp_path), "--json", str(file)]) == 1
    assert why in capsys.readouterr().out
    (row,) = json.loads(file.read_text())["rows"]
    assert why in row["failure"]
    assert (row["measured"], row["raw"], row["met"]) == (None, None, "failed")
    assert list(row["before"]) == [name for name in (base,) if name in BASELINES]


def test_a_row_that_is_stuck_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "STUCK", 0.1)

    with pytest.raises(fresh.BenchmarkFailed, match="stuck"):
        fresh.run(["-c", "import threading; threading.Event().wait()"], tmp_path)


def _gone(*_: object) -> object:
    raise fresh.BenchmarkFailed("exit code 1: KeyError: 'gone'")


def _never(*_: object) -> Measured:
    raise AssertionError("is measured in another process")


@pytest.mark.parametrize(("totals", "nets", "met"), [
    ([5.0, 6.0, 7.0], [1.0, 1.0, 1.0], "yes"),
    ([5.0, 6.1, 7.0], [6.0, 6.0, 6.0], "net"),
    ([7.0, 7.0, 7.0], [7.0, 7.0, 7.0], "no"),
])
def test_the_verdict(totals: list[float], nets: list[float], met: str) -> None:
    line = Line("w1", "row", "µs", "≤ 0.4 × raw", Measured(totals, nets), {"threads": 10.0},
                {"threads": 20.0}, "threads", Target(times=0.4).limit({"threads": 15.0}, "threads"))

    assert line.limit == 6.0
    assert line.met == met
    assert cells(line)[6] == f"{sorted(totals)[1] / 15:.2f}"


def test_a_limit_of_two_baselines() -> None:
    target = Target(times=1.3, plus_raw="pipe")

    assert target.limit({"commit": 100.0, "pipe": 50.0}, "commit") == 180.0
    assert str(target) == "≤ 1.3 × raw + pipe"
    assert Target().limit({}, "") is None


def test_the_crossing_is_found_on_a_logarithmic_scale() -> None:
    curve = [(400e-6, 0.9), (100e-6, 0.75), (25e-6, 0.25), (10e-6, 0.1)]

    assert crossing(curve) == pytest.approx(50e-6)
    assert crossing([(1e-3, 0.9), (1e-4, 0.8)]) == 1e-4
    assert crossing([(1e-3, 0.4), (1e-4, 0.2)]) == 1e-3
