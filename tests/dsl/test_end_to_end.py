"""The contract's own examples, run for real."""

from pathlib import Path
from typing import Any

import pytest

from engine import (
    Dag,
    Missing,
    RunEnded,
    Scheduler,
    Skip,
    Task,
    TaskFailed,
    resource,
    shell,
    task,
    workflow,
)
from engine.errors import DefinitionError, RunFailed


@pytest.fixture(autouse=True)
def quiet_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWFORGE_OUTPUT", "silent")
    monkeypatch.setenv("FLOWFORGE_DURABILITY", "none")


@task(retries=2, retry_delay=1.0, timeout=30)
def extract(path: str) -> list[int]:
    return [int(x) for x in path.split(",")]


@task
def double(x: int) -> int:
    return 2 * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@workflow
def pipeline(path: str = "1,2,3") -> Any:
    return total(double.map(extract(path)))


def test_a_function() -> None:
    run = pipeline.run(path="4,5")
    assert (run.state, run.result) == ("SUCCESS", 18)
    assert pipeline() == 12


def test_what_only_orders_a_call_is_not_among_its_arguments() -> None:
    @task
    def one() -> int:
        return 1

    @task
    def pair(x: int, y: int) -> tuple[int, int]:
        return x, y

    @workflow
    def ordered() -> Any:
        a, b = one(), double(1)
        later = pair(a, a)
        b >> later
        return pair(a, a).after(b), later, pair(a, b).after(b)

    assert ordered.run().result == ((1, 1), (1, 1), (1, 2))


def test_a_block() -> None:
    with workflow("My Workflow") as wf:
        @task
        def step1() -> str:
            return "result1"

        @task
        def step2() -> str:
            return "result2"

        wf.dag.get_task("step2").add_dependency(wf.dag.get_task("step1"))
        run = wf.run()
    assert run.result == {"step2": "result2"}


def test_classic_objects() -> None:
    order: list[str] = []

    class Last(Task):
        def run(self, value: str) -> str:
            order.append("c")
            return value + "!"

    dag = Dag("classic")
    a, b = Task("a", lambda: order.append("a")), Task("b", lambda: order.append("b") or "b")
    b.add_dependency(a)
    dag.add_task(a); dag.add_task(b)  # noqa: E702 - as in the original
    dag.add_task(Last("c", args=(b,)))
    run = Scheduler(dag, executor_type="thread", max_workers=4).run()
    assert run.result == {"c": "b!"} and order == ["a", "b", "c"]


def test_everything_together() -> None:
    seen: list[str] = []

    @resource
    def db() -> Any:
        seen.append("open")
        yield 100
        seen.append("closed")

    @task
    class Scale:
        def run(self, x: int, by: int = 1, base: int = db) -> int:  # type: ignore[assignment]
            return base + x * by

    @task
    async def later(x: int) -> int:
        return x + 1

    @task
    def absent() -> None:
        raise Skip("nothing today")

    @task(trigger_rule="all_done")
    def tolerant(x: Any) -> Any:
        return (bool(x), x.state) if isinstance(x, Missing) else x

    @workflow
    def inner(x: int) -> Any:
        return later(x)

    @workflow
    def outer() -> Any:
        xs = extract("1,2")
        scaled = Scale.partial(by=2).map(xs)
        double.options(when=False, name="never")(1)
        return {
            "inner": inner(xs[0]),
            "scaled": scaled,
            "shell": shell(["printf", "%s-%s,%s", xs[0], scaled]).attr("stdout"),
            "missing": tolerant(absent()),
        }

    run = outer.run()
    assert run.result == {
        "inner": 2, "scaled": [102, 104], "shell": "1-102,104", "missing": (False, "SKIPPED")
    }
    assert sorted(seen) == ["closed", "closed", "open", "open"]


def test_a_failure_is_heard_and_raised_when_asked() -> None:
    @task
    def bad() -> None:
        raise ValueError("boom")

    @workflow
    def failing() -> Any:
        return bad()

    heard: list[Any] = []
    failing.on(TaskFailed, heard.append)
    failing.on(RunEnded, heard.append)
    run = failing.run()
    assert run.state == "FAILED"
    assert [type(n).__name__ for n in heard] == ["TaskFailed", "RunEnded"]
    assert heard[0].task == "bad" and heard[0].error.message == "boom"
    with pytest.raises(RunFailed) as caught:
        run.raise_for_failure()
    assert isinstance(caught.value.__cause__, ValueError)


def test_what_cannot_be_sent_is_refused_before_anything_runs() -> None:
    import threading

    lock = threading.Lock()

    @task
    def locked() -> Any:
        return lock

    ran: list[int] = []

    @workflow(executor="process")
    def flow() -> Any:
        task(lambda: ran.append(1)).options(executor="thread")()
        return locked()

    with pytest.raises(DefinitionError, match="because of lock"):
        flow.run()
    assert ran == []
