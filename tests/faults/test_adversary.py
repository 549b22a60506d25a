"""Odd places, odd numbers, files that belong elsewhere: what was found by trying to break it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine import task, workflow
from engine.errors import ConfigError
from engine.executors.guardian import ENGINE_MARK, RUN_MARK, sweep
from tests.cli.flows import Place
from tests.runtime.harness import Bench, note
from tests.waiting import wait_for

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, bytes as names")


# -- places ------------------------------------------------------------------------------------


@LINUX
@pytest.mark.parametrize(
    "name", [b"we?ird #%41 d'i\"r\nx", b"not-utf8-\xff\xfe", b" ", "ü😀".encode()])
def test_a_state_directory_of_any_name(place: Place, name: bytes):
    place.env["FLOWFORGE_HOME"] = os.fsdecode(os.fsencode(place.path) + b"/" + name)
    place.write("broken", "")
    place.do("run", "pipe.py", code=1)
    (place.path / "broken").unlink()
    place.do("resume", "latest")
    assert json.loads(place.do("runs", "--json").stdout)[0]["state"] == "SUCCESS"
    place.do("show", "latest")
    assert "wrong" not in place.do("doctor").stdout


@LINUX
def test_a_flow_file_whose_name_is_no_text(place: Place):
    name = os.fsdecode(b"flow-\xff.py")
    shutil.copy(place.path / "pipe.py", place.path / name)
    place.do("run", name)
    assert json.loads(place.do("runs", "--json").stdout)[0]["state"] == "SUCCESS"


@LINUX
def test_a_working_directory_that_is_gone(place: Place):
    gone = place.path / "gone"
    for words in (["run", str(place.path / "pipe.py")], ["runs"], ["doctor"]):
        gone.mkdir()
        done = subprocess.run(
            ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", sys.executable, "-m", "flowforge_tui",
             *words], cwd=gone, env=place.env, capture_output=True, text=True, check=False)
        assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stderr
        assert "working directory" in done.stderr


@LINUX
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_without_standard_streams_nothing_of_ours_takes_their_place(
    place: Place, closed: str, executor: str
):
    """The next file to be opened would be number 1, and get what C code prints."""
    place.write("flow.py", """
import os
from engine import task, workflow

@task
def speak():
    print("hello")
    for fd in (1, 2):
        os.write(fd, b"by the descriptor\\n")
    return [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)]

@workflow
def flow():
    return speak()
