"""Results of task runs can be read when the run is over, released from memory or not."""

from pathlib import Path

import pytest

from engine import task, workflow


@task
def numbers() -> list[int]:
    return [1, 2, 3]


@task
def double(x: int) -> int:
    return 2 * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@workflow
def pipeline():
    return total(double.map(numbers()))


@pytest.mark.parametrize("durability", ["full", "process", "none"])
@pytest.mark.parametrize("executor", ["thread", "process", "sequential"])
def test_every_result_after_the_end(tmp_path: Path, durability: str, executor: str) -> None:
    run = pipeline.options(
        home=tmp_path, durability=durability, executor=executor, output="silent"
    ).run()
    found = {name: run.task_runs[name].result for name in run.task_runs}
    assert found == {
        "numbers": [1, 2, 3], "double[0]": 2, "double[1]": 4, "double[2]": 6, "total": 12,
    }
    assert run.result == 12
