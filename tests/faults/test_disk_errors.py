"""Runs on disks that fail, are slow, full, read-only, or gone: real calls that really fail."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import task, workflow
from engine.errors import StorageBroken
from engine.runtime.stored import open_stored
from tests.faults.oracle import VARIABLE, Oracle
from tests.faults.shim import shim
from tests.faults.storage_flow import EXPECTED, command, judge
from tests.runtime.harness import Bench, note, within
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0

#: Runs a workflow of no-ops, and says how many batches of changes its listener got.
WIDE = """
import sys
from engine import task, workflow

@task
def nothing(i):
    return i

@workflow
def wide():
    return nothing.map(range(2000))

if __name__ == "__main__":
    run = wide.options(home=sys.argv[1], durability="full", workers=2, output="silent").run()
    assert run.result == list(range(2000))
"""


class Disk:
    """The storage flow in processes of their own, on a disk with faults."""

    def __init__(self, folder: Path, home: Path | None = None) -> None:
        self.folder = folder
        self.home = home or folder / "home"
        self.oracle = Oracle(folder / "oracle.txt")
        self.trouble = folder / "trouble"
        """While it is there and a task has started, the disk is in trouble."""
        self.trouble.symlink_to(self.oracle.path)

    def start(self, durability: str = "full", **settings: object) -> subprocess.Popen[str]:
        environment = dict(os.environ)
        if settings:
            environment = shim(**{"needle": "run.db", "while": self.trouble, **settings})
        environment |= {"PYTHONPATH": str(ROOT), VARIABLE: str(self.oracle.path)}
        return subprocess.Popen(
            command(self.home, durability), env=environment, text=True, cwd=self.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    def go(self, durability: str = "full", **settings: object) -> tuple[int, str, str]:
        """Run or carry on; exit code, stdout, stderr."""
        process = self.start(durability, **settings)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def recorded(self) -> set[str]:
        stored = open_stored(self.home, "latest")
        return {stored.name_of(t) for t in stored.record.live_ids()
                if stored.state_word(t) == "SUCCESS"}

    def carries_on(self) -> None:
        """It goes on without the fault, and nothing recorded runs again."""
        done, mark = self.recorded(), self.oracle.count()
        code, out, err = self.go()
        assert code == 0, err
        assert json.loads(out)[1] in (EXPECTED, [*EXPECTED[:2], "cut short", "done"])
        assert not self.oracle.repeated(done, mark)
        assert not judge(self.oracle)


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.fault(18)
@pytest.mark.parametrize("at", [1, 2, 4])
@pytest.mark.parametrize(("calls", "durability"), [("s", "full"), ("w", "full"), ("w", "process")])
def test_an_io_error_stops_at_once_with_nothing_claimed(
    tmp_path: Path, calls: str, durability: str, at: int
):
    """EIO from the n-th sync, or write, after the first task started."""
    disk = Disk(tmp_path)
    code, out, err = disk.go(durability, calls=calls, does=f"errno:{errno.EIO}", at=at)
    assert code == 1 and not out, "plain Python: the error is raised"
    last = err.strip().splitlines()[-1]
    assert last.startswith("engine.errors.Storage") and "start the run again" in last, err
    disk.carries_on()


@pytest.mark.fault(18)
def test_a_sync_of_the_log_that_fails_stops_a_run_that_does_not_wait_for_it(bench: Bench):
    """`process` durability: the log is synced beside the run, and its failure ends the run."""
    flow = bench.folder / "flow.py"
    flow.write_text(
        "import time\nfrom engine import task, workflow\n"
        "@task\ndef slow(i):\n    open('started', 'w').close()\n    time.sleep(0.01)\n"
        "@workflow\ndef long():\n    return slow.map(range(20_000))\n")
    done = subprocess.run(
        [sys.executable, "-m", "flowforge_tui", "run", str(flow), "--durability", "process"],
        env={**shim(needle="run.db-wal", calls="s", does=f"errno:{errno.EIO}",
                    **{"while": bench.folder / "started"}), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=PATIENCE, cwd=bench.folder, check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "start the run again" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.fault(17)
def test_a_run_waits_for_room_where_every_write_says_there_is_none(tmp_path: Path):
    """ENOSPC while a file is there; for where no small disk can be mounted."""
    disk = Disk(tmp_path)
    process = disk.start("full", calls="w", does=f"errno:{errno.ENOSPC}")
    heard: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        heard.append(line)
        if "the disk is full" in line:
            started = disk.oracle.count()
            disk.trouble.unlink()
            break
    else:
        pytest.fail(f"the run did not say that the disk is full: {heard}")
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert json.loads(out) == ["SUCCESS", EXPECTED]
    assert "there is room on the disk again" in err
    assert disk.oracle.count() > started
    assert not judge(disk.oracle)


# -- slow ----------------------------------------------------------------------------------------


@pytest.mark.fault(19)
def test_on_a_disk_with_slow_syncs_batches_grow(tmp_path: Path):
    """30 ms a sync: were every task its own commit, it would be 2,000 of them."""
    flow, trace = tmp_path / "wide.py", tmp_path / "trace"
    flow.write_text(WIDE)
    subprocess.run(
        [sys.executable, str(flow), str(tmp_path / "home")],
        env={**shim(needle="run.db-wal", calls="s", does="wait:30", trace=trace),
             "PYTHONPATH": str(ROOT)},
        check=True, timeout=PATIENCE, cwd=tmp_path,
    )
    assert 3 <= trace.stat().st_size < 100


@pytest.mark.fault(19)
def test_while_a_commit_waits_for_the_disk_the_run_can_be_looked_at(bench: Bench, monkeypatch):
    """What is shown comes from the bus and from reads of the file, neither of which waits."""
    from engine.runtime.stored import list_runs
    from engine.state.sqlite_store import SqliteStore

    committing, looked = threading.Event(), threading.Event()
    real = SqliteStore.append

    def append(store: SqliteStore, data: bytes, meta: Any = None) -> int:
        if b"slow-result" in data:
            committing.set()
            assert looked.wait(PATIENCE)
        return real(store, data, meta)

    monkeypatch.setattr(SqliteStore, "append", append)

    @task
    def slow():
        return "slow-result"

    @workflow
    def flow():
        return slow()

    def look() -> None:
        assert committing.wait(PATIENCE)
        try:
            seen.append(list_runs(bench.folder / "home")[0].state)
            seen.append(open_stored(bench.folder / "home", "latest").record.state[0])
        finally:
            looked.set()

    seen: list[Any] = []
    helper = threading.Thread(target=look)
    helper.start()
    with within(PATIENCE) as call:
        assert call(lambda: bench.run(flow)).result == "slow-result"
    helper.join()
    assert len(seen) == 2


# -- a reader --------------------------------------------------------------------------------


@pytest.mark.fault(22)
def test_a_reader_that_never_lets_go_does_not_hold_the_run_up(bench: Bench):
    """One that holds a read transaction from the first row to the last, and after."""
    from engine.state.sqlite_schema import connect

    @task
    def gate(folder):
        note("gate")
        wait_for((Path(folder) / "go").exists, "the reader")
        return 1

    @task
    def use(i, before):
        return bytes([i % 250]) * 50_000

    @workflow
    def flow(folder: str):
        opened = gate(folder)
        return [use(i, opened) for i in range(400)]

    held: list[Any] = []

    def hold() -> None:
        bench.ledger.until("gate")
        reader = connect(bench.run_dirs[0] / "run.db", "ro")
        reader.execute("BEGIN")
        held.append((reader, reader.execute("SELECT count(*) FROM journal").fetchone()[0]))
        (bench.folder / "go").touch()

    helper = threading.Thread(target=hold)
    helper.start()
    with within(PATIENCE) as call:
        run = call(lambda: bench.run(flow, parameters={"folder": str(bench.folder)}))
    helper.join()
    assert [x[0] for x in run.result] == [i % 250 for i in range(400)]
    reader, seen = held[0]
    assert reader.execute("SELECT count(*) FROM journal").fetchone()[0] == seen, "it let go"
    # Carried on with the reader still there.
    assert bench.command(flow, "rerun", "use", run=run.run_id,
                         parameters={"folder": str(bench.folder)}).state.name == "SUCCESS"
    reader.close()


# -- a directory that goes ------------------------------------------------------------------


@pytest.fixture
def disk_of_its_own(tmp_path: Path) -> Iterator[Path]:
    """A small disk, which the test may make read-only."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)],
                          capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


