"""A small flow of every kind of result, for tests of what the disk does to it.

`python storage_flow.py HOME DURABILITY EXECUTOR [RUN]`; prints state and result as JSON. RUN: the
run to carry on, even if it is a success.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from engine import Missing, task, workflow
from engine.runtime.request import Request, requested
from tests.faults.oracle import Oracle, witnessed

WIDTH = 6
EXPECTED = [2 * sum(range(WIDTH)), 300_000, 1, "done"]


@task
def numbers() -> list[int]:
    with witnessed():
        return list(range(WIDTH))


@task
def double(x: int) -> int:
    with witnessed():
        return 2 * x


@task
def large() -> bytes:
    with witnessed():
        return b"large" * 60_000


@task
def length(data: bytes) -> int:
    with witnessed():
        return len(data)


@task(on_interrupt="fail")
def once() -> int:
    with witnessed():
        return 1


@task(trigger_rule="all_done")
def end(doubled: list[int], size: int, paid: Any) -> list[Any]:
    with witnessed():
        return [sum(doubled), size, "cut short" if isinstance(paid, Missing) else paid, "done"]


@workflow
def storage():
    return end(double.map(numbers()), length(large()), once())


#: Name of a task run → those that it waits for.
ABOVE = {
    **{f"double[{i}]": ["numbers"] for i in range(WIDTH)},
    "length": ["large"],
}


def command(home: Path, durability: str = "full", executor: str = "thread") -> list[str]:
    """What runs it, or carries it on."""
    return [sys.executable, __file__, str(home), durability, executor]


def judge(oracle: Oracle) -> list[str]:
    """What the oracle says that must not be, at any time."""
    return [*oracle.too_early(ABOVE), *oracle.more_than_once(("once",)), *oracle.overlaps()]


def main() -> None:
    home, durability, executor, *known = sys.argv[1:]
    with requested(Request(command="resume", run_id=known[0]) if known else Request()):
        run = storage.options(
            home=home, durability=durability, executor=executor, workers=2, output="plain",
        ).run()
    print(json.dumps([str(run.state), run.result]))


if __name__ == "__main__":
    main()
