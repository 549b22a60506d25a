"""Blobs and snapshots: whole or not there, and never a wrong value."""

from __future__ import annotations

import errno
import os

import pytest

from engine.errors import BlobDamaged, StorageBroken, StorageFull
from engine.state.blobs import Blobs
from engine.state.disk import write_atomically
from engine.state.snapshot import read_snapshot, write_snapshot
from engine.worker.codec import BlobRef


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "blobs")


@pytest.mark.parametrize("sync", [False, True])
def test_blobs_come_back_and_equal_ones_are_kept_once(blobs, sync):
    data = os.urandom(100_000)
    ref = blobs.put(data, sync=sync)
    assert ref.size == 100_000 and blobs.has(ref)
    inode = blobs.path(ref).stat().st_ino
    assert blobs.put(data) == ref
    assert blobs.path(ref).stat().st_ino == inode
    assert blobs.get(ref) == data
    assert blobs.get(blobs.put(b"")) == b""
    assert blobs.path(ref).stat().st_mode & 0o777 == 0o600


@pytest.mark.fault(23)
@pytest.mark.parametrize("harm", ["gone", "short", "flipped"])
def test_a_damaged_blob_is_never_handed_out_and_can_be_made_again(blobs, harm):
    data = b"payload" * 100
    ref = blobs.put(data)
    path = blobs.path(ref)
    if harm == "gone":
        path.unlink()
    elif harm == "short":
        path.write_bytes(data[:-1])
    else:
        path.write_bytes(b"P" + data[1:])
    with pytest.raises(BlobDamaged, match="run again"):
        blobs.get(ref)
    assert blobs.put(data) == ref
    assert blobs.get(ref) == data


@pytest.mark.parametrize(
    "digest", ["../../etc/passwd", "", "ab", "A" * 40, "g" * 40, "a" * 40 + "\n"]
)
def test_a_forged_reference_never_becomes_a_path(blobs, digest):
    with pytest.raises(BlobDamaged):
        blobs.get(BlobRef(digest, 1))


@pytest.mark.parametrize(("number", "error"), [
    (errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageBroken),
])
def test_failed_writes_are_told_apart_and_leave_no_drafts(tmp_path, monkeypatch, number, error):
    def fails(fd):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    write_snapshot(tmp_path / "snapshot", 1, b"old", sync=False)
    with pytest.raises(error):
        write_snapshot(tmp_path / "snapshot", 2, b"new", sync=True)
    with pytest.raises(error):
        Blobs(tmp_path / "blobs").put(b"x", sync=True)
    assert read_snapshot(tmp_path / "snapshot") == (1, b"old")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "snapshot"]


def test_snapshots_come_back_and_are_replaced(tmp_path):
    path = tmp_path / "snapshot.msgpack"
    assert read_snapshot(path) is None
    for seq, body in ((0, b""), (7, b"x" * 1000), (2**40, b"y")):
        write_snapshot(path, seq, body, sync=True)
        assert read_snapshot(path) == (seq, body)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["snapshot.msgpack"]


@pytest.mark.fault(20)
def test_any_flipped_bit_or_cut_voids_a_snapshot(tmp_path):
    path = tmp_path / "snapshot.msgpack"
    write_snapshot(path, 3, b"body of the snapshot", sync=False)
    whole = path.read_bytes()
    for bit in range(len(whole) * 8):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        assert read_snapshot(path) is None
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert read_snapshot(path) is None
    path.write_bytes(whole + b"x")
    assert read_snapshot(path) is None


def test_an_atomic_write_into_nowhere_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "no" / "file", (b"x",), sync=False)
