"""The room that is kept ahead of the write-ahead log, and that nothing mistakes it for data."""

from __future__ import annotations

import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from engine.state import wal_room
from engine.state.sqlite_schema import PAGE
from engine.state.sqlite_store import SqliteStore
from engine.state.wal_check import FILLER, FRAME, HEADER
from engine.state.wal_room import AHEAD, WalRoom

ROW = b"a row of forty bytes, as a chain has them"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def log(path: Path) -> Path:
    return path.with_name("run.db-wal")


def crashed(path: Path, name: str) -> Path:
    """The files as a power cut would leave them."""
    there = path.parent / name
    there.mkdir()
    for file in path.parent.glob("run.db*"):
        shutil.copy(file, there / file.name)
    return there / path.name


def assert_whole(path: Path, rows: int) -> None:
    store = SqliteStore.open(path, "full", 2)
    assert store.damage == []
    assert [row.seq for row in store.rows() if row.data == ROW] == list(range(1, rows + 1))
    store.close()


def test_commits_stay_within_a_log_that_is_longer_than_what_is_in_it(path):
    store = SqliteStore.create(path, "full")
    sizes = []
    for _ in range(400):
        store.append(ROW)
        sizes.append(log(path).stat().st_size)
    grown = sum(a != b for a, b in pairwise(sizes))
    assert 0 < grown <= 400 * 2 * (FRAME + PAGE) // (AHEAD // 2)
    assert_whole(crashed(path, "cut"), 400)
    store.close()
    assert not log(path).exists()
    assert_whole(path, 400)


def test_a_log_that_starts_over_gets_its_room_again(path):
    store = SqliteStore.create(path, "full")
    store._execute("PRAGMA wal_autocheckpoint = 100")
    for _ in range(600):
        store.append(ROW)
    assert log(path).stat().st_size > AHEAD // 2
    assert_whole(crashed(path, "cut"), 600)
    store.close()


def test_large_rows_do_not_outrun_the_room(path):
    store = SqliteStore.create(path, "full")
    for _ in range(5):
        store.append(os.urandom(AHEAD))
    for _ in range(20):
        store.append(ROW)
    copy = SqliteStore.open(crashed(path, "cut"), "full", 2)
    assert copy.damage == [] and len([r for r in copy.rows() if r.data]) == 25
    copy.close()
    store.close()


def test_damage_before_the_room_is_still_found(path):
    store = SqliteStore.create(path, "full")
    for _ in range(50):
        store.append(ROW)
    copy = crashed(path, "cut")
    data = bytearray(log(copy).read_bytes())
    data[HEADER + 20 * (FRAME + PAGE) + FRAME + 100] ^= 1
    log(copy).write_bytes(data)
    opened = SqliteStore.open(copy, "full", 2)
    assert "the end of the write-ahead log is damaged" in " ".join(opened.damage)
    opened.close()
    store.close()


@pytest.mark.parametrize("share", [0, 1, 8, 9, 23, 24, 25, 500, FRAME + PAGE - 9,
                                   FRAME + PAGE - 8])
def test_a_frame_that_was_cut_off_in_the_room_is_no_damage(path, share):
    store = SqliteStore.create(path, "full")
    for _ in range(40):
        store.append(ROW)
    size = FRAME + PAGE
    data = log(path).read_bytes()
    end = data.find(8 * FILLER)
    assert (end - HEADER) % size == 0
    rest = data[end - size + share:]
    cut = data[:end - size + share] + (FILLER * (len(rest) // 8 + 1))[share % 8:][:len(rest)]
    assert len(cut) == len(data)
    copy = crashed(path, "cut")
    log(copy).write_bytes(cut)
    opened = SqliteStore.open(copy, "full", 2)
    assert opened.damage == []
    assert [r.seq for r in opened.rows() if r.data == ROW] == list(range(1, 40))
    opened.close()
    store.close()


def test_room_fits_a_log_that_ends_in_half_a_frame(path):
    log(path).write_bytes(b"x" * 45)
    room = WalRoom(log(path), PAGE)
    room.committed(AHEAD)
    room.close()
    data = log(path).read_bytes()
    assert len(data) == 45 + AHEAD and data[48:48 + 800] == 100 * FILLER


def test_a_damaged_head_is_told_without_counting_the_room(path):
    store = SqliteStore.create(path, "full")
    for _ in range(3):
        store.append(ROW)
    copy = crashed(path, "cut")
    data = bytearray(log(copy).read_bytes())
    data[5] ^= 1
    log(copy).write_bytes(data)
    opened = SqliteStore.open(copy, "full", 2)
    told = next(t for t in opened.damage if "write-ahead log" in t)
    assert int(told.rsplit(":", 1)[1].split()[0]) < 20
    opened.close()
    store.close()


def test_what_another_owner_wrote_meanwhile_is_not_overwritten(path, monkeypatch):
    """An owner that was asleep between its look at the size and its zeros."""
    store = SqliteStore.create(path, "process")
    for _ in range(10):
        store.append(ROW)
    room = WalRoom(log(path), PAGE)

    def asleep(_: WalRoom) -> bool:
        for _ in range(30):
            store.append(ROW)
        return True

    monkeypatch.setattr(WalRoom, "_is_roomy", asleep)
    room.committed(AHEAD)
    room.close()
    assert log(path).stat().st_size > AHEAD
    assert_whole(crashed(path, "cut"), 40)
    store.close()


def test_the_last_of_a_disk_is_left_to_others(path, monkeypatch):
    monkeypatch.setattr(wal_room, "SPARE", 1 << 60)
    store = SqliteStore.create(path, "full")
    for _ in range(100):
        store.append(ROW)
    size = log(path).stat().st_size
    assert (size - HEADER) % (FRAME + PAGE) == 0 and size < 210 * (FRAME + PAGE)
    store.close()


def test_a_log_that_cannot_be_looked_at_does_no_harm(path):
    room = WalRoom(path, PAGE)
    room.committed(AHEAD)
    room.close()


def test_only_full_durability_has_it(path):
    store = SqliteStore.create(path, "process")
    for _ in range(20):
        store.append(ROW)
    assert log(path).stat().st_size < AHEAD
    store.close()
