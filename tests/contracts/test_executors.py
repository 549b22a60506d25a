"""What every executor must do, driven through whole runs."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

import pytest

from engine import Missing, Secret, Skip, current, resource, shell, task, workflow
from engine.errors import RunFailed

FACTOR = 3


@dataclass
class Point:
    x: int
    y: int


def helper(x):
    return x * FACTOR


def test_values_flow_along_the_edges(launch):
    @task
    def make():
        return {"a": [1, 2], "b": Point(1, 2)}

    @task
    def use(a, point, scale=1):
        return (sum(a) + point.x + point.y) * scale

    @workflow
    def flow():
        made = make()
        return use(made["a"], made["b"], scale=helper(1))

    assert launch(flow).result == 18


def test_runtime_maps_keep_order_and_zip(launch):
    @task
    def numbers(n):
        return list(range(n))

    @task
    def add(x, y, plus=0):
        return x + y + plus

    @task
    def total(xs):
        return xs

    @workflow
    def flow(n: int):
        xs = numbers(n)
        return total(add.partial(plus=100).map(x=xs, y=numbers(n)))

    assert launch(flow, n=40).result == [100 + 2 * i for i in range(40)]


def test_map_over_map_and_empty_map(launch):
    @task
    def double(x):
        return 2 * x

    @task
    def inc(x):
        return x + 1

    @workflow
    def flow(n: int):
        return inc.map(double.map(range(n)))

    assert launch(flow, n=20).result == [2 * i + 1 for i in range(20)]
    assert launch(flow, n=0).result == []


def test_map_keys_name_the_items(launch):
    @task
    def size(name):
        return len(name)

    @workflow
    def flow():
        return size.map(["north", "west"], key=lambda name: name)

    run = launch(flow)
    assert run.task_runs["size[west]"].result == 4


def test_failure_retry_and_first_cause(launch, tmp_path):
    @task(retries=2, retry_delay=0.01)
    def flaky(path):
        with open(path, "a") as f:
            f.write("x")
        if os.path.getsize(path) < 3:
            raise ValueError(f"only {os.path.getsize(path)}")
        return "third time"

    @task
    def bad():
        raise KeyError("nope")

    @task
    def below(x):
        return x

    @workflow
    def flow(path: str):
        return [flaky(path), below(bad())]

    run = launch(flow, path=str(tmp_path / "tries"))
    assert run.state == "FAILED"
    assert run.task_runs["flaky"].attempt == 3
    assert run.task_runs["below"].state.name == "UPSTREAM_FAILED"
    error = run.task_runs["bad"].error
    assert (error.type, error.file) == ("KeyError", __file__)
    with pytest.raises(RunFailed) as caught:
        run.raise_for_failure()
    assert "nope" in str(caught.value.__cause__)


def test_retry_on_and_callable_delay(launch):
    @task(retries=3, retry_on=(OSError,), retry_delay=lambda attempt: 0.001)
    def wrong_kind():
        raise ValueError("not worth another try")

    @workflow
    def flow():
        wrong_kind()

    assert launch(flow).task_runs["wrong_kind"].attempt == 1


def test_trigger_rules_skip_when_and_missing(launch):
    @task
    def fails():
        raise RuntimeError("broken")

    @task
    def skips():
        raise Skip("nothing new")

    @task
    def no():
        return False

    @task(trigger_rule="all_done")
    def mend(a, b):
        assert isinstance(a, Missing) and not a
        return [a.state, a.error, b.state]

    @task
    def maybe():
        return 1

    @workflow
    def flow():
        condition = no()
        maybe.options(when=condition)()
        return mend(fails(), skips())

    run = launch(flow)
    assert run.state == "SUCCESS"
    assert run.result == ["FAILED", "RuntimeError: broken", "SKIPPED"]
    assert run.task_runs["maybe"].state.name == "SKIPPED"


def test_current_knows_where_it_is(launch):
    @task
    def who(x):
        c = current()
        return [c.task_id, c.attempt, c.generation, c.run_id, len(c.idempotency_key)]

    @workflow
    def flow():
        return who.map([10, 20])

    run = launch(flow)
    assert run.result == [["who[0]", 1, 1, run.run_id, 32], ["who[1]", 1, 1, run.run_id, 32]]


def test_resources_are_opened_and_closed_around_each_attempt(launch, tmp_path):
    journal = str(tmp_path / "resource.log")

    @resource
    def log():
        with open(journal, "a") as f:
            f.write("open\n")
        yield journal
        with open(journal, "a") as f:
            f.write("close\n")

    @task
    def use(x, path=log):
        assert open(path).read().count("open") > open(path).read().count("close")
        if x == 1:
            raise ValueError("closed all the same")
        return x

    @workflow
    def flow():
        return use.map([0, 1])

    launch(flow)
    text = open(journal).read()
    assert text.count("open") == text.count("close") == 2


def test_async_and_shell_tasks_mix_with_the_rest(launch):
    @task
    async def wait(x):
        import asyncio

        await asyncio.sleep(0.001)
        return x + 1

    @task
    def double(x):
        return 2 * x

    @workflow
    def flow():
        said = shell(["echo", double(wait(20))])
        return said.attr("stdout")

    assert launch(flow).result.strip() == "42"


def test_nested_workflows_are_groups(launch):
    @task
    def inc(x):
        return x + 1

    @workflow
    def inner(x: int):
        return inc(inc(x))

    @workflow
    def outer():
        return inc(inner(1))

    run = launch(outer)
    assert run.result == 4
    assert sorted(run.task_runs) == ["inc", "inner/inc", "inner/inc-2"]


@pytest.mark.fault(30)
def test_each_kind_of_value_survives(launch):
    values = [(1, 2), {3, 4}, 2**80, b"x", float("inf"), Point(1, 2), {"k": (1,)}, "\ud800"]

    @task
    def give():
        return values

    @task
    def back(xs):
        return xs

    @workflow
    def flow():
        return back(give())

    result = launch(flow).result
    assert result == values
    assert [type(v).__name__ for v in result] == [type(v).__name__ for v in values]


@pytest.mark.fault(9)
def test_result_that_cannot_be_stored_fails_at_its_task_with_the_path(launch):
    import threading

    @task
    def bad():
        return {"client": [threading.Lock()]}

    @workflow
    def flow():
        return bad()

    run = launch(flow)
    assert run.task_runs["bad"].reason == "unserialisable"
    assert "client" in run.task_runs["bad"].error.message


def test_persist_false_results_are_handed_on(launch):
    @task(persist=False)
    def make():
        return [1, 2, 3]

    @task
    def total(xs):
        return sum(xs)

    @workflow
    def flow():
        return total(make())

    assert launch(flow).result == 6


def test_a_task_returns_as_many_values_as_it_was_declared_with(launch):
    @task(outputs=2)
    def pair(n):
        return tuple(range(n))

    @task
    def add(a, b):
        return a + b

    @workflow
    def flow(n: int):
        a, b = pair(n)
        return add(a, b)

    assert launch(flow, n=2).result == 1
    run = launch(flow, n=3)
    assert "outputs=2 and returned 3 values" in run.task_runs["pair"].error.message


def test_large_results_go_to_blobs(launch, tmp_path):
    @task
    def big(n):
        return bytes(n)

    @task
    def size(b):
        return len(b)

    @workflow
    def flow():
        return size(big(3_000_000))

    run = launch(flow)
    assert run.result == 3_000_000
    blobs = [p for p in (tmp_path / ".flowforge").rglob("blobs/**/*") if p.is_file()]
    assert sum(p.stat().st_size for p in blobs) >= 3_000_000


@pytest.mark.fault(6)
def test_system_exit_in_a_task_is_that_tasks_failure(launch):
    @task
    def leave():
        sys.exit(3)

    @task
    def stay():
        return 1

    @workflow
    def flow():
        return [leave(), stay()]

    run = launch(flow)
    assert run.task_runs["leave"].error.type == "SystemExit"
    assert run.task_runs["stay"].state.name == "SUCCESS"


@pytest.mark.fault(11)
def test_timeout_ends_an_attempt_and_its_late_result_is_refused(launch, executor):
    @task(timeout=0.2)
    def slow():
        time.sleep(0.6)
        return "late"

    @task
    def quick():
        return 1

    @workflow
    def flow():
        return [slow(), quick()]

    run = launch(flow)
    assert run.task_runs["slow"].reason == "timeout"
    assert run.task_runs["quick"].state.name == "SUCCESS"


def test_limits_are_never_exceeded(launch, tmp_path):
    folder = tmp_path / "slots"
    folder.mkdir()

    @task(limits={"slot": 1})
    def exclusive(x):
        name = os.path.join(str(folder), "busy")
        os.close(os.open(name, os.O_CREAT | os.O_EXCL))
        time.sleep(0.002)
        os.unlink(name)
        return x

    @workflow
    def flow():
        return exclusive.map(range(12))

    assert launch(flow, options={"limits": {"slot": 1}}).result == list(range(12))


@pytest.mark.fault(45)
def test_secrets_are_masked_in_errors_and_logs(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "hunter2-hunter2")

    @task
    def call(token):
        print("calling with", token.value)
        raise ValueError(f"refused {token.value}")

    @workflow
    def flow():
        return call(Secret.env("API_TOKEN"))

    launch(flow)
    for path in (tmp_path / ".flowforge").rglob("*"):
        if path.is_file():
            assert b"hunter2-hunter2" not in path.read_bytes(), path


@pytest.mark.fault(43)
def test_output_of_each_task_run_goes_to_its_own_log(launch, tmp_path):
    from engine.telemetry.tasklog import LogReader

    @task
    def talk(x):
        print(f"hello from {x}")
        print(f"oops {x}", file=sys.stderr)
        return x

    @workflow
    def flow():
        return talk.map(range(5))

    run = launch(flow)
    reader = LogReader(tmp_path / ".flowforge" / "runs" / run.run_id / "logs")
    for i in range(5):
        tid = run.task_runs[f"talk[{i}]"].tid
        assert sorted(line.text.strip() for line in reader.lines(tid=tid)) == [
            f"hello from {i}", f"oops {i}"]


def test_nothing_of_a_silent_run_reaches_the_console(launch, capfd):
    @task
    def talk():
        print("not for the console")
        os.system("echo neither this" if sys.platform != "win32" else "")
        return 1

    @workflow
    def flow():
        return talk()

    launch(flow)
    assert "not for the console" not in capfd.readouterr().out


@pytest.mark.fault(39)
def test_what_was_handed_out_and_is_reset_before_it_begins_never_begins(
    launch, executor, tmp_path, monkeypatch
):
    """Its inputs are let go by then: a function would be called with `Missing`."""
    from engine.runtime.runner import Runner

    real = Runner.stored_arguments if executor == "process" else None
    seen: list[str] = []

    @task
    def first():
        return 1

    @task
    def second(x, path):
        with open(path, "a") as f:
            f.write(f"{x!r}\n")
        return x + 1

    @workflow
    def flow(path: str):
        return second(first(), path)

    def reset_once(runner, attempt):
        """The moment before a worker reads the arguments: somebody reruns `first`."""
        if attempt.node.name == "second" and not seen:
            seen.append("reset")
            runner.command(lambda machine, at: machine.rerun([0], at))
        return (real(runner, attempt) if real is not None
                else runner.values.arguments(attempt))

    if executor == "process":
        monkeypatch.setattr(Runner, "stored_arguments", reset_once)
    else:
        made = Runner.__init__

        def init(self, *args, **kwargs):
            made(self, *args, **kwargs)
            self.arguments = lambda attempt: reset_once(self, attempt)

        monkeypatch.setattr(Runner, "__init__", init)
    run = launch(flow, path=str(tmp_path / "seen"))
    assert run.result == 2 and seen == ["reset"]
    assert (tmp_path / "seen").read_text() == "1\n"