def held_flow() -> Any:
    @task
    def gate(folder):
        note("gate")
        wait_for((Path(folder) / "go").exists, "the test")
        return 1

    @task
    def after(x):
        note("after")
        return x + 1

    @workflow
    def flow(folder: str):
        return after(gate(folder))

    return flow


@pytest.mark.fault(25)
def test_a_read_only_state_directory_is_refused(tmp_path: Path, disk_of_its_own: Path):
    remount(disk_of_its_own, "ro")
    disk = Disk(tmp_path, disk_of_its_own / "home")
    _, out, err = disk.go()
    assert "FLOWFORGE_HOME" in err.splitlines()[-1] and not out
    assert disk.oracle.count() == 0
    remount(disk_of_its_own, "rw")
    assert disk.go()[0] == 0
    remount(disk_of_its_own, "ro")
    # A look at what is there needs no writing.
    assert len(disk.recorded()) == 11
    code, _, err = disk.go()
    assert code == 1 and err.splitlines()[-1].startswith("engine.errors.StorageError")


@pytest.mark.fault(25)
def test_a_disk_that_becomes_read_only_stops_the_run(tmp_path: Path):
    """As ext4 does upon an error: what is open stays open, and every write fails."""
    disk = Disk(tmp_path)
    code, out, err = disk.go(needle="home/", calls="w", does=f"errno:{errno.EROFS}")
    assert code == 1 and not out
    assert "start the run again" in err.strip().splitlines()[-1]
    disk.carries_on()


