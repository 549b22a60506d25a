"""Tasks of a few microseconds are left to one thread, which is helped once they take longer."""

import threading
from pathlib import Path

from engine import task, workflow

QUICK, SLOW = 1_500, 3_000
PAIRS = 150


def test_short_tasks_that_come_to_take_longer_are_shared_before_the_batch_ends(
    tmp_path: Path,
) -> None:
    threads: set[int] = set()
    alone: list[int] = []
    helped = threading.Event()

    @task
    def step(i: int) -> int:
        if i >= QUICK:
            threads.add(threading.get_ident())
            if len(threads) > 1:
                helped.set()
            else:
                alone.append(i)
            helped.wait(0.002)  # too short to be noticed as a slow one
        return i

    @workflow
    def steps():
        return step.map(range(QUICK + SLOW))

    run = steps.options(
        home=tmp_path, durability="none", executor="thread", workers=2, output="silent").run()
    assert run.result == list(range(QUICK + SLOW))
    assert helped.is_set() and len(alone) < 200, len(alone)


def test_short_tasks_between_long_ones_keep_nobody_from_the_long_ones(tmp_path: Path) -> None:
    inside: set[int] = set()
    met: set[int] = set()
    never = threading.Event()

    @task
    def short(i: int) -> int:
        return i

    @task
    def long(i: int) -> None:
        inside.add(i)
        never.wait(0.006)  # back before others are to help whom short ones were left to
        if len(inside) > 1:
            met.update(list(inside))
        inside.discard(i)

    @workflow
    def both():
        for i in range(PAIRS):
            short(i)
            long(i)

    both.options(
        home=tmp_path, durability="none", executor="thread", workers=2, output="silent").run()
    assert len(met) > PAIRS // 2, len(met)
