"""The runner on a store that fills up or fails, with several workers at it."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from engine import task, workflow
from engine.errors import StorageBroken, StorageFull
from engine.state.blobs import Blobs
from engine.state.sqlite_store import SqliteStore
from engine.telemetry.metrics import Sampler
from tests.runtime.harness import Bench, first, note, within
from tests.waiting import wait_for


class Trouble:
    """Makes appends fail while `error` is set, from the row on that holds `needle`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, needle: bytes) -> None:
        self.error: type[Exception] | None = None
        self.needle = needle
        self.hit = threading.Event()
        self.refused = 0
        self.waiting: set[str] = set()
        """The threads that were refused."""
        real = SqliteStore.append

        def append(store: SqliteStore, data: bytes, meta: Any = None) -> int:
            if self.error is not None and (self.hit.is_set() or self.needle in data):
                self.hit.set()
                self.refused += 1
                self.waiting.add(threading.current_thread().name)
                error = self.error("made by the test")
                if self.error is StorageBroken:
                    store._latch(error)
                raise error
            return real(store, data, meta)

        monkeypatch.setattr(SqliteStore, "append", append)


def pipeline(n: int = 12) -> Any:
    @task
    def make(i):
        note(f"make{i}")
        return f"result-{i}"

    @task
    def use(x):
        note(f"use-{x}")
        return x

    @workflow
    def flow():
        return [use(make(i)) for i in range(n)]

    return flow


@pytest.mark.fault(18)
def test_an_io_error_on_commit_stops_with_nothing_claimed(bench: Bench, monkeypatch):
    trouble = Trouble(monkeypatch, b"result-5")
    trouble.error = StorageBroken
    with within() as call, pytest.raises(StorageBroken):
        call(lambda: bench.run(pipeline(), workers=4))
    ran = bench.ledger.new()
    assert "use-result-5" not in ran, "it ran upon a result that is not on disk"
    monkeypatch.undo()
    monkeypatch.setenv("LEDGER", str(bench.ledger.path))
    run = bench.run(pipeline())
    assert run.result == [f"result-{i}" for i in range(12)]
    again = bench.ledger.new()
    assert "make5" in again


@pytest.mark.fault(18)
def test_an_at_most_once_task_does_not_start_unless_its_start_is_on_disk(
    bench: Bench, monkeypatch
):
    @task(on_interrupt="fail")
    def pay():
        note("pay")

    @workflow
    def flow():
        pay()

    real = SqliteStore.append

    def append(store: SqliteStore, data: bytes, meta: Any = None) -> int:
        if b"\xa1R" in data:  # an entry of the kind R: started
            raise store._latch(OSError("made by the test"))
        return real(store, data, meta)

    monkeypatch.setattr(SqliteStore, "append", append)
    with within() as call, pytest.raises(StorageBroken):
        call(lambda: bench.run(flow))
    assert bench.ledger.all() == []


@pytest.mark.fault(18)
@pytest.mark.parametrize("executor", ["thread", "process", "sequential"])
def test_a_blob_that_cannot_be_written_stops_the_run(bench: Bench, monkeypatch, executor):
    @task
    def big():
        return b"x" * 1_000_000

    @workflow
    def flow():
        return big()

    def put(self: Blobs, data: bytes, *, sync: bool) -> Any:
        raise StorageBroken("made by the test")

    monkeypatch.setattr(Blobs, "put", put)
    with within() as call, pytest.raises(StorageBroken):
        call(lambda: bench.run(flow, executor=executor))


def test_a_blob_that_cannot_be_written_stops_an_async_run(bench: Bench, monkeypatch):
    @task
    async def big():
        return b"x" * 1_000_000

    @workflow
    def flow():
        return big()

    def put(self: Blobs, data: bytes, *, sync: bool) -> Any:
        raise StorageBroken("made by the test")

    monkeypatch.setattr(Blobs, "put", put)
    with within() as call, pytest.raises(StorageBroken):
        call(lambda: bench.run(flow))


