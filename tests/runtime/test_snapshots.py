"""Snapshots while a run goes on."""

from __future__ import annotations

import threading

from engine import task, workflow
from engine.core.states import SUCCESS
from engine.errors import StorageError
from engine.runtime import snapshots
from engine.runtime.history import unpack_history
from engine.runtime.snapshots import Snapshots
from engine.state.snapshot import read_snapshot


def test_one_at_a_time_and_not_before_its_time():
    go, began = threading.Event(), []

    def write():
        began.append(1)
        go.wait(20)

    patient = Snapshots(write, interval=3600.0)
    patient.poll()
    patient.close()
    assert not began
    eager = Snapshots(write, interval=0.0)
    eager.poll()
    eager.poll()
    go.set()
    eager.close()
    assert len(began) == 1 and eager.written == 1


def test_one_that_cannot_be_written_is_done_without():
    def write():
        raise StorageError("no")

    s = Snapshots(write, interval=0.0)
    s.poll()
    s.close()
    assert s.written == 0


def test_a_long_run_leaves_a_snapshot_of_what_is_done_so_far(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshots.Snapshots.__init__, "__defaults__", (0.0,))
    home = tmp_path / "state"

    @task
    def quick(x):
        return x + 1

    @task
    def watch(done):
        """Wait until a snapshot shows the task above as done, which only a live one can."""
        (run_dir,) = (home / "runs").iterdir()
        deadline = threading.Event()
        for _ in range(2000):
            found = read_snapshot(run_dir / "snapshot.msgpack")
            if found is not None:
                record = unpack_history(*found).record
                if record.state[0] == SUCCESS and record.values[0] == 42:
                    return "seen"
            deadline.wait(0.01)
        return "never"

    @workflow
    def flow():
        return watch(quick(41))

    run = flow.options(home=home, output="silent", durability="process").run()
    assert run.result == "seen"


def test_none_begins_once_it_is_closed(monkeypatch):
    written = []
    s = Snapshots(lambda: written.append(1), interval=0.0)
    s.close()
    s.poll()
    s.close()
    assert not written
    closing = []

    class Slow(threading.Thread):
        """Has the run end between a thread's being made and its start."""

        def start(self):
            closing.append(threading.Timer(0, other.close))
            closing[0].start()
            super().start()

    other = Snapshots(lambda: written.append(1), interval=0.0)
    monkeypatch.setattr(snapshots.threading, "Thread", Slow)
    other.poll()
    monkeypatch.undo()
    closing[0].join()
    assert written == [1]
