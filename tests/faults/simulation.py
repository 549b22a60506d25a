"""A deterministic simulation of whole runs: the real launch, plan, machine, runner and journal, on
a fake clock, in one thread, with workers that do as a seeded die says.

`python -m tests.faults.simulation --seeds 2000` tries seeds one after the other; one that breaks
a promise prints itself and its story, and `--seed N` replays it alone.

Rule 1: every choice comes from the seed; nothing waits, and nothing is asked of the system but,
        for one seed in SQLITE_EVERY, a real run.db.
Rule 2: faults come while `chaos` lasts; then the run must end, and everything that can succeed
        must have. What was promised on the way is checked by `sim_book`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from engine.core.events import Attempt, Change, ErrorInfo
from engine.core.states import CANCELLED, QUEUED, FailureReason, RunState
from engine.core.tasks import TaskSpec
from engine.errors import FlowForgeError, RunError, StorageError
from engine.executors.base import Why
from engine.runtime import entering, restoring
from engine.runtime import launch as launching
from engine.runtime import opening as openings
from engine.runtime import recorder as recording
from engine.runtime import runner as running
from engine.runtime.lanes import lanes_of
from engine.runtime.launch import Launch
from engine.runtime.opening import About, Opened
from engine.runtime.options import RunOptions
from engine.runtime.outline import Outline
from engine.runtime.reporting import Silent
from engine.runtime.request import Request
from engine.runtime.runner import Runner
from engine.runtime.settings import Settings, settle
from engine.worker.call import report_timeout
from engine.worker.codec import ABSENT, from_stored, to_stored
from tests.faults.sim_book import Book, Broken, hopeless
from tests.faults.sim_disk import (
    Crash,
    Disk,
    FaultyStore,
    MemoryDisk,
    SqliteDisk,
    history_of,
    snapshot_of,
)
from tests.faults.sim_flow import random_flow

#: Steps of the world with faults, at most, and until a run must have ended without any.
CHAOS, PATIENCE = 120, 5_000
SESSIONS = 12
SQLITE_EVERY = 20
WORKERS = 3

#: Chances of each fault, at each opportunity for it.
CHANCES = {
    "crash": 0.01, "crash before commit": 0.01, "crash after commit": 0.01,
    "commit error": 0.006, "written all the same": 0.5, "full": 0.02, "crash while full": 0.02,
    "failure": 0.08, "death": 0.02, "hung": 0.02, "late": 0.05, "given back": 0.1,
    "snapshot": 0.01, "command": 0.04, "drain": 0.005, "suspended": 0.005,
    "edit": 0.2, "damage": 0.05, "clock set": 0.3,
}


class Idle(BaseException):
    """A worker would wait for work now."""


class _NoWait:
    """Stands for a condition that workers wait at."""

    def wait(self, timeout: float | None = None) -> None:
        raise Idle

    def notify(self, n: int = 1) -> None:
        """They come by themselves."""

    notify_all = notify


class Worker:
    """What one worker has in its hands."""

    def __init__(self) -> None:
        self.batch: list[Attempt] = []
        self.current: Attempt | None = None
        self.args: Sequence[Any] = ()
        self.done: list[Attempt] = []
        self.told: tuple[Attempt, Why] | None = None
        self.hung = False


class Executor:
    """Workers of one lane, moved by the world. Implements the engine's `Executor`."""

    def __init__(self, lane: str, world: World) -> None:
        self.lane = lane
        self.world = world
        self.crew = [Worker() for _ in range(WORKERS)]

    @property
    def workers(self) -> int:
        return len(self.crew)

    def start(self, hub: Any, workers: int, grace: float) -> None:
        """They are there."""

    def resize(self, workers: int) -> None:
        """They stay as many as they are."""

    def in_hand(self) -> list[Attempt]:
        return [w.current for w in self.crew if w.current is not None]

    def stop(self, attempt: Attempt, why: Why) -> None:
        attempt.cancelled = True
        for w in self.crew:
            if w.current is attempt:
                w.told = w.told or (attempt, why)
            elif attempt in w.batch:
                w.batch.remove(attempt)
                attempt.stop(CANCELLED, "cancelled before it started")
                self.world.runner.post([attempt])

    def rebalance(self) -> None:
        for w in self.crew:
            if w.current is not None and w.batch and self.world.chance("given back"):
                back, w.batch = w.batch, []
                for a in back:
                    a.stop(QUEUED)
                self.world.runner.post(back)

    def pids(self) -> list[int]:
        return []

    def close(self) -> None:
        """They are gone with the session."""


