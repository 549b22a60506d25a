"""Whole runs carried on from files with flipped bits, cut short, or gone.

The one thing that must not be: a wrong value. What was recorded and ran again is spoken of.
`python -m tests.faults.test_flipped_bits N` does it N times, with seeds of their own.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import FlowForgeError
from engine.runtime.stored import list_runs, open_stored
from tests.faults.oracle import VARIABLE, Oracle
from tests.faults.storage_flow import ABOVE, EXPECTED, storage
from tests.runtime.harness import Bench

ROOT = Path(__file__).parents[2]

#: Kills the engine after eight successes, so that the log is not copied back, nor closed.
KILLED = """
import os, signal, sys
from engine import TaskSucceeded
from tests.faults import storage_flow

seen = []
def count(event):
    seen.append(event)
    if len(seen) == 8:
        os.kill(os.getpid(), signal.SIGKILL)

storage_flow.storage.on(TaskSucceeded, count)
storage_flow.storage.options(home=sys.argv[1], workers=1, output="silent").run()
"""


class Pristine:
    """Two runs to be copied and damaged: one killed, one that ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("killed", "ended"):
            code = KILLED if name == "killed" else KILLED.replace("== 8", "== -1")
            subprocess.run(
                [sys.executable, "-c", code, str(folder / name)],
                env={**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: str(folder / "oracle")},
                cwd=folder, check=name == "ended",
            )

    def files(self, name: str) -> list[Path]:
        """The files that hold state, relative to the state directory."""
        home = self.folder / name
        return sorted(p.relative_to(home) for p in home.rglob("*")
                      if p.is_file() and p.stat().st_size
                      and (p.name.startswith(("run.db", "snapshot")) or "blobs" in p.parts)
                      and not p.name.endswith("-shm"))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pristine]:
    yield Pristine(tmp_path_factory.mktemp("pristine"))


def damage(path: Path, rng: random.Random) -> str:
    """Do something to a file; says what."""
    size = path.stat().st_size
    how = rng.choice(["flip", "flip", "flip", "cut", "zero", "gone"])
    at = rng.randrange(min(size, 8192)) if rng.random() < 0.4 else rng.randrange(size)
    if how == "gone":
        path.unlink()
    elif how == "cut":
        os.truncate(path, at)
    else:
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]) if how == "flip" else bytes(512))
    return f"{path.name}: {how} at {at} of {size}"


def carry_on(bench: Bench, pristine: Pristine, name: str, seed: int) -> str:
    """Damage a copy, look at it, carry it on, judge. Returns what was done."""
    rng = random.Random(seed)
    home = bench.folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(pristine.folder / name, home)
    run_id = next((home / "runs").iterdir()).name
    before = recorded(home)
    what = damage(home / rng.choice(pristine.files(name)), rng)
    oracle = Oracle(Path(os.environ[VARIABLE]))
    mark = oracle.count()
    try:
        list_runs(home)
        open_stored(home, run_id)
    except FlowForgeError as error:
        assert str(error), what
    try:
        run = bench.command(storage, "resume", run=run_id, workers=1)
        result = run.result
    except FlowForgeError as error:
        # Refused with a reason; started anew it must work.
        assert "run.db" in str(error) or "journal" in str(error) or "outline" in str(error), (
            what, error)
        return f"{what}: refused: {error}"
    assert result in (EXPECTED, [*EXPECTED[:2], "cut short", "done"]), (what, result)
    again = before & oracle.started_after(mark)
    spoken = [s for s in bench.said if "damage" in s]
    # A log that ends early is what a power cut leaves of one that was not synced: no damage.
    assert not again or spoken or "run.db-wal: cut" in what, (what, again, bench.said)
    # What ran again stands on what is recorded, and that is in order now.
    assert bench.command(storage, "resume", run=run_id, workers=1).result == result, what
    assert set(ABOVE) - {"end"} <= recorded(home), what
    return f"{what}: {len(again)} again"


def recorded(home: Path) -> set[str]:
    stored = open_stored(home, "latest")
    return {stored.name_of(t) for t in stored.record.live_ids()
            if stored.state_word(t) == "SUCCESS"}


@pytest.mark.fault(20, 21, 23)
@pytest.mark.parametrize("name", ["killed", "ended"])
def test_never_a_wrong_value_and_never_in_silence(
    bench: Bench, pristine: Pristine, monkeypatch, name: str
):
    monkeypatch.setenv(VARIABLE, str(bench.folder / "oracle"))
    for seed in range(60):
        carry_on(bench, pristine, name, seed)


@pytest.mark.fault(21)
@pytest.mark.parametrize("ends", [("-wal",), ("-wal", "-shm"), ("", "-wal", "-shm")])
def test_deleted_files_are_missed(
    bench: Bench, pristine: Pristine, monkeypatch, ends: tuple[str, ...]
):
    monkeypatch.setenv(VARIABLE, str(bench.folder / "oracle"))
    home = bench.folder / "home"
    shutil.copytree(pristine.folder / "killed", home)
    run_dir = next((home / "runs").iterdir())
    for end in ends:
        (run_dir / f"run.db{end}").unlink(missing_ok=True)
    if "" in ends:
        with pytest.raises(FlowForgeError, match="missing"):
            bench.command(storage, "resume", run=run_dir.name)
        return
    assert bench.command(storage, "resume", run=run_dir.name).result == EXPECTED
    assert any("damage found" in s and "run.db-wal" in s for s in bench.said)


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="flowforge-flips-"))
    os.environ["LEDGER"], os.environ[VARIABLE] = str(folder / "ledger"), str(folder / "oracle")
    (folder / "pristine").mkdir()
    pristine, bench, bad, told = Pristine(folder / "pristine"), Bench(folder), 0, {}
    number = int(sys.argv[1])
    for seed in range(1000, 1000 + number):
        try:
            what = carry_on(bench, pristine, "killed" if seed % 2 else "ended", seed)
        except Exception as error:
            bad += 1
            what = f"{type(error).__name__}: {error}"
            print(f"seed {seed}: {what}"[:2000], flush=True)
        told[what.rpartition(": ")[2]] = told.get(what.rpartition(": ")[2], 0) + 1
    print(json.dumps(told, indent=1))
    print(f"{number} damaged runs, {bad} findings")
    shutil.rmtree(folder)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
