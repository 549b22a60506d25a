"""User code that does to the engine what nobody should: forks it, leaves it, closes its files."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine import RunEnded, TaskSucceeded, task, workflow
from engine.errors import DefinitionError
from engine.runtime.stored import open_stored
from tests.executors.processes import assert_dies, text_in
from tests.runtime.harness import Bench, note, until_told, within
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, /proc")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["thread", "sequential", "process", "async"])
def test_a_child_that_a_task_forks_does_not_go_on_as_the_engine(bench: Bench, kind: str):
    def fork(i: int) -> int:
        note(f"fork{i}")
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
        return i  # in the child, too

    if kind == "async":
        async def forks(i: int) -> int:
            return fork(i)
    else:
        def forks(i: int) -> int:
            return fork(i)

    forks = task(forks)

    @task
    def after(x: int) -> int:
        note(f"after{x}")
        return x

    @workflow
    def flow():
        return after.map(forks.map(range(3)))

    session = bench.start(flow, executor="thread" if kind == "async" else kind)
    assert session.ended() == 0, session.text()
    assert sorted(bench.ledger.all()) == sorted(f"{w}{i}" for w in ("fork", "after")
                                                for i in range(3))
    stored = open_stored(bench.folder / "home", "latest")
    assert stored.state == "SUCCESS" and not stored.history.damage


@pytest.mark.fault(6)
@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize("where", ["retry_on", "retry_delay"])
def test_a_retry_option_that_leaves_python_ends_the_retries_and_not_the_worker(
    bench: Bench, executor: str, where: str
):
    def leaves(x: Any) -> float:
        raise SystemExit("out of here")

    @task(retries=2, **{where: leaves})
    def fails():
        raise ValueError("the task's own")

    @workflow
    def flow():
        fails()

    with within() as call:
        run = call(lambda: bench.run(flow, executor=executor))
    assert run.task_runs["fails"].error.message == "the task's own"


def test_a_delay_without_end_ends_the_retries(bench: Bench):
    @task(retries=2, retry_delay=lambda attempt: float("inf"))
    def fails():
        raise ValueError

    @workflow
    def flow():
        fails()

    with within() as call:
        assert call(lambda: bench.run(flow)).state == "FAILED"
    with pytest.raises(DefinitionError, match="retry_delay"):
        task(retries=1, retry_delay=float("inf"))(lambda: 1)


def test_a_listener_that_leaves_python_harms_nobody(bench: Bench):
    @task
    def step(i: int):
        return i

    @workflow
    def flow():
        return step.map(range(3))

    def leaves(notice: object) -> None:
        raise SystemExit("out of here")

    heard: list[Any] = []
    flow.on(TaskSucceeded, leaves)
    flow.on(TaskSucceeded, heard.append)
    flow.on(RunEnded, leaves)
    flow.on(RunEnded, heard.append)
    run = bench.run(flow)
    assert run.result == [0, 1, 2] and len(heard) == 4
    assert sum("leaves raised SystemExit" in s for s in bench.said) == 1


@pytest.mark.fault(2, 3)
@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize("hidden", [False, True], ids=["marked", "hidden"])
def test_what_a_task_started_is_gone_after_its_run_was_killed(
    bench: Bench, executor: str, hidden: bool
):
    """In a session of its own; hidden: in an environment too that does not mark it as the run's."""
    @task
    def parent(folder: str, hidden: bool):
        import subprocess

        child = subprocess.Popen(["sleep", "300"], start_new_session=True,
                                 env={} if hidden else None)
        Path(folder, "part").write_text(str(child.pid))
        os.rename(Path(folder, "part"), Path(folder, "child"))
        until_told(folder)

    @workflow
    def flow(folder: str):
        parent(folder, hidden)

    session = bench.start(flow, executor=executor, parameters={"folder": str(bench.folder)})
    child = int(text_in(bench.folder / "child"))
    if hidden:
        let_it_look(_guardian_of(session.pid))
    session.signal(signal.SIGKILL)
    killed = time.monotonic()
    session.ended()
    assert_dies(child, within=2.0 - (time.monotonic() - killed))


def let_it_look(guardian: int) -> None:
    """Wait until a guardian has looked around since."""
    looks = _switches(guardian)
    wait_for(lambda: _switches(guardian) > looks + 3, "the guardian to look around")


def _guardian_of(engine: int) -> int:
    import psutil

    return next(p.pid for p in psutil.Process(engine).children()
                if "guardian.py" in " ".join(p.cmdline()))


def _switches(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines()
                if line.startswith("voluntary_ctxt"))


def test_what_the_program_started_before_its_run_is_not_the_runs(bench: Bench):
    import subprocess

    def act() -> None:
        helper = subprocess.Popen(["sleep", "300"], start_new_session=True)
        Path("helper").write_text(str(helper.pid))
        bench_flow.options(**bench.options()).run(folder=str(bench.folder))

    @task
    def wait(folder: str):
        note("wait")
        until_told(folder)

    @workflow
    def bench_flow(folder: str):
        wait(folder)

    from tests.runtime.harness import Session

    session = Session(act, bench.folder / "session.txt")
    bench.ledger.until("wait")
    guarding, helper = _guardian_of(session.pid), int(text_in(bench.folder / "helper"))
    let_it_look(guarding)
    session.signal(signal.SIGKILL)
    session.ended()
    assert_dies(guarding, within=15.0)
    os.kill(helper, 0)  # it lives
    os.kill(helper, signal.SIGKILL)


def test_more_attempts_than_two_bytes_count():
    from engine.core.record import RunRecord
    from engine.runtime.history import History, pack_history, unpack_history

    history = History()
    history.record = record = RunRecord(1)
    record.succeeded([0], [70_000], [1.0], [2.0], [None])
    assert unpack_history(1, pack_history(history)).record.number[0] == 70_000
