"""SIGKILL at every write and every sync of a run, before it and in its middle.

`python -m tests.faults.test_commit_points` does all of them, and tells the figures.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engine.core.states import SUCCESS, RunState
from engine.errors import FlowForgeError
from engine.runtime.stored import open_stored
from tests.faults.oracle import VARIABLE, Oracle
from tests.faults.shim import shim
from tests.faults.storage_flow import EXPECTED, command, judge

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0

pytestmark = pytest.mark.fault(16)


class Case:
    """One run that is killed at one call, and carried on."""

    def __init__(self, folder: Path, durability: str = "full", executor: str = "thread") -> None:
        self.home = folder / "home"
        self.oracle = Oracle(folder / "oracle.txt")
        self.trace = folder / "trace"
        self.command = command(self.home, durability, executor)
        self.folder = folder

    def go(self, *known: str, **settings: object) -> subprocess.CompletedProcess[str]:
        environment = shim(needle=f"{self.home.name}/", calls="ws", **settings)
        environment |= {"PYTHONPATH": str(ROOT), VARIABLE: str(self.oracle.path)}
        return subprocess.run(
            [*self.command, *known], env=environment, capture_output=True, text=True,
            timeout=PATIENCE, cwd=self.folder, check=False,
        )

    def calls(self) -> int:
        """How many writes and syncs an undisturbed run makes."""
        done = self.go(does="count", trace=self.trace)
        assert done.returncode == 0, done.stderr
        return self.trace.stat().st_size

    def recorded(self) -> tuple[set[str], list[str]]:
        """What is on disk as done; and the run, if that is all of it."""
        try:
            stored = open_stored(self.home, "latest")
        except FlowForgeError:
            return set(), []  # killed before anything was written
        done = {stored.name_of(t) for t in stored.record.live_ids()
                if stored.record.state_of(t) is SUCCESS}
        return done, [stored.run_id] if stored.state is RunState.SUCCESS else []

    def findings(self, does: str, at: int) -> list[str]:
        """Kill at the n-th call, resume, and judge."""
        first = self.go(does=does, at=at)
        if first.returncode not in (-9, 0):
            return [f"ended with {first.returncode}: {first.stderr}"]
        (done, known), mark = self.recorded(), self.oracle.count()
        again = self.go(*known, does="count") if first.returncode else first
        if again.returncode:
            return [f"the resume ended with {again.returncode}: {again.stderr}"]
        state, result = json.loads(again.stdout.splitlines()[-1])
        found = [*self.oracle.repeated(done, mark), *judge(self.oracle)]
        if first.returncode and "damage found" in again.stderr:
            found.append(f"damage is spoken of: {again.stderr}")
        if result not in (EXPECTED, [*EXPECTED[:2], "cut short", "done"]):
            found.append(f"the result is {result} ({state})")
        return found


def ways(seed: int, number: int) -> list[tuple[str, float]]:
    rng = random.Random(seed)
    return [(rng.choice(["kill", "torn"]), (i + rng.random()) / number) for i in range(number)]


@pytest.mark.parametrize(("does", "share"), ways(17, 10))
def test_killed_at_a_write_or_a_sync(tmp_path: Path, undisturbed: int, does: str, share: float):
    at = 1 + int(share * undisturbed)
    found = Case(tmp_path).findings(does, at)
    assert not found, f"{does} at call {at}: {found}"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> int:
    """The calls of an undisturbed run."""
    return Case(tmp_path_factory.mktemp("undisturbed")).calls()


def main() -> int:
    bad = kills = 0
    for executor in ("thread", "process"):
        for durability in ("full", "process"):
            with tempfile.TemporaryDirectory() as folder:
                calls = Case(Path(folder), durability, executor).calls()
            for at in range(1, calls + 1):
                for does in ("kill", "torn"):
                    folder = tempfile.mkdtemp(prefix="flowforge-commit-")
                    found = Case(Path(folder), durability, executor).findings(does, at)
                    kills += 1
                    bad += bool(found)
                    if found:
                        print(f"{executor}, {durability}, {does} at call {at}: {found}, {folder}")
                    else:
                        shutil.rmtree(folder)
            print(f"{executor}, {durability}: each of {calls} writes and syncs, twice; "
                  f"{bad} findings so far", flush=True)
    print(f"{kills} kills, {bad} findings")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
