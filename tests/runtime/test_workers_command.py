"""More and fewer workers while a run lasts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine import task, workflow
from engine.errors import RunError
from tests.runtime.harness import Bench, note
from tests.runtime.live import Watched
from tests.waiting import wait_for


def held(count: int) -> Any:
    """Tasks that run until a file of their own is there."""
    @task
    def hold(i, folder):
        import time

        note(f"begun{i}")
        while not Path(folder, f"go{i}").exists() and not Path(folder, "go").exists():
            time.sleep(0.002)
        return i

    @workflow
    def flow(folder: str):
        return [hold(i, folder) for i in range(count)]

    return flow


def lane(run: Watched) -> Any:
    assert run.live.gauges is not None
    return run.live.gauges().lanes[0]


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_workers_come_and_go_with_nothing_lost(bench: Bench, executor: str):
    run = Watched(bench, held(9), executor=executor, workers=1)
    wait_for(lambda: lane(run).busy == 1, "one at work")
    kind = f"{executor} worker"
    assert run.ask("workers", "+2") == f"3 {kind}s now, 1 before"
    wait_for(lambda: lane(run).busy == 3, "three at work")
    assert run.ask("workers", "-1") == f"2 {kind}s now, 3 before"
    assert lane(run)[:3] == (executor, 2, 3)  # the third ends what it has
    for i in range(3):
        (bench.folder / f"go{i}").touch()
    wait_for(lambda: len(set(bench.ledger.all())) == 5, "two more to begin")
    wait_for(lambda: lane(run).busy == 2, "two at work")
    assert run.ask("workers", "1") == f"1 {kind} now, 2 before"
    assert run.ask("workers", "4") == f"4 {kind}s now, 1 before"
    wait_for(lambda: lane(run).busy >= 4, "four at work")
    assert run.ask("workers") == f"4 {kind}s"
    ended = run.end()
    assert ended.result == list(range(9))
    assert sorted(bench.ledger.all()) == [f"begun{i}" for i in range(9)]


def test_an_idle_worker_can_go_too(bench: Bench):
    run = Watched(bench, held(1), executor="process", workers=3)
    wait_for(lambda: lane(run).busy == 1, "one at work")
    run.ask("workers", "1")
    run.ask("workers", "+1")
    assert run.end().result == [0]


@pytest.mark.parametrize(("amount", "said"), [
    ("-2", "at least one"), ("0", "at least one"), ("many", "no number"), ("+9999", "more than"),
    ("--1", "no number"), ("1.5", "no number"), ("", "no number"),
])
def test_amounts_that_make_no_sense_are_refused(bench: Bench, amount: str, said: str):
    run = Watched(bench, held(1), workers=2)
    wait_for(lambda: lane(run).busy == 1, "one at work")
    with pytest.raises(RunError, match=said):
        run.ask("workers", amount)
    assert run.ask("workers") == "2 thread workers"
    run.end()


def test_a_sequential_run_has_the_one_it_has(bench: Bench):
    run = Watched(bench, held(1), executor="sequential")
    wait_for(lambda: lane(run).busy == 1, "one at work")
    with pytest.raises(RunError, match="neither"):
        run.ask("workers", "+1")
    run.end()


def test_the_command_line_takes_a_minus_for_what_it_is(bench: Bench):
    run = Watched(bench, held(2), workers=2)
    wait_for(lambda: lane(run).busy == 2, "two at work")
    done = subprocess.run(
        [sys.executable, "-m", "flowforge_tui", "workers", "latest", "-1"],
        env={**os.environ, "FLOWFORGE_HOME": str(bench.folder / "home")},
        capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "1 thread worker now, 2 before\n"), done.stderr
    run.end()
