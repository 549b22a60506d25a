"""The SQLite journal: takeovers, crashes, damage. Nothing acknowledged is lost in silence."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from engine.errors import Fenced, NewerSchema, StorageBroken, StorageError, StorageFull
from engine.state.sqlite_schema import VERSION, connect
from engine.state.sqlite_store import SqliteStore, peek
from engine.state.wal_sync import WalSync

ROWS = {seq: b"%d " % seq * 20 for seq in range(1, 301)}


def written(path, *, close=True, durability="process"):
    """A journal of 300 rows; without `close`, as a killed owner would leave it."""
    store = SqliteStore.create(path, durability)
    for seq, data in ROWS.items():
        store.append(data, {"state": "RUNNING", "count": str(seq)} if seq % 50 == 0 else None)
    if close:
        store.close()
        return
    for name in ("run.db", "run.db-wal"):
        shutil.copy(path.with_name(name), path.with_name(name + ".copy"))
    store.close()
    for name in ("run.db", "run.db-wal"):
        path.with_name(name + ".copy").rename(path.with_name(name))


def assert_never_silent(path):
    """Whatever is handed out is right, and if something is not, that is told."""
    try:
        store = SqliteStore.open(path, "process", 2)
    except StorageError:
        return None
    try:
        got = {row.seq: row.data for row in store.rows() if row.data is not None}
        assert all(ROWS.get(seq) == data for seq, data in got.items())
        assert len(got) == len(ROWS) or store.damage
        assert store.append(b"more") > max(got, default=0)
        assert list(store.rows())[-1].data == b"more"
        return len(got)
    finally:
        store.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.db"


# -- opening ---------------------------------------------------------------------------------


def test_it_is_reopened_with_all_that_was_there(path):
    written(path)
    assert [p.name for p in path.parent.iterdir()] == ["run.db"]
    store = SqliteStore.open(path, "full", 2)
    assert {r.seq: r.data for r in store.rows()} == ROWS
    assert store.meta() == {"epoch": "2", "state": "RUNNING", "count": "300"}
    assert store.damage == []
    assert store.append(b"next") == 301
    store.close()


def test_what_a_killed_owner_left_is_taken_over_whole(path):
    written(path, close=False)
    store = SqliteStore.open(path, "process", 2)
    assert {r.seq: r.data for r in store.rows()} == ROWS
    assert store.damage == []
    store.close()


def test_opening_what_is_not_there_and_creating_what_is(path):
    with pytest.raises(StorageError, match="missing"):
        SqliteStore.open(path, "process", 1)
    with pytest.raises(StorageError, match="cannot be opened"):
        SqliteStore.create(path.parent / "nowhere" / "run.db", "process")
    written(path)
    with pytest.raises(StorageError, match="exists already"):
        SqliteStore.create(path, "process")
    assert peek(path.parent / "nothing.db") is None


@pytest.mark.fault(24)
def test_a_newer_format_is_refused(path):
    written(path)
    raw = sqlite3.connect(path)
    raw.execute(f"PRAGMA user_version = {VERSION + 1}")
    raw.close()
    for use in (lambda: SqliteStore.open(path, "full", 2), lambda: SqliteStore.read(path)):
        with pytest.raises(NewerSchema, match="upgrade"):
            use()


def test_somebody_elses_database_is_refused(path):
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE t (x)")
    raw.execute("PRAGMA user_version = 1")
    raw.close()
    with pytest.raises(StorageError, match="not a FlowForge run"):
        SqliteStore.open(path, "full", 1)
    with pytest.raises(StorageError, match="not a FlowForge run"):
        SqliteStore.read(path)


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("process", 1)])
def test_each_durability_has_its_sync_level(path, durability, level):
    store = SqliteStore.create(path, durability)
    assert store._execute("PRAGMA synchronous").fetchone() == (level,)
    assert store._execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


# -- ownership -------------------------------------------------------------------------------


@pytest.mark.fault(37)
def test_an_owner_that_was_replaced_writes_nothing_more(path):
    old = SqliteStore.create(path, "process", 1)
    old.append(b"mine", {"state": "RUNNING"})
    new = SqliteStore.open(path, "process", 2)
    for meta in (None, {"state": "SUCCESS"}):
        with pytest.raises(Fenced, match="taken over"):
            old.append(b"late", meta)
    assert new.append(b"theirs") == 2
    assert [r.data for r in new.rows()] == [b"mine", b"theirs"]
    assert new.meta()["state"] == "RUNNING"
    old.close()
    new.append(b"still here")
    new.close()
    with pytest.raises(Fenced):
        SqliteStore.open(path, "process", 1)


def test_the_epoch_is_not_among_the_words_that_a_caller_sets(path):
    store = SqliteStore.create(path, "process", 3)
    store.append(b"a", {"epoch": "9", "state": "RUNNING"})
    assert store.meta()["epoch"] == "3"
    store.append(b"b")
    store.close()


# -- readers -----------------------------------------------------------------------------------


def test_another_connection_reads_while_it_is_written_and_after(path):
    store = SqliteStore.create(path, "process")
    store.append(b"a", {"state": "RUNNING"})
    reader = SqliteStore.read(path)
    back = store.read_back()
    assert [r.data for r in reader.rows()] == [r.data for r in back.rows()] == [b"a"]
    store.append(b"b", {"state": "SUCCESS"})
    assert [r.data for r in reader.rows(1)] == [r.data for r in back.rows(1)] == [b"b"]
    assert reader.meta() == back.meta() == peek(path)
    store.close()
    assert len(list(reader.rows())) == 2
    reader.close()
    with pytest.raises(StorageError, match="closed"):
        list(reader.rows())


@pytest.mark.fault(22)
def test_an_idle_reader_does_not_keep_the_log_from_starting_over(path):
    store = SqliteStore.create(path, "process")
    store._execute("PRAGMA wal_autocheckpoint = 50")
    reader = SqliteStore.read(path)
    rows = reader.rows()
    for _ in range(2000):
        store.append(b"x" * 200)
        next(rows)
    assert path.with_name("run.db-wal").stat().st_size < 200 * 4120
    reader.close()
    store.close()


# -- full and broken disks --------------------------------------------------------------------


@pytest.mark.fault(18)
def test_an_io_error_latches_the_store(path):
    store = SqliteStore.create(path, "process")
    store.append(b"a")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    wal = path.with_name("run.db-wal").stat().st_size
    # Writes beyond this size fail with EFBIG, which SQLite reports as an I/O error.
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal, hard))
    try:
        with pytest.raises(StorageBroken, match="start the run again"):
            store.append(b"b" * 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    for act in (lambda: store.append(b"c"), store.flush):
        with pytest.raises(StorageBroken):
            act()
    store.close()
    again = SqliteStore.open(path, "process", 2)
    assert [r.data for r in again.rows()] == [b"a"]
    assert again.damage == []
    again.close()


def test_an_io_error_on_a_nearly_full_disk_counts_as_full(path, monkeypatch):
    store = SqliteStore.create(path, "process")
    store.append(b"a")
    monkeypatch.setattr("engine.state.sqlite_store.free_bytes", lambda _: 4096)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = path.with_name("run.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(StorageFull):
            store.append(b"b" * 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.append(b"b" * 200_000) == 2
    store.close()


def test_an_exception_from_a_signal_leaves_a_usable_store(path):
    store = SqliteStore.create(path, "process")
    store.append(b"a")
    insert = store._insert

    def interrupted(seq, data):
        insert(seq, data)
        raise KeyboardInterrupt

    store._insert = interrupted
    for meta in (None, {"k": "v"}):
        with pytest.raises(KeyboardInterrupt):
            store.append(b"b", meta)
    del store._insert
    store.append(b"c")
    assert [r.data for r in store.rows()] == [b"a", b"b", b"c"]
    assert "k" not in store.meta()
    store.close()


@pytest.mark.fault(18)
def test_a_failed_background_sync_latches_the_store(path, monkeypatch):
    def fails(fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("engine.state.wal_sync._sync", fails)
    store = SqliteStore.create(path, "process")
    store.append(b"a")
    with pytest.raises(StorageBroken, match="Input/output"):
        store.flush()
    with pytest.raises(StorageBroken):
        store.append(b"b")
    store.close()


def test_commits_reach_the_disk_by_themselves(tmp_path, monkeypatch):
    synced = threading.Event()
    monkeypatch.setattr("engine.state.wal_sync._sync", lambda fd: synced.set())
    monkeypatch.setattr("engine.state.wal_sync.INTERVAL", 0.01)
    (tmp_path / "wal").write_bytes(b"")
    sync = WalSync(tmp_path / "wal", lambda exc: None)
    for _ in range(2):
        synced.clear()
        sync.mark()
        assert synced.wait(10)
    sync.close()


# -- damage ------------------------------------------------------------------------------------


def flipped(path, bit):
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


@pytest.mark.fault(20)
@pytest.mark.parametrize("target", ["run.db", "run.db-wal"])
def test_a_flipped_bit_is_never_silent(tmp_path, target):
    origin = tmp_path / "origin" / "run.db"
    origin.parent.mkdir()
    written(origin, close=target == "run.db")
    size = origin.with_name(target).stat().st_size * 8
    rng = random.Random(20261122)
    # Every bit of the headers is worth a try, and a sample of the rest.
    bits = rng.sample(range(800), 20) + rng.sample(range(size), 40)
    for n, bit in enumerate(bits):
        path = tmp_path / str(n) / "run.db"
        shutil.copytree(origin.parent, path.parent)
        flipped(path.with_name(target), bit)
        assert_never_silent(path)
        shutil.rmtree(path.parent)


@pytest.mark.fault(20)
def test_a_damaged_row_alone_is_missing_and_named(path):
    written(path)
    at = path.read_bytes().index(ROWS[77])
    flipped(path, at * 8 + 3)
    store = SqliteStore.open(path, "process", 2)
    rows = {r.seq: r.data for r in store.rows()}
    assert rows == ROWS | {77: None}
    assert store.damage == ["row 77 of the journal is damaged"]
    store.close()


def test_a_deleted_row_shows_as_a_gap(path):
    written(path)
    raw = sqlite3.connect(path)
    raw.execute("DELETE FROM journal WHERE seq IN (5, 6)")
    raw.commit()
    raw.close()
    store = SqliteStore.open(path, "process", 2)
    assert {r.seq for r in store.rows() if r.data is None} == {5, 6}
    assert len(store.damage) == 2
    store.close()


@pytest.mark.fault(21)
def test_rows_lost_at_the_end_are_missed(path):
    written(path)
    raw = sqlite3.connect(path)
    raw.execute("DELETE FROM journal WHERE seq > 290")
    raw.commit()
    raw.close()
    store = SqliteStore.open(path, "process", 2)
    assert store.damage == ["the last 10 rows of the journal are lost"]
    store.close()


@pytest.mark.fault(21)
def test_a_deleted_log_is_missed(path):
    written(path, close=False)
    path.with_name("run.db-wal").unlink()
    store = SqliteStore.open(path, "process", 2)
    assert "run.db-wal" in store.damage[0]
    assert store.append(b"goes on") == 1
    store.close()


@pytest.mark.fault(21)
@pytest.mark.parametrize("part", [0, 1, 50, 99, 100, 5000, 12288, 20_000, -1])
def test_a_truncated_file_is_told_and_read_as_far_as_it_goes(path, part):
    written(path)
    size = path.stat().st_size
    os.truncate(path, part if part >= 0 else size - 4096)
    kept = assert_never_silent(path)
    assert kept is not None and kept < 300
    assert any(".damaged-" in p.name for p in path.parent.iterdir())
    assert peek(path)["epoch"] == "2"


@pytest.mark.fault(21)
def test_a_truncated_log_is_read_as_far_as_it_goes(path):
    written(path, close=False)
    os.truncate(path.with_name("run.db-wal"), 32 + 100 * 4120 + 17)
    store = SqliteStore.open(path, "process", 2)
    rows = list(store.rows())
    assert 50 < len(rows) < 300
    assert all(r.data == ROWS[r.seq] for r in rows)
    store.close()


def test_a_rebuild_that_was_cut_off_is_finished(path):
    written(path)
    path.rename(path.with_name("run.db.rebuilt"))
    store = SqliteStore.open(path, "process", 2)
    assert len(list(store.rows())) == 300
    store.close()


def test_a_viewer_says_what_it_cannot_read(path):
    written(path)
    flipped(path, path.read_bytes().index(ROWS[9]) * 8)
    reader = SqliteStore.read(path)
    assert [r.seq for r in reader.rows() if r.data is None] == [9]
    assert reader.damage
    reader.close()


# -- crashes -----------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from engine.state.sqlite_store import SqliteStore
path, epoch = Path(sys.argv[1]), int(sys.argv[2])
if epoch == 1:
    store = SqliteStore.create(path, "process", 1)
else:
    store = SqliteStore.open(path, "process", epoch)
store._execute("PRAGMA wal_autocheckpoint = 20")
while True:
    seq = store.append(b"x" * 300, {"last": "x"})
    print(seq, flush=True)
"""


