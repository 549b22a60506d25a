from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.telemetry import workflow_log
from engine.telemetry.workflow_log import WorkflowLog
from engine.worker import secrets


def lines(path: Path) -> list[str]:
    """All that is kept, oldest first."""
    files = sorted(path.parent.glob(f"{path.name}*"), key=lambda p: p.name, reverse=True)
    return [line for file in files for line in file.read_text().splitlines()]


def test_batches_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "workflow.log"
    log = WorkflowLog(path)
    log.write(["one", "two\n"])
    log.write([])
    log.close()
    log.write(["three"])
    log.close()
    assert path.read_text() == "one\ntwo\nthree\n"


def test_nothing_written_leaves_no_file(tmp_path: Path) -> None:
    WorkflowLog(tmp_path / "logs" / "workflow.log").close()
    assert list(tmp_path.iterdir()) == []


def test_it_is_rotated_and_the_oldest_go(tmp_path: Path) -> None:
    path = tmp_path / "workflow.log"
    log = WorkflowLog(path, max_bytes=100, files=3)
    for i in range(100):
        log.write([f"line {i:03}"])
    log.close()
    assert sorted(p.name for p in tmp_path.glob("workflow*")) == [
        "workflow.log", "workflow.log.1", "workflow.log.2",
    ]
    assert all(p.stat().st_size <= 100 for p in tmp_path.glob("workflow*"))
    kept = lines(path)
    assert kept == [f"line {i:03}" for i in range(100 - len(kept), 100)]
    assert len(kept) > 22


def test_a_single_file_starts_over(tmp_path: Path) -> None:
    log = WorkflowLog(tmp_path / "w.log", max_bytes=30, files=1)
    for i in range(10):
        log.write([f"line {i:03}"])
    assert lines(tmp_path / "w.log") == ["line 009"]


def test_a_batch_larger_than_a_file_is_kept_whole(tmp_path: Path) -> None:
    log = WorkflowLog(tmp_path / "w.log", max_bytes=50)
    log.write(["x" * 40] * 3)
    log.write(["small"])
    log.close()
    assert lines(tmp_path / "w.log") == ["x" * 40] * 3 + ["small"]
    assert (tmp_path / "w.log").read_text() == "small\n"


def test_it_follows_when_others_rotate_or_remove_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.log"
    mine, other = WorkflowLog(path, max_bytes=50), WorkflowLog(path, max_bytes=50)
    mine.write(["m" * 30])
    other.write(["o" * 30])
    mine.write(["short"])
    assert path.read_text() == "o" * 30 + "\nshort\n"
    path.unlink()
    mine.write(["again"])
    assert path.read_text() == "again\n"


WRITER = """
import sys
from pathlib import Path
from engine.telemetry.workflow_log import WorkflowLog
log = WorkflowLog(Path(sys.argv[1]), max_bytes=2_000, files=100)
for i in range(300):
    log.write([f"{sys.argv[2]} {i} begin", f"{sys.argv[2]} {i} end"])
assert log.lost == 0
"""


def test_processes_at_once_lose_and_mix_nothing(tmp_path: Path) -> None:
    path = tmp_path / "w.log"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), f"writer{i}"]) for i in range(3)
    ]
    assert [w.wait(60) for w in writers] == [0, 0, 0]
    got = []
    for file in tmp_path.glob("w.log*"):
        content = file.read_text().splitlines()
        assert len(content) % 2 == 0
        for begin, end in zip(content[::2], content[1::2], strict=True):
            assert (begin[:-5], begin[-5:]) == (end[:-3], "begin")
            got.append(begin)
    assert sorted(got) == sorted(f"writer{w} {i} begin" for w in range(3) for i in range(300))


def test_threads_at_once(tmp_path: Path) -> None:
    log = WorkflowLog(tmp_path / "w.log", max_bytes=5_000, files=100)
    threads = [
        threading.Thread(target=lambda m=m: [log.write([f"{m}{i}"]) for i in range(300)])
        for m in "ab"
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(lines(tmp_path / "w.log"))) == 600


def test_a_full_disk_is_survived_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = WorkflowLog(tmp_path / "w.log")

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as m:
        m.setattr(workflow_log.os, "write", full)
        log.write(["a", "b"])
    log.write(["c"])
    log.write(["d"])
    assert log.lost == 2
    assert lines(tmp_path / "w.log") == [
        "[2 lines lost here: No space left on device]", "c", "d",
    ]


def test_a_directory_in_its_place_is_survived(tmp_path: Path) -> None:
    (tmp_path / "w.log").mkdir()
    log = WorkflowLog(tmp_path / "w.log")
    log.write(["x"])
    assert log.lost == 1


def test_hostile_text_and_secrets(tmp_path: Path) -> None:
    secrets.remember("hunter22")
    log = WorkflowLog(tmp_path / "w.log")
    log.write(["\x1b]0;title\x07 \x9b31m tab\there \udcff hunter22 \r"])
    secrets.forget_all()
    assert (tmp_path / "w.log").read_bytes() == (
        b"\\x1b]0;title\\x07 \\x9b31m tab\there \\udcff *** \\x0d\n"
    )
