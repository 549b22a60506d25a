"""A handful of kills of each kind; `python -m tests.faults.campaign` does it by the hundred."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.campaign import at_every_point, run_campaign
from tests.faults.crash_points import POINTS
from tests.faults.oracle import Oracle

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.fault(2, 16)
@pytest.mark.parametrize(("mode", "seed"), [("thread", 11), ("process", 12), ("mixed", 13)])
def test_killed_and_resumed_until_done(tmp_path: Path, mode: str, seed: int):
    report = run_campaign(mode, 5, seed, tmp_path)
    assert report.kills == 5
    assert not report.findings, report.text()


@pytest.mark.fault(16)
def test_killed_at_every_named_moment(tmp_path: Path):
    report = at_every_point("mixed", 1, tmp_path)
    assert not report.findings, report.text()
    assert set(report.points) == set(POINTS)


# -- the oracle itself: it must be able to say no ------------------------------------------------


def oracle(tmp_path: Path, *lines: str) -> Oracle:
    path = tmp_path / "oracle.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return Oracle(path)


def test_the_oracle_sees_a_success_run_twice(tmp_path: Path):
    o = oracle(tmp_path, "start a 1 1 e1", "end a 1 1 e1", "start a 1 2 e2")
    assert o.repeated(["a"], 2) == ["a was recorded as done and ran again"]
    assert o.repeated(["b"], 2) == [] and o.repeated(["a"], 3) == []


def test_the_oracle_sees_an_at_most_once_task_started_twice(tmp_path: Path):
    o = oracle(tmp_path, "start pay[0] 1 1 e1", "start pay[0] 1 1 e2", "start other 1 1 e2")
    assert o.more_than_once(("pay[",)) == ["pay[0] was started 2 times"]


def test_the_oracle_sees_a_start_before_its_time(tmp_path: Path):
    o = oracle(tmp_path, "start a 1 1 e1", "start b 1 1 e1", "end a 1 1 e1")
    assert len(o.too_early({"b": ["a"]})) == 1
    assert o.too_early({"a": []}) == []


def test_the_oracle_sees_two_engines_at_once(tmp_path: Path):
    o = oracle(tmp_path, "start a 1 1 e1", "start b 1 1 e2", "end a 1 1 e1")
    assert len(o.overlaps()) == 1