""")
    command = f"exec {sys.executable} -m flowforge_tui run flow.py --executor {executor} {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=place.path, env=place.env, check=False)
    assert done.returncode == 0
    shown = place.do("show", "latest", "speak").stdout
    assert "run.db" not in shown and "owner.lock" not in shown, shown
    assert "wrong" not in place.do("doctor").stdout


def test_a_file_that_hides_one_of_pythons_own_is_named(place: Place):
    (place.path / "sub").mkdir()
    place.write("sub/json.py", "")
    place.write("sub/flow.py", (place.path / "pipe.py").read_text())
    done = place.do("run", "sub/flow.py", code=2)
    assert "json.py" in done.stderr and "rename it" in done.stderr
    assert "Traceback" not in done.stderr


# -- numbers -------------------------------------------------------------------------------------


def test_more_workers_than_a_machine_has_threads(bench: Bench):
    @task
    def one():
        return 1

    @workflow
    def flow():
        return one()

    with pytest.raises(ConfigError, match="at most 10,000"):
        bench.run(flow, workers=1_000_000)


def test_threads_that_cannot_be_started(bench: Bench, monkeypatch):
    import threading

    real, made = threading.Thread.start, []

    def start(self: threading.Thread) -> None:
        if self.name.startswith("flowforge-thread-"):
            if len(made) == 3:
                raise RuntimeError("can't start new thread")
            made.append(self)
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)

    @task
    def one(i):
        return i

    @workflow
    def flow():
        return [one(i) for i in range(20)]

    assert bench.run(flow, workers=8).result == list(range(20))
    assert any("only 3 threads" in s for s in bench.said)


# -- files that belong elsewhere -------------------------------------------------------------------


def test_a_snapshot_of_another_run_is_not_taken_for_its_own(bench: Bench):
    @task
    def make(n):
        note(f"make{n}")
        return f"result-{n}"

    @task
    def end(x):
        if not (bench.folder / "go").exists():
            raise ValueError("not yet")
        return x

    @workflow
    def flow(n: int):
        return end(make(n))

    for n in (1, 2):
        bench.run(flow, parameters={"n": n})
    one, two = bench.run_dirs
    shutil.copy(two / "snapshot.msgpack", one / "snapshot.msgpack")
    (bench.folder / "go").touch()
    assert bench.run(flow, parameters={"n": 1}).result == "result-1"
    assert any("damage found" in s and two.name in s for s in bench.said)
    assert bench.ledger.all() == ["make1", "make2"], "the journal has it all"


def test_a_run_under_another_id_is_not_carried_on(place: Place):
    """A copy within the state directory: two runs would have one history."""
    place.write("broken", "")
    place.do("run", "pipe.py", code=1)
    runs = place.path / ".flowforge" / "runs"
    copy = runs / "20990101-000000-copy"
    shutil.copytree(next(runs.iterdir()), copy)
    assert "not signed" in place.do("resume", copy.name, code=2).stderr


@LINUX
def test_carrying_on_a_copy_leaves_the_processes_of_the_original_alone(place: Place):
    """They carry the same run id."""
    gate = place.start("run", "gate.py", "--executor", "process")
    place.wait_for("waiting")
    copy = Place(place.path / "copy")
    copy.path.mkdir()
    copy.env = {**place.env, "FLOWFORGE_HOME": str(copy.path / "home")}
    shutil.copytree(place.path / ".flowforge", copy.path / "home",
                    ignore=shutil.ignore_patterns("owner.lock"))
    done = copy.start("resume", "latest")
    wait_for(lambda: gate.poll() is not None or (place.path / "ran").read_text().count("first") > 1
          or len(list((copy.path / "home" / "runs").glob("*/owner.lock"))) == 1, "the copy")
    place.write("go", "")
    _, err = gate.communicate(timeout=60)
    done.communicate(timeout=60)
    assert gate.returncode == 0, err
    assert "crash" not in err.lower() and "signal" not in err.lower(), err


@LINUX
def test_what_a_dead_engine_left_is_ended_and_what_a_live_one_has_is_not():
    def sleeper(engine: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "60"], env={
            **os.environ, RUN_MARK: "20990101-000000-test", ENGINE_MARK: f"{engine}-abc"})

    ended = subprocess.Popen(["true"])
    ended.wait()
    other = subprocess.Popen(["sleep", "60"])
    dead, live = sleeper(ended.pid), sleeper(other.pid)
    mine = sleeper(os.getpid())
    try:
        assert sweep("20990101-000000-test") > 0
        assert (dead.wait(10), mine.wait(10)) == (-signal.SIGKILL, -signal.SIGKILL)
        assert live.poll() is None
    finally:
        for process in (other, dead, live, mine):
            process.kill()
            process.wait()


@pytest.mark.fault(20)
def test_what_can_be_read_and_not_written_to_is_rebuilt(tmp_path: Path, monkeypatch):
    import sqlite3

    from engine.state import sqlite_store
    from engine.state.sqlite_store import SqliteStore

    path = tmp_path / "run.db"
    store = SqliteStore.create(path, "process")
    store.append(b"a row")
    store.close()
    real, calls = sqlite_store.connect_writer, []

    def connect_writer(*args, **more):
        calls.append(args)
        if len(calls) == 1:
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error
        return real(*args, **more)

    monkeypatch.setattr(sqlite_store, "connect_writer", connect_writer)
    store = SqliteStore.open(path, "process", 2)
    assert [r.data for r in store.rows()] == [b"a row"]
    assert "malformed" in store.damage[0] and "kept as" in store.damage[1]
    store.close()
