"""One run, several processes that want it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import pytest

from engine import task, workflow
from engine.errors import RunOwned
from engine.runtime.request import Request, requested
from engine.runtime.stored import open_stored
from tests.runtime.harness import Bench, note, until_told
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


def held() -> Any:
    @task
    def wait(folder):

        note("wait")
        until_told(folder)
        return "done"

    @workflow
    def flow(folder: str):
        return wait(folder)

    return flow


def test_the_second_owner_is_refused(bench: Bench):
    parameters = {"folder": str(bench.folder)}
    session = bench.start(held(), parameters=parameters)
    bench.ledger.until("wait")
    with pytest.raises(RunOwned, match=f"process {session.pid}") as caught:
        bench.run(held(), parameters=parameters)
    assert caught.value.pid == session.pid
    assert "--fresh" in str(caught.value) and "attach" in str(caught.value)
    (bench.folder / "go").touch()
    assert session.ended() == 0, session.text()
    assert bench.ledger.all() == ["wait"]


@pytest.mark.fault(36)
def test_of_many_that_resume_one_run_one_owns_it(bench: Bench):
    parameters = {"folder": str(bench.folder)}
    first = bench.start(held(), parameters=parameters)
    bench.ledger.until("wait")
    first.signal(signal.SIGKILL)
    first.ended()
    sessions = [bench.start(held(), parameters=parameters) for _ in range(10)]
    wait_for(lambda: sum("RunOwned" in s.text() for s in sessions) == 9, "nine refusals")
    (bench.folder / "go").touch()
    codes = sorted(s.ended() for s in sessions)
    assert codes == [0, *[71] * 9], [s.text() for s in sessions]
    assert bench.ledger.all() == ["wait", "wait"]
    assert len(bench.run_dirs) == 1


@pytest.mark.fault(37)
@pytest.mark.parametrize("asleep", [False, True])
def test_a_run_taken_by_force_has_one_owner_after_that(bench: Bench, asleep: bool):
    parameters = {"folder": str(bench.folder)}
    session = bench.start(held(), parameters=parameters, grace=0.5)
    bench.ledger.until("wait")
    if asleep:
        session.signal(signal.SIGSTOP)
    run_id = bench.run_dirs[0].name
    threading.Thread(target=_release, args=(bench, session.pid), daemon=True).start()
    with requested(Request(command="resume", run_id=run_id, force=True)):
        run = held().options(**bench.options(grace=0.5)).run(**parameters)
    assert run.result == "done" and run.run_id == run_id
    assert session.ended() != 0, session.text()
    assert bench.ledger.all() == ["wait", "wait"]
    assert open_stored(bench.folder / "home", run_id).state == "SUCCESS"


def _release(bench: Bench, owner: int) -> None:
    """Let the task end once the first owner is gone."""
    def gone() -> bool:
        try:
            with open(f"/proc/{owner}/stat", "rb") as f:
                return f.read().rpartition(b")")[2].split()[0] == b"Z"
        except FileNotFoundError:
            return True

    wait_for(gone, "the owner's end")
    (bench.folder / "go").touch()


def test_a_dead_owners_lock_keeps_nobody_out(bench: Bench):
    parameters = {"folder": str(bench.folder)}
    session = bench.start(held(), parameters=parameters)
    bench.ledger.until("wait")
    session.signal(signal.SIGKILL)
    session.ended()
    (bench.folder / "go").touch()
    assert bench.run(held(), parameters=parameters).result == "done"
    assert os.path.exists(bench.run_dirs[0] / "owner.lock")