@pytest.mark.fault(16)
def test_no_acknowledged_row_is_lost_when_the_writer_is_killed(path):
    rng = random.Random(7)
    for epoch in range(1, 7):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(epoch)], stdout=subprocess.PIPE
        )
        acknowledged = 0
        for _ in range(rng.randint(1, 120)):
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, process.stdout.read().split(b"\n")[:-1])])
        process.wait()
        process.stdout.close()
        reader = SqliteStore.read(path)
        rows = list(reader.rows())
        assert len(rows) in (acknowledged, acknowledged + 1)
        assert all(r.data == b"x" * 300 for r in rows)
        assert reader.damage == []
        reader.close()
    store = SqliteStore.open(path, "full", 99)
    assert store.damage == []
    store.close()


def test_a_reader_may_look_before_the_first_row(path):
    store = SqliteStore.create(path, "process")
    assert peek(path) == {"epoch": "1"}
    assert list(store.read_back().rows()) == []
    store.close()
    connection = connect(path, "ro")
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM journal")
    connection.close()


def test_no_file_of_a_journal_is_for_others_to_read(tmp_path) -> None:
    store = SqliteStore.create(tmp_path / "run.db", "process")
    store.append(b"row")
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()}
    store.close()
    assert set(modes) >= {"run.db", "run.db-wal"}
    assert set(modes.values()) == {0o600}