@pytest.mark.fault(25)
@pytest.mark.parametrize("how", ["deleted", "moved", "run deleted"])
def test_a_state_directory_that_is_gone_stops_the_run(bench: Bench, how: str):
    flow = held_flow()
    home = bench.folder / "home"

    def meddle() -> None:
        bench.ledger.until("gate")
        if how == "moved":
            home.rename(bench.folder / "elsewhere")
        else:
            shutil.rmtree(home if how == "deleted" else bench.run_dirs[0])

    helper = threading.Thread(target=meddle)
    helper.start()
    parameters = {"folder": str(bench.folder)}
    with within(PATIENCE) as call, pytest.raises(StorageBroken, match="deleted or replaced"):
        call(lambda: bench.run(flow, parameters=parameters))
    helper.join()
    assert bench.ledger.all() == ["gate"], "it stopped without waiting for the task"
    (bench.folder / "go").touch()
    if how == "moved":
        (bench.folder / "elsewhere").rename(home)
    assert bench.run(flow, parameters=parameters).result == 2


@pytest.mark.fault(25)
def test_a_network_filesystem_is_spoken_of(bench: Bench, monkeypatch):
    """No NFS can be mounted in a test; what the kernel would say of it can be put in its place."""
    mounts = bench.folder / "mounts"
    mounts.write_text(f"/dev/root / ext4 rw 0 0\nserver:/x {bench.folder} nfs4 rw 0 0\n")
    monkeypatch.setattr("engine.state.home.MOUNTS", mounts)
    (bench.folder / "go").touch()
    bench.run(held_flow(), parameters={"folder": str(bench.folder)})
    assert any("network filesystem (nfs4)" in s for s in bench.said)