class World:
    """One seed's run, from its first session to its end."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = Random(seed)
        self.now = 1_000_000.0
        self.flow = random_flow(self.rng)
        self.book = Book(self.flow)
        self.disk: Disk = (SqliteDisk(folder) if seed % SQLITE_EVERY == 0 else MemoryDisk())
        self.snapshot: tuple[int, bytes] | None = None
        self.chaos = True
        self.story: list[str] = []
        self.faults: Counter[str] = Counter()
        self.stale: list[Attempt] = []
        """Attempts of this session that have ended, for late echoes."""
        self.sessions = 0
        self.asks: tuple[str, tuple[str, ...]] | None = None
        """A command for the next session."""
        self.on_failure = self.rng.choice(["continue", "continue", "stop"])
        self.runner: Runner
        self.launch: Launch
        self.store: FaultyStore
        self.executors: dict[str, Executor]

    def chance(self, fault: str) -> bool:
        """Whether a fault is to come now."""
        if not self.chaos or self.rng.random() >= CHANCES[fault]:
            return False
        self.faults[fault] += 1
        if fault not in ("failure", "given back", "late"):
            self.tell(fault)
        return True

    def tell(self, what: str) -> None:
        self.story.append(f"{self.now - 1_000_000:10.2f} {what}")

    def clock(self) -> float:
        return self.now

    # -- from session to session ------------------------------------------------------------------

    def live(self) -> None:
        """Run to the end. Raises Broken, or whatever a fault of the engine raises."""
        left = CHAOS
        while left > 0 and self.sessions < SESSIONS:
            left -= self.session(left)
        self.chaos = False
        for _ in range(4):
            self.session(PATIENCE)
            if self.launch.machine.run_state is RunState.SUCCESS:
                return
        self.judge_end()

    def judge_end(self) -> None:
        record = history_of(self.disk.open(), self.snapshot).record
        state = self.launch.machine.run_state
        if state is not RunState.FAILED or not hopeless(record):
            raise Broken(f"without any fault the run ends {state}: {self.states()}")

    def session(self, steps: int) -> int:
        """One session, to its end, its crash, or until the steps are used up; returns their number.
        """
        self.sessions += 1
        if not self.open():
            return 1
        try:
            return self.drive(steps)
        except Crash:
            self.tell("the engine is dead")
            self.disk.crashed()
            return 1
        finally:
            self.faults["sessions"] += 1

    def open(self) -> bool:
        """Take the run over; False if it came to nothing."""
        if self.sessions > 1:
            self.between_sessions()
        self.stale.clear()
        store = self.disk.open()
        history = history_of(store, self.snapshot)
        if history.outline is not None:
            self.book.reopen(history.record, history.outline.names)
        self.store = FaultyStore(store, self.chance)
        store.skip_to(history.seq)
        resumed = history.outline is not None
        before = history_of(store, self.snapshot).record
        command, tasks = self.asks or ("resume", ())
        self.asks = None
        if not resumed:
            command, tasks = "run", ()
        request = Request(command=command, tasks=tasks)  # type: ignore[arg-type]
        if command in ("retry", "rerun"):
            self.book.asked({t.partition("[")[0] for t in tasks}
                            or {s.name for s in self.flow.steps})
            if command == "retry":  # which counts for what was interrupted, too
                self.book.spent.clear()
        graph = self.flow.graph()
        settings = replace(SETTINGS, on_failure=self.on_failure)
        self.tell(f"session {self.sessions}: {command} {' '.join(tasks)}")
        try:
            self.launch = Launch(
                graph, lanes_of(graph, settings), Outline.of(graph, fingerprints=_fingerprint),
                About("simulated", None, "function", {}), settings,
                Opened("a-run", self.store, history, resumed=resumed), request, [])
        except Crash:
            self.tell("the engine is dead")
            self.disk.crashed()
            return False
        except (RunError, StorageError) as error:
            self.tell(f"no session: {error}")
            self.disk.crashed()
            return False
        self.take_hold()
        self.book.resumed(
            history.record, [n.name for n in graph.nodes], self.launch.machine.state, before,
            self.launch.carryover._previous)
        return True

    def between_sessions(self) -> None:
        if self.chance("clock set"):
            self.now += self.rng.choice([-3600.0, 86400.0])
        if self.chance("edit"):
            changed = self.flow.edit(self.rng)
            self.book.edited |= changed
            self.book.excused |= changed
            self.book.spent = {key for key in self.book.spent if key[0] not in changed}
        if isinstance(self.disk, MemoryDisk) and self.chance("damage"):
            last = max((row.seq for row in self.disk._store.rows()), default=0)
            if last:
                self.disk.lost.add(self.rng.randint(1, last))
                self.book.anything_goes = True

    def take_hold(self) -> None:
        """Put the world's parts in the place of those that wait or have threads."""
        self.runner = runner = self.launch.runner
        runner._work = dict.fromkeys(self.executors, _NoWait())  # type: ignore[arg-type]
        runner._recorder._closed = _Closed(self)  # type: ignore[assignment]
        runner._recorder._publish = self.hear
        # As of a run with files: what a damaged row held is in the snapshot, if there is one.
        self.launch.values._reload = lambda: history_of(
            self.store._store, self.snapshot).record.values

    def hear(self, changes: Sequence[Change]) -> None:
        self.book.published(changes)

    def states(self) -> dict[str, str]:
        record = history_of(self.disk.open(), self.snapshot).record
        names = self.launch.names
        return {names.of(t, record.node_of(t)): record.state_of(t).name
                for t in record.live_ids()}

    # -- one session ------------------------------------------------------------------------------

    def drive(self, steps: int) -> int:
        runner = self.runner
        try:
            runner.command(lambda machine, at: machine.start(at))
        except StorageError as error:
            self.tell(f"stopped: {error}")
        for step in range(steps):
            if runner._closing:
                if runner.broken is not None and not isinstance(runner.broken, StorageError):
                    raise runner.broken
                self.ended()
                return step + 1
            self.now += self.rng.expovariate(20.0)
            try:
                self.step()
            except StorageError as error:
                runner._fail(error)  # as its own threads do
        if not self.chaos:
            raise Broken(f"it does not end: {self.states()}")
        self.disk.crashed()
        return steps

    def step(self) -> None:
        """Something happens."""
        if self.chance("crash"):
            raise Crash
        if self.chance("suspended"):
            self.now += 30.0
            self.runner._slept(30.0)
        if self.chance("snapshot"):
            self.snapshot = snapshot_of(self.store._store, self.snapshot)
        if self.chance("command"):
            self.command()
        if self.chance("drain"):
            self.ask(lambda: self.launch._drain(stop_running=self.rng.random() < 0.5))
        if self.rng.random() < 0.15:
            self.runner._tick()
        executor = self.executors[self.rng.choice(list(self.executors))]
        self.work(executor, self.rng.choice(executor.crew))
        if not any(w.current or w.batch or w.done for e in self.executors.values()
                   for w in e.crew) and not self.chaos:
            self.launch.machine.unpause(self.now)
            self.launch.machine.unpause_nodes(range(self.launch.graph.size))
            self.now += 1.0
            self.runner._tick()

    def ended(self) -> None:
        state = self.launch.machine.run_state
        self.tell(f"the run is {state}")
        self.disk.crashed()
        if self.chaos and state in (RunState.SUCCESS, RunState.FAILED, RunState.CANCELLED):
            kind = self.rng.choice(["resume", "retry", "rerun"])
            some = self.rng.choice(self.flow.steps).name
            self.asks = (kind, (some,) if kind == "rerun" else ())

    def command(self) -> None:
        """A person does something."""
        name = self.rng.choice([
            "cancel", "pause", "unpause", "unpause", "retry", "rerun", "rerun"])
        step = self.rng.choice(self.flow.steps)
        tasks = [step.name] if self.rng.random() < 0.9 else []
        if tasks and step.over is not None and self.rng.random() < 0.5:
            tasks = [f"{step.name}[{self.rng.randrange(4)}]"]
        self.tell(f"{name} {' '.join(tasks)}")
        if name in ("retry", "rerun"):
            self.book.asked([step.name] if tasks else [s.name for s in self.flow.steps])
        self.ask(lambda: getattr(self.launch.commands, name)(tasks))

    def ask(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except (RunError, StorageError) as error:
            self.tell(f"  refused: {error}")

    # -- workers ----------------------------------------------------------------------------------

    def work(self, executor: Executor, w: Worker) -> None:
        if w.current is not None:
            if self.chance("death"):
                self.die(w)
            elif w.hung:
                self.end_hung(w)
            else:
                self.end(executor, w)
        elif w.batch:
            self.begin(executor, w, w.batch.pop(0))
        else:
            finished, w.done = w.done, []
            try:
                w.batch = self.runner._exchange(executor.lane, finished) or []
            except Idle:
                self.runner._idle[executor.lane] -= 1

    def begin(self, executor: Executor, w: Worker, a: Attempt) -> None:
        try:
            if executor.lane == "process":
                w.args = [_unpacked(x) for x in self.runner.stored_arguments(a)[0]]
            else:
                w.args = self.runner.arguments(a)[0]
        except Exception:
            if not a.cancelled:  # else what it reads is gone, and nothing comes of it
                raise
        if a.cancelled:
            a.start = a.end = self.now
            a.stop(CANCELLED, "cancelled before it started")
            w.done.append(a)
            return
        a.start = self.now
        w.current, w.told, w.hung = a, None, self.chance("hung")
        self.book.begin(a, w.args)

    def end(self, executor: Executor, w: Worker) -> None:
        a = w.current
        assert a is not None
        a.end = self.now
        told = w.told
        if told is not None and told[1] == "timeout":
            report_timeout(a)
        elif told is not None and self.rng.random() < 0.8:
            a.stop(CANCELLED, "cancelled while running")
        elif self.chance("failure"):
            a.fail(ErrorInfo("ValueError", "bad"))
        else:
            step = self.flow[a.node.name]
            value = step.value(w.args)
            stored = to_stored(value)
            live = stored if executor.lane == "process" else value
            a.succeed(live, stored if step.persist else ABSENT)
        self.put_down(w, a)

    def put_down(self, w: Worker, a: Attempt) -> None:
        w.current = w.told = None
        w.done.append(a)
        self.stale.append(a)
        if self.rng.random() < 0.3:
            done, w.done = w.done, []
            self.runner.post(done)
        if self.chance("late"):
            self.echo(self.rng.choice(self.stale))

    def echo(self, old: Attempt) -> None:
        """An outcome that comes a second time, or after its attempt was given up."""
        late = Attempt(old.tid, old.node, old.index, old.number, old.generation, old.timeout)
        late.start = late.end = self.now
        late.succeed("late", "late")
        self.runner.post([late])

    def end_hung(self, w: Worker) -> None:
        """It ends only when it is told to; then it is given up, with what was behind it."""
        if w.told is None:
            if w.current is not None and w.current.timeout is None and self.rng.random() < 0.1:
                w.hung = False
            elif not self.chaos:
                w.hung = False
            self.now += 1.0
            return
        a = w.current
        assert a is not None
        a.end = self.now
        if w.told[1] == "timeout":
            report_timeout(a)
        else:
            a.stop(CANCELLED, "was given up")
        w.hung = False
        self.put_down(w, a)

    def die(self, w: Worker) -> None:
        """The worker is gone: one attempt is blamed; what was not reported goes back."""
        a = w.current
        assert a is not None
        a.end = self.now
        if w.told is not None and w.told[1] == "cancel":
            a.stop(CANCELLED, "its worker was killed")
        elif w.told is not None:
            report_timeout(a)
        else:
            a.fail(ErrorInfo("WorkerCrashed", "killed"), FailureReason.CRASHED)
        back = [x for x in (*w.batch, *w.done) if not self.flow[x.node.name].once or x in w.batch]
        kept = [x for x in w.done if x not in back]
        for x in back:
            x.stop(QUEUED)
        w.current = w.told = None
        w.batch, w.done = [], []
        self.runner.post([*kept, *back, a])


class _Closed(threading.Event):
    """At which a worker waits while the disk is full."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def wait(self, timeout: float | None = None) -> bool:
        self._world.now += timeout or 0.0
        if self._world.chance("crash while full"):
            raise Crash
        return self.is_set()


def _unpacked(value: Any) -> Any:
    return [_unpacked(v) for v in value] if isinstance(value, list) else from_stored(value)


def _fingerprint(spec: TaskSpec) -> dict[str, str]:
    return {"code": f"{spec.name} {spec.options.version}"}


SETTINGS: Settings = settle(
    RunOptions(executor="thread", workers=WORKERS, limits={"gpu": 2}, durability="full",
               home="/nowhere", output="silent"), RunOptions())


@contextmanager
def _patched(world: World) -> Iterator[None]:
    """The world's clock, die and workers in the place of the engine's."""
    places: list[tuple[Any, str, Any]] = [
        (module, "now", world.clock)
        for module in (launching, entering, restoring, openings, recording, running)]

    def make(lanes: Sequence[str], guardian: object) -> dict[str, Executor]:
        world.executors = {lane: Executor(lane, world) for lane in dict.fromkeys(lanes)}
        return world.executors

    places += [
        (launching, "random", world.rng.random), (launching, "make_executors", make),
        (launching, "_guardian", lambda *_: None), (launching, "_reporter", lambda *_: Silent()),
    ]
    old = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    try:
        for owner, name, new in places:
            setattr(owner, name, new)
        yield
    finally:
        for owner, name, was in old:
            setattr(owner, name, was)


def simulate(seed: int, folder: Path) -> tuple[World, str]:
    """Live through a seed; returns its world, and what was broken in it, if anything was."""
    world = World(seed, folder / str(seed))
    with _patched(world):
        try:
            world.live()
        except (AssertionError, FlowForgeError, Exception) as error:
            found = "".join(traceback.format_exception(error)[-4:])
            return world, f"{type(error).__name__}: {error}\n{found}"
        finally:
            shutil.rmtree(folder / str(seed), ignore_errors=True)
    return world, ""


def simulate_many(seeds: Sequence[int], folder: Path) -> tuple[Counter[str], int | None, str]:
    """Live through seeds until one breaks a promise: (faults, that seed, what it found)."""
    faults: Counter[str] = Counter()
    for seed in seeds:
        world, found = simulate(seed, folder)
        faults += world.faults
        faults["attempts"] += world.book.begun
        if found:
            return faults, seed, f"{_told(world)}\n{found}"
    return faults, None, ""


def _told(world: World) -> str:
    return "\n".join([*(repr(s) for s in world.flow.steps), *world.story[-60:]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this one alone, with its story")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.seeds) if given.seed is None else [given.seed]
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="flowforge-simulation-", dir=place))
    begun = time.monotonic()
    try:
        faults, broken, found = simulate_many(seeds, folder)
    finally:
        shutil.rmtree(folder)
    seconds = time.monotonic() - begun
    tried = len(seeds) if broken is None else list(seeds).index(broken) + 1
    print(f"{tried} seeds in {seconds:.1f} s ({60 * tried / seconds:.0f} a minute): "
          f"{', '.join(f'{n} × {name}' for name, n in faults.most_common())}")
    if broken is None:
        print("verdict: good")
        return 0
    print(f"{found}\nseed {broken} breaks a promise; replay: "
          f"python -m tests.faults.simulation --seed {broken}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
