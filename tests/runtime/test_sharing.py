"""Tasks of a few microseconds are left to one thread, which is helped once they take longer."""

import threading
from pathlib import Path

from engine import task, workflow

QUICK, SLOW = 1_500, 3_000


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