@pytest.mark.fault(17)
def test_on_a_full_disk_nothing_starts_and_then_all_goes_on(bench: Bench, monkeypatch):
    trouble = Trouble(monkeypatch, b"result-5")
    trouble.error = StorageFull
    ran_while_full: list[str] = []

    def make_room() -> None:
        assert trouble.hit.wait(30)
        # What had been handed out by then is run to its end: of that no worker has any left.
        workers = {f"flowforge-thread-{i}" for i in range(4)}
        wait_for(lambda: trouble.waiting >= workers, "all workers to wait for room")
        before = bench.ledger.all()
        tries = trouble.refused
        wait_for(lambda: trouble.refused >= tries + 2, "two more")
        ran_while_full.extend(bench.ledger.all()[len(before):])
        trouble.error = None

    helper = threading.Thread(target=make_room)
    helper.start()
    with within() as call:
        run = call(lambda: bench.run(pipeline(100), workers=4))
    helper.join()
    assert run.result == [f"result-{i}" for i in range(100)]
    assert ran_while_full == []
    said = " ".join(bench.said)
    assert "the disk is full" in said and "there is room on the disk again" in said
    assert len(bench.ledger.all()) == 200, "every task ran once"


@pytest.mark.fault(17)
def test_a_full_disk_does_not_keep_signals_from_being_heard(bench: Bench, monkeypatch):
    trouble = Trouble(monkeypatch, b"result-5")
    trouble.error = StorageFull
    session = bench.start(pipeline())
    wait_for(lambda: "the disk is full" in session.text(), "a word about the disk")
    session.signal(signal.SIGINT)
    wait_for(lambda: "no new task starts" in session.text(), "an answer to the first Ctrl-C")
    session.signal(signal.SIGINT)
    wait_for(lambda: "once more to leave" in session.text(), "an answer to the second")
    session.signal(signal.SIGINT)
    assert session.ended() == 130
    trouble.error = None
    ran = bench.ledger.new()
    run = bench.run(pipeline())
    assert run.result == [f"result-{i}" for i in range(12)]
    assert "make5" in bench.ledger.new() and "make5" in ran


def test_a_fault_in_the_engine_ends_the_run_instead_of_hanging_it(bench: Bench, monkeypatch):
    from engine.core.machine import Machine

    finish = Machine.finish

    def faulty(self: Machine, attempts: Any, now: float) -> None:
        attempts = list(attempts)
        if any(a.status.name == "SUCCESS" and a.payload == "result-5" for a in attempts):
            raise ZeroDivisionError("a fault made by the test")
        finish(self, attempts, now)

    monkeypatch.setattr(Machine, "finish", faulty)
    with within() as call, pytest.raises(ZeroDivisionError):
        call(lambda: bench.run(pipeline(), workers=4))


def test_a_sampler_that_raises_does_not_stop_the_ticker(bench: Bench, monkeypatch):
    @task(retries=1, retry_delay=0.01)
    def flaky():
        if first("flaky"):
            raise ValueError("once")
        return 1

    @workflow
    def flow():
        return flaky()

    def poll(self: Sampler) -> None:
        raise RuntimeError("a fault made by the test")

    monkeypatch.setattr(Sampler, "poll", poll)
    with within() as call:
        assert call(lambda: bench.run(flow)).result == 1


def test_a_listener_that_cannot_print_does_not_stop_the_run(bench: Bench):
    from engine.runtime.reporting import Silent
    from engine.runtime.request import Request

    class Deaf(Silent):
        def say(self, text: str) -> None:
            raise BrokenPipeError

    @task(executor="process")
    def crash():
        if first("crash"):
            os._exit(3)
        return 1

    @workflow
    def flow():
        return crash()

    with within() as call:
        run = call(lambda: bench.run(flow, request=Request(reporter=lambda output: Deaf())))
    assert run.result == 1
