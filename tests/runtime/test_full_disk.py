"""A disk that is really full: a small tmpfs of its own, filled up in mid-run."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import task, workflow
from tests.runtime.harness import Bench, note, until_told, within
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)],
        capture_output=True, check=False,
    )
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted: {made.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take up all the room that is left."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as f:
        for size in (65536, 4096, 1):
            try:
                while True:
                    f.write(bytes(size))
            except OSError:
                continue
    return ballast


@pytest.mark.fault(17)
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_run_waits_for_room_and_goes_on(
    bench: Bench, small_disk: Path, executor: str, large: bool
):
    @task
    def gate(xs, folder):
        note("gate")
        until_told(folder)
        return xs

    @task
    def late(i, before):
        note(f"late{i}")
        return bytes([i]) * (300_000 if large else 60_000)

    @task
    def after(x):
        note(f"after{x[0]}")
        return len(x)

    @workflow
    def held(folder: str):
        opened = gate([1], folder)
        return [after(late.options(name=f"late-{i}")(i, opened)) for i in range(6)]

    home = small_disk / "home"
    state: dict[str, Any] = {}

    def meddle() -> None:
        bench.ledger.until("gate")
        state["ballast"] = fill(small_disk)
        (bench.folder / "go").touch()
        wait_for(lambda: any("the disk is full" in s for s in bench.said), "a word about it")
        state["ran"] = set(bench.ledger.all())
        state["ballast"].unlink()

    helper = threading.Thread(target=meddle)
    helper.start()
    with within(60.0) as call:
        run = call(lambda: bench.run(
            held, home=home, executor=executor, parameters={"folder": str(bench.folder)}))
    helper.join()
    assert run.result == [300_000 if large else 60_000] * 6
    assert any("there is room" in s for s in bench.said)
    assert not any(name.startswith("after") for name in state["ran"])
    assert sorted(bench.ledger.all()) == sorted(
        ["gate", *(f"late{i}" for i in range(6)), *(f"after{i}" for i in range(6))])
