"""The flow that the kill campaign runs: some 300 task runs of every kind.

`python kill_flow.py MODE HOME DURABILITY [RUN]`; prints the result as JSON. RUN: the run to
carry on, whatever its state.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

from engine import Missing, current, shell, task, workflow
from engine.runtime.request import Request, requested
from tests.faults import crash_points
from tests.faults.names import PAYMENTS, ROWS, WIDTH
from tests.faults.oracle import VARIABLE, witnessed

MODE, HOME, DURABILITY, *RUN = sys.argv[1:]
OTHER = "process" if MODE == "mixed" else None


@task
def numbers(n: int) -> list[int]:
    with witnessed():
        return list(range(n))


@task
def square(x: int) -> int:
    with witnessed():
        time.sleep(0.008 * (x % 5))
        return x * x


@task(retries=3, retry_delay=0.02, executor=OTHER)
def shaky(x: int) -> int:
    with witnessed():
        time.sleep(0.02)
        if x % 3 == 0 and current().attempt == 1:
            raise ValueError("the first try of every third fails")
        return x + 1


@task(persist=False)
def options() -> dict[str, int]:
    with witnessed():
        return {"offset": 1000}


@task
def shift(x: int, given: dict[str, int]) -> int:
    with witnessed():
        time.sleep(0.015)
        return x + given["offset"]


@task(persist=False)
def rows() -> list[str]:
    with witnessed():
        return [f"row {i}" for i in range(ROWS)]


@task
def measure(row: str) -> int:
    with witnessed():
        time.sleep(0.01)
        return len(row)


@task
def double(x: int) -> int:
    with witnessed():
        time.sleep(0.005)
        return 2 * x


@task
async def later(x: int) -> int:
    with witnessed():
        await asyncio.sleep(0.05 * (x % 7))
        return -x


@task(on_interrupt="fail")
def pay(x: int) -> int:
    with witnessed():
        time.sleep(0.03)
        return x


@task(executor=OTHER)
def child(x: int) -> int:
    with witnessed():
        subprocess.run(["sleep", "0.03"], check=True)
        return x


@task
def large(x: int) -> bytes:
    with witnessed():
        return bytes([x]) * 400_000


@task(trigger_rule="all_done")
def settle(payments: list[object]) -> int:
    with witnessed():
        return sum(1 for p in payments if not isinstance(p, Missing))


@task
def total(*parts: object) -> list[object]:
    with witnessed():
        return [
            sum(len(v) if isinstance(v, bytes) else int(str(v)) for v in p)
            if isinstance(p, list) else p
            for p in parts
        ]


@workflow
def campaign(width: int):
    xs = numbers(width)
    squares = square.map(xs)
    steps = shaky.map(squares)
    shifted = shift.partial(given=options()).map(steps)
    measured = double.map(measure.map(rows()))
    slept = later.map(range(40))
    said = [
        shell(f'printf "start shell{i} 1 1 $FLOWFORGE_ENGINE\\n" >> "${VARIABLE}"; sleep 0.02; '
              f'printf "end shell{i} 1 1 $FLOWFORGE_ENGINE\\n" >> "${VARIABLE}"; echo {i}',
              name=f"shell{i}")
        for i in range(8)
    ]
    children = child.map(range(10))
    big = [large.options(name=f"large{i}")(i) for i in range(4)]
    paid = settle(pay.map(range(PAYMENTS)))
    return {"total": total(shifted, measured, slept, said, children, big), "paid": paid}


if __name__ == "__main__":
    crash_points.arm()
    with requested(Request(command="resume", run_id=RUN[0]) if RUN else Request()):
        run = campaign.options(
            executor="thread" if MODE == "mixed" else MODE, workers=3, home=HOME,
            durability=DURABILITY, grace=1.0, output="silent",
        ).run(width=WIDTH)
    result = run.result if run.state == "SUCCESS" else None
    print(json.dumps({"state": str(run.state), "result": result}))
