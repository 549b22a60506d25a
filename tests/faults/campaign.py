"""A seeded crash campaign: SIGKILL the engine and its processes, resume, and compare.

`python -m tests.faults.campaign --kills N --seed S [--mode thread|process|mixed|all]`. The engine
dies at random moments and at named ones (`crash_points`); its workers and its guardian die under
it. When a run has come to its end before N kills of the engine are done, another one follows; each
such round has a seed of its own, made from S and its number, so that `--round R` replays it alone.
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
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from engine.core.states import SUCCESS, RunState
from engine.errors import FlowForgeError
from engine.executors.guardian import RUN_MARK, carriers
from engine.runtime.stored import open_stored
from tests.faults.crash_points import POINTS
from tests.faults.crash_points import VARIABLE as CRASH
from tests.faults.names import PAYMENTS, above, total_of
from tests.faults.oracle import VARIABLE, Oracle

ROOT = Path(__file__).parents[2]
FLOW = Path(__file__).with_name("kill_flow.py")
MODES = ["thread", "process", "mixed"]
#: Seconds that a session may take which nobody kills.
PATIENCE = 120.0
#: Seconds after which nothing of a killed run may be alive (CONTRACT.md §5).
GONE_WITHIN = 2.0
AT_MOST_ONCE = ("pay[",)
#: Tasks whose results are in memory only: a resume that needs them runs them again.
NOT_KEPT = ("options", "rows")
#: How often the engine comes by a point, at most, before it dies there.
PASSINGS = {"taken": 40, "packed": 60, "in-transaction": 60, "committed": 60, "handed-out": 40,
            "expanded": 7, "blob-half": 4, "blob-drafted": 4, "blob-renamed": 4,
            "snapshot-half": 4, "snapshot-drafted": 2, "snapshot-renamed": 2}
#: Sessions in a row that may end FAILED, since a worker was killed twice over one task.
MOST_FAILED = 20
#: Findings that a report lists.
SHOWN = 10


@dataclass
class Report:
    """What a campaign found."""

    mode: str
    seed: int
    kills: int = 0
    """Of the engine."""
    points: Counter[str] = field(default_factory=Counter)
    """Those of them that came at a named moment."""
    workers: int = 0
    guardians: int = 0
    """Kills of these."""
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
            f"seed {self.seed}, mode {self.mode}: {self.kills} kills of the engine, "
            f"{self.points.total()} of them at {len(self.points)} named points, {self.workers} of "
            f"workers, {self.guardians} of guardians; {self.rounds} runs, {self.sessions} sessions",
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
        self.failed = 0
        self.unguarded = False
        """The guardian was killed: what the engine leaves is ended by the next resume."""

    def go(self, expected: object) -> None:
        """Kill and resume to the end, and judge."""
        ended = False
        while self.kills > 0 and not ended:
            ended = self._session(*self._fate())
        while not ended:
            ended = self._session(None)
        self.end(expected)

    def resume_at(self, point: str) -> bool:
        """A session that dies at its first passing of a point; True if the run is at its end."""
        run = [self._run_id()] if self.over else []
        return self._session(None, point, False, *run)

    def end(self, expected: object) -> None:
        """Judge, with the result of a run that was killed on its way out."""
        if self.over:  # killed on its way out: its result is read by resuming what is done
            self._session(None, "", False, self._run_id())
        self._judge(expected)

    def _fate(self) -> tuple[float, str, bool]:
        """Of a session: seconds until its kill, or the point of it; whether others die too."""
        others = self.random.random() < 0.4
        if self.random.random() < 0.4:
            point = self.random.choice(list(POINTS))
            count = self.random.randint(1, PASSINGS.get(point, 1))
            return PATIENCE, f"{point}:{count}", others
        return self._moment(), "", others

    def _moment(self) -> float:
        """Seconds from a session's start to its kill: mostly while it works."""
        return self.random.choice([0.05, 0.25, 0.3]) + self.random.expovariate(1 / 0.3)

    def _session(
        self, kill_after: float | None, point: str = "", others: bool = False, *run: str
    ) -> bool:
        """Start or resume; True if the run came to its end."""
        self.report.sessions += 1
        self.unguarded = False
        output = self.folder / "output.txt"
        with output.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, str(FLOW), self.report.mode, str(self.home), self.durability,
                 *run],
                env={**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: str(self.oracle.path),
                     CRASH: point},
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=self.folder,
            )
            if not self._watch(process, kill_after or PATIENCE, others):
                if kill_after in (None, PATIENCE):
                    process.send_signal(signal.SIGABRT)
                    process.wait()
                    self._find(f"a session hangs: {output.read_text()[-2000:]}")
                    return True
                process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        if process.wait() == -signal.SIGKILL:
            if point and process.returncode == -signal.SIGKILL:
                self.report.points[point.partition(":")[0]] += 1
            self._killed(killed)
            return self.over
        text = output.read_text()
        if process.returncode:
            self._find(f"a session ended with {process.returncode}: {text[-2000:]}")
            return True
        return self._has_ended(text)

    def _has_ended(self, text: str) -> bool:
        """False for a run that a worker's second death in a row has failed: it is carried on."""
        if json.loads(text.splitlines()[-1])["state"] != "FAILED" or not self.report.workers:
            return True
        self.failed += 1
        if self.failed > MOST_FAILED:
            self._find(f"a run fails again and again: {text[-2000:]}")
        return self.failed > MOST_FAILED

    def _watch(self, process: subprocess.Popen[bytes], seconds: float, others: bool) -> bool:
        """Wait for its end, killing what belongs to it now and then; False: it goes on."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            pause = self.random.expovariate(1 / 0.25) if others else left
            try:
                process.wait(min(pause, left))
                return True
            except subprocess.TimeoutExpired:
                if others and left > pause:
                    self._strike(process.pid)
        return False

    def _strike(self, engine: int) -> None:
        """Kill one of the engine's own processes."""
        found: list[tuple[psutil.Process, bool]] = []
        try:
            for child in psutil.Process(engine).children():
                program = " ".join(child.cmdline())
                if "guardian.py" in program or "process_worker" in program:
                    found.append((child, "guardian.py" in program))
            if not found:
                return
            victim, guarding = self.random.choice(found)
            victim.kill()
        except psutil.Error:
            return  # it was gone before
        self.report.guardians += guarding
        self.report.workers += not guarding
        self.unguarded = self.unguarded or guarding

    def _killed(self, at: float) -> None:
        self.kills -= 1
        self.report.kills += 1
        done = self._recorded()
        self.report.recorded += len(done)
        self.checks.append((set(done), self.oracle.count()))
        for name, generation in self.done.items():
            if done.get(name, 0) < generation:
                self._find(f"{name}, recorded before, is lost after kill {self.report.kills}")
        self.done = done
        # Else resume at once, while the guardian is at work; or there is none.
        if self.random.random() < 0.7 and not self.unguarded:
            self._wait_until_gone(at)

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


def at_every_point(mode: str, seed: int, folder: Path) -> Report:
    """One run, killed at each of the named moments, one after the other."""
    report = Report(mode, seed)
    for name in ("reference", "run"):
        (folder / name).mkdir(parents=True)
    one = Round(report, 1, len(POINTS), folder / "run")
    for point in POINTS:
        one.resume_at(point)
    while not one.over and not report.findings:
        one.over = one.resume_at("")
    one.end(undisturbed(mode, folder / "reference"))
    return report


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
    parser.add_argument("--mode", choices=[*MODES, "all"], default="all")
    parser.add_argument("--round", type=int)
    given = parser.parse_args()
    modes = MODES if given.mode == "all" else [given.mode]
    for mode in modes:
        folder = Path(tempfile.mkdtemp(prefix="flowforge-campaign-"))
        report = run_campaign(mode, -(-given.kills // len(modes)), given.seed, folder, given.round)
        print(report.text(), flush=True)
        if report.findings:
            print(f"what was found is kept in {folder}")
            return 1
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
