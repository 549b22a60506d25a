"""A seeded crash campaign: SIGKILL the engine at random moments, resume, and compare.

`python -m tests.faults.campaign --kills N --seed S [--mode thread|process|mixed]`. When a run
has come to its end before N kills are done, another one follows; each such round has a seed of
its own, made from S and its number, so that `--round R` replays it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.core.states import SUCCESS, RunState
from engine.errors import FlowForgeError
from engine.executors.guardian import RUN_MARK, carriers
from engine.runtime.stored import open_stored
from tests.faults.names import PAYMENTS, above, total_of
from tests.faults.oracle import VARIABLE, Oracle

ROOT = Path(__file__).parents[2]
FLOW = Path(__file__).with_name("kill_flow.py")
#: Seconds that a session may take which nobody kills.
PATIENCE = 120.0
#: Seconds after which nothing of a killed run may be alive (CONTRACT.md §5).
GONE_WITHIN = 2.0
AT_MOST_ONCE = ("pay[",)
#: Tasks whose results are in memory only: a resume that needs them runs them again.
NOT_KEPT = ("options", "rows")
#: Findings that a report lists.
SHOWN = 10


@dataclass
class Report:
    """What a campaign found."""

    mode: str
    seed: int
    kills: int = 0
    rounds: int = 0
    sessions: int = 0
    executed: int = 0
    """Starts of task runs, all rounds together."""
    repeated: int = 0
    """Starts beyond the first of a task run: cut short by a kill, or retried."""
    recorded: int = 0
    """Successes that were on disk at a kill, summed over the kills."""
    interrupted: int = 0
    """At-most-once tasks that a kill left FAILED."""
    slowest_end: float = 0.0
    """The longest that a process of a killed run lived on (seconds)."""
    findings: list[str] = field(default_factory=list)

    def text(self) -> str:
        verdict = "FAILED" if self.findings else "good"
        lines = [
            f"seed {self.seed}, mode {self.mode}: {self.kills} kills in {self.rounds} runs, "
            f"{self.sessions} sessions",
            f"{self.executed} task starts, {self.repeated} of them again after a kill or failure; "
            f"{self.recorded} recorded successes checked, {self.interrupted} at-most-once tasks "
            f"interrupted; the last process was gone {self.slowest_end:.2f} s after its kill",
            *self.findings[:SHOWN],
            *([f"… and {more} more"] if (more := len(self.findings) - SHOWN) > 0 else []),
            f"verdict: {verdict}",
        ]
        return "\n".join(lines)


class Round:
    """One run, killed until it ends or the kills are used up; then left to end."""

    def __init__(self, report: Report, number: int, kills: int, folder: Path) -> None:
        self.report = report
        self.number = number
        self.kills = kills
        self.folder = folder
        self.random = random.Random(f"{report.seed}/{report.mode}/{number}")
        self.home = folder / "home"
        self.oracle = Oracle(folder / "oracle.txt")
        self.durability = self.random.choice(["full", "process"])
        self.done: Mapping[str, int] = {}
        self.checks: list[tuple[set[str], int]] = []
        self.over = False
        """A kill came when the run had been recorded as SUCCESS."""

    def go(self, expected: object) -> None:
        """Kill and resume to the end, and judge."""
        ended = False
        while self.kills > 0 and not ended:
            ended = self._session(self._moment())
        if not ended:
            self._session(None)
        elif self.over:  # killed on its way out: its result is read by resuming what is done
            self._session(None, self._run_id())
        self._judge(expected)

    def _moment(self) -> float:
        """Seconds from a session's start to its kill: mostly while it works."""
        return self.random.choice([0.05, 0.25, 0.3]) + self.random.expovariate(1 / 0.3)

    def _session(self, kill_after: float | None, *run: str) -> bool:
        """Start or resume; True if the run came to its end."""
        self.report.sessions += 1
        output = self.folder / "output.txt"
        with output.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, str(FLOW), self.report.mode, str(self.home), self.durability,
                 *run],
                env={**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: str(self.oracle.path)},
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=self.folder,
            )
            try:
                process.wait(PATIENCE if kill_after is None else kill_after)
            except subprocess.TimeoutExpired:
                if kill_after is None:
                    process.send_signal(signal.SIGABRT)
                    process.wait()
                    self._find(f"a session hangs: {output.read_text()[-2000:]}")
                    return True
                self._kill(process)
                return self.over
        if process.returncode:
            self._find(f"a session ended with {process.returncode}: {output.read_text()[-2000:]}")
        return True

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        process.wait()
        self.kills -= 1
        self.report.kills += 1
        done = self._recorded()
        self.report.recorded += len(done)
        self.checks.append((set(done), self.oracle.count()))
        for name, generation in self.done.items():
            if done.get(name, 0) < generation:
                self._find(f"{name}, recorded before, is lost after kill {self.report.kills}")
        self.done = done
        if self.random.random() < 0.7:  # else resume at once, while the guardian is at work
            self._wait_until_gone(killed)

    def _wait_until_gone(self, killed: float) -> None:
        run_id = self._run_id()
        while run_id and (left := carriers(RUN_MARK, run_id)):
            if time.monotonic() - killed > GONE_WITHIN:
                self._find(f"{len(left)} processes are alive {GONE_WITHIN:g} s after kill "
                           f"{self.report.kills}: {left}")
                break
            time.sleep(0.01)
        self.report.slowest_end = max(self.report.slowest_end, time.monotonic() - killed)

    def _run_id(self) -> str:
        runs = self.home / "runs"
        return max((p.name for p in runs.iterdir()), default="") if runs.is_dir() else ""

    def _recorded(self) -> dict[str, int]:
        """Names of the successes on disk → their generation."""
        if not self._run_id():
            return {}
        try:
            stored = open_stored(self.home, "latest")
        except FlowForgeError:
            return {}  # killed before anything was written
        record = stored.record
        self.over = record.run_state is RunState.SUCCESS
        found = {
            stored.name_of(t): record.generation.get(t, 1) for t in record.live_ids()
            if record.state_of(t) is SUCCESS and stored.name_of(t) not in NOT_KEPT
        }
        for k, (base, count, *_) in record.previous.items():
            if k not in record.expansions:  # waits to be made anew and matched
                found.update({
                    f"{stored.name_of(k)}[{i}]": 1 for i in range(count)
                    if record.state_of(base + i) is SUCCESS
                })
        return found

    def _judge(self, expected: object) -> None:
        oracle, report = self.oracle, self.report
        for done, mark in self.checks:
            for finding in oracle.repeated(done, mark):
                self._find(finding)
        for finding in [*oracle.more_than_once(AT_MOST_ONCE), *oracle.overlaps(),
                        *oracle.too_early(above())]:
            self._find(finding)
        starts = [x.name for x in oracle.lines() if x.what == "start"]
        report.executed += len(starts)
        report.repeated += len(starts) - len(set(starts))
        if self.report.findings:
            return
        ended = json.loads((self.folder / "output.txt").read_text().splitlines()[-1])
        stored = open_stored(self.home, "latest")
        cut_short = sum(1 for t in stored.record.live_ids() if stored.record.was_interrupted(t))
        report.interrupted += cut_short
        if ended["state"] != "SUCCESS" or total_of(ended) != total_of(expected):
            self._find(f"the result is {ended}, and undisturbed it was {expected}")
        elif ended["result"]["paid"] != PAYMENTS - cut_short:
            self._find(f"{ended['result']['paid']} payments are told, {cut_short} were cut short")
        if sum(map(self._has_begun, (self.home / "runs").iterdir())) != 1:
            self._find("a second run was started beside the one to resume")

    def _has_begun(self, run_dir: Path) -> bool:
        """False for what a kill left of a run in which nothing was recorded yet."""
        try:
            return open_stored(self.home, run_dir.name).history.outline is not None
        except FlowForgeError:
            return False

    def _find(self, what: str) -> None:
        report = self.report
        report.findings.append(
            f"{what}\n  replay: python -m tests.faults.campaign --mode {report.mode} "
            f"--seed {report.seed} --round {self.number}")


def undisturbed(mode: str, folder: Path) -> object:
    """What the flow gives if nobody kills it."""
    done = subprocess.run(
        [sys.executable, str(FLOW), mode, str(folder / "home"), "process"],
        env={**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: str(folder / "oracle.txt")},
        capture_output=True, text=True, timeout=PATIENCE, cwd=folder, check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def run_campaign(mode: str, kills: int, seed: int, folder: Path, only: int | None = None) -> Report:
    """Kill `kills` times, in as many rounds as that takes; `only`: one round, by its number."""
    report = Report(mode, seed)
    reference = folder / "reference"
    reference.mkdir(parents=True)
    expected = undisturbed(mode, reference)
    number = only or 1
    while report.kills < kills and not report.findings:
        place = folder / f"round-{number}"
        place.mkdir()
        report.rounds += 1
        Round(report, number, kills - report.kills, place).go(expected)
        if not report.findings:
            shutil.rmtree(place)
        if only is not None:
            break
        number += 1
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--mode", choices=["thread", "process", "mixed"], default="thread")
    parser.add_argument("--round", type=int)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="flowforge-campaign-"))
    report = run_campaign(given.mode, given.kills, given.seed, folder, given.round)
    print(report.text())
    if report.findings:
        print(f"what was found is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
