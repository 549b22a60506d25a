"""Runs as they are on disk, for looking at: listed, opened, named, asked.

Rule 1: nothing here writes to a run, and none of the user's code is loaded or unpickled.
Rule 2: a run whose journal cannot be read is shown from its snapshot, and that is said.
Rule 3: a run that claims to be live without a live owner is INTERRUPTED, unless it is PAUSED:
        it then waits for somebody to carry it on.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.record import NO_VALUE, RunRecord
from engine.core.states import (
    CACHED,
    CANCELLING,
    FAILED,
    LIVE_RUN,
    RUNNING,
    SKIPPED,
    SUCCESS,
    RunState,
    TaskState,
)
from engine.errors import NewerSchema, RunError, StorageError
from engine.runtime.asking import asked_for
from engine.runtime.control import ANSWER_SECONDS, Caller
from engine.runtime.gauges import Gauges
from engine.runtime.history import History, load_history
from engine.runtime.looking import Show
from engine.runtime.looking import preview as shortly
from engine.runtime.names import Names
from engine.runtime.options import RunOptions
from engine.runtime.origin import foreign, is_mine
from engine.runtime.outline import Outline
from engine.runtime.places import Place, find_place
from engine.runtime.plan import PlanEntry
from engine.runtime.recorder import RESTED
from engine.runtime.replay import Follower
from engine.runtime.settings import settle
from engine.state.blobs import Blobs
from engine.state.home import Home
from engine.state.ownership import Owner, probe
from engine.state.sqlite_store import SqliteStore
from engine.state.store import Row
from engine.worker.clock import now
from engine.worker.codec import ABSENT, BlobRef, Encoded, decode

#: Commands that only look, and the seconds that their answers are waited for.
_LOOKS, LOOK_SECONDS = frozenset({"inputs", "figures", "waits"}), 3.0
#: A result larger than this many bytes is not read for a look at it.
PREVIEW_BYTES = 10_000_000

#: Seconds for which what was written may be followed by a write with the same time.
_FRESH = 2.0

_CLAIMS_AN_OWNER = LIVE_RUN - {RunState.PAUSED}
_UNENDED = LIVE_RUN | {RunState.INTERRUPTED}
UNFINISHED = LIVE_RUN | {RunState.INTERRUPTED, RunState.FAILED}


def state_directory() -> Path:
    """Where runs are kept, by all settings that say so. Raises ConfigError."""
    return settle(RunOptions(), RunOptions()).home


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run as a list shows it. Times in seconds since the epoch, 0.0 if not known."""

    run_id: str
    workflow: str
    state: RunState | None
    """None if it cannot be read."""
    file: str
    created: float
    updated: float
    problem: str
    """Why it cannot be read; empty if it can."""
    took: float = 0.0
    """Seconds that it ran, in all sessions; 0.0 if it has not ended."""


def list_runs(home: Path, last: int | None = None) -> list[RunSummary]:
    """The `last` runs of a state directory, or all, newest first. Raises StorageError."""
    return Listing(home, last).look()


class Listing:
    """The runs of a state directory, listed again and again: only what may have changed is read.

    Reading one costs 0.2 ms; of 500, every two seconds, that was 5 % of a core.
    """

    def __init__(self, home: Path, last: int | None = None) -> None:
        self._home, self._last = Home(home, create=False), last
        self._known: dict[str, tuple[Hashable, RunSummary]] = {}

    def look(self) -> list[RunSummary]:
        """As `list_runs`."""
        known, found = self._known, dict[str, tuple[Hashable, RunSummary]]()
        for run_id in self._home.run_ids()[:self._last]:
            stamp = _stamp(self._home.run_dir(run_id))
            before = known.get(run_id)
            # An owner may go without a word: what claims to have one is asked again.
            if before is None or stamp is None or before[0] != stamp \
                    or before[1].state in _CLAIMS_AN_OWNER:
                e = self._home.entry(run_id)
                before = stamp, _summary(e.run_id, e.path, e.meta, e.problem)
            found[run_id] = before
        self._known = found
        return [summary for _, summary in found.values()]


def _stamp(path: Path) -> Hashable:
    """Differs when what is recorded of a run does; None if it has just been written."""
    parts, newest = [], 0.0
    for name in ("run.db", "run.db-wal"):
        with suppress(OSError):
            found = (path / name).stat()
            if found.st_size:  # whoever looks may leave an empty log
                parts.append((found.st_ino, found.st_size, found.st_mtime_ns))
                newest = max(newest, found.st_mtime)
    # Two writes within a tick of the file system's clock have the same time.
    return None if now() - newest < _FRESH else tuple(parts)


def _summary(run_id: str, path: Path, meta: dict[str, str], problem: str) -> RunSummary:
    state = None if problem else _state(meta.get("state", ""))
    if state in _CLAIMS_AN_OWNER and probe(path) is None:
        state = RunState.INTERRUPTED
    created, updated = _number(meta.get("created")), _number(meta.get("updated"))
    ended = state is not None and state not in _UNENDED and created > 0
    return RunSummary(
        run_id, meta.get("workflow", ""), state, meta.get("file", ""), created, updated, problem,
        max(0.0, updated - created - _number(meta.get(RESTED))) if ended else 0.0,
    )


def _state(word: str) -> RunState:
    try:
        return RunState(word)
    except ValueError:  # nothing is recorded yet
        return RunState.PENDING


def _number(text: str | None) -> float:
    try:
        return float(text or 0.0)
    except ValueError:
        return 0.0


class StoredRun:
    """One run, opened for looking."""

    def __init__(self, home: Path, run_id: str, run_dir: Path, history: History) -> None:
        self.home = home
        self.run_id = run_id
        self.run_dir = run_dir
        self.history = history
        self._named: tuple[Outline | None, RunRecord, Names] | None = None
        self._caller = Caller()

    @property
    def record(self) -> RunRecord:
        """What is known of it; of a run that is followed, so far."""
        return self.history.record

    @property
    def names(self) -> Names:
        """The names of its task runs."""
        outline, record = self.history.outline, self.record
        if self._named is None or self._named[0] is not outline or self._named[1] is not record:
            nodes = outline.names if outline is not None else []
            self._named = (outline, record, Names(nodes, record.expansion))
        return self._named[2]

    @property
    def owner(self) -> Owner | None:
        """The live process that owns it now; None if there is none."""
        return probe(self.run_dir)

    @property
    def state(self) -> RunState:
        """Its state; INTERRUPTED if its owner is gone."""
        state = self.record.run_state
        gone = state in _CLAIMS_AN_OWNER and self.owner is None
        return RunState.INTERRUPTED if gone else state

    @property
    def about(self) -> dict[str, Any]:
        """What it was started with."""
        return self.history.about

    @property
    def mine(self) -> bool:
        """False for a run that somebody else wrote: it can only be looked at."""
        return is_mine(self.run_id, self.about)

    def check_mine(self) -> None:
        """Raise ForeignRun if somebody else wrote the run, or what it was started with."""
        if not self.mine:
            raise foreign(self.run_id)

    @property
    def logs(self) -> Path:
        """Where its tasks' output is."""
        return self.run_dir / "logs"

    def parameters(self, *, trusted: bool) -> dict[str, Any]:
        """The workflow's parameters; untrusted, objects are placeholders. Raises CodecError."""
        data = self.about.get("parameters")
        found: dict[str, Any] = decode(data, trusted=trusted) if data else {}
        return found

    # -- its task runs ------------------------------------------------------------------------

    def find(self, name: str) -> Sequence[int]:
        """The ids that a name means, of a map its items. Raises RunError."""
        return [t for tid in self.names.find(name) for t in self.items(tid)]

    def items(self, tid: int) -> Sequence[int]:
        """The task runs that an id stands for: of an expanded map, its items."""
        spread = self.record.expansion(tid) if tid < self.record.size else None
        return (tid,) if spread is None else range(spread[0], spread[0] + spread[1])

    def name_of(self, tid: int) -> str:
        """The name of a task run."""
        return self.names.of(tid, self.record.node_of(tid))

    def state_word(self, tid: int) -> str:
        """The state of a task run; INTERRUPTED if it was running when the owner went."""
        state = self.record.state_of(tid)
        cut_short = state in (RUNNING, CANCELLING) and self.owner is None
        return "INTERRUPTED" if cut_short else state.name

    def failed(self) -> list[int]:
        """Ids of the task runs that are FAILED, in order."""
        return [t for t in self.record.live_ids() if self.record.state[t] == FAILED]

    def sections(self) -> list[tuple[str, dict[TaskState, int]]]:
        """(name, state → number) of each task's calls in one nested workflow, in order."""
        outline, found = self.history.outline, dict[str, list[int]]()
        if outline is None:
            return []
        for k in range(outline.size):
            group, name = outline.groups[outline.group_of[k]], outline.spec(k).name
            found.setdefault(f"{group}/{name}" if group else name, []).extend(self.items(k))
        state = self.record.state
        sums: list[tuple[str, dict[TaskState, int]]] = []
        for name, tids in found.items():
            states = bytes(state[t] for t in tids)
            sums.append((name, {s: n for s in TaskState if (n := states.count(s))}))
        return sums

    def neighbours(self, tid: int) -> tuple[list[str], list[str]]:
        """(names of the nodes above, of the nodes below) a task run's node."""
        outline, k = self.history.outline, self.record.node_of(tid)
        if outline is None:
            return [], []
        above = [outline.names[u] for u in outline.upstream_of(k)]
        below = [outline.names[c] for c in range(outline.size) if k in outline.upstream_of(c)]
        return above, below

    def place(self, tid: int) -> Place | None:
        """Where its function is now; None for a command, or where that is not known."""
        outline = self.history.outline
        if outline is None:
            return None
        spec = outline.spec(self.record.node_of(tid))
        return find_place(spec.file, spec.line, spec.function)

    def preview(self, tid: int, show: Show = shortly) -> str:
        """A result as `show(value)` tells it, or why it cannot be shown; empty if there is none."""
        if self.record.values[tid] is NO_VALUE:
            return ""
        try:
            return show(self._value(tid))
        except StorageError as error:
            return f"({error})"

    def _value(self, tid: int) -> object:
        """A result, its objects as placeholders. Raises StorageError where it cannot be had."""
        value = self.record.values[tid]
        if value is ABSENT:
            raise StorageError("not kept: persist=False")
        if type(value) is BlobRef:
            if value.size > PREVIEW_BYTES:
                raise StorageError(f"{value.size:,} bytes, in blobs/{value.digest}")
            value = Encoded(Blobs(self.run_dir / "blobs").get(value))
        try:
            return decode(value, trusted=False) if type(value) is Encoded else value
        except StorageError as error:
            raise StorageError(f"cannot be shown: {error}") from None

    def inputs(self, tid: int, show: Show = shortly) -> dict[str, str]:
        """What a task run reads → as shown.

        By parameter, if the run is live: its owner is asked. Otherwise by the task runs that it
        reads from: what else a call was given is in the code alone.
        """
        if self.owner is not None:
            with suppress(RunError):  # it has just ended
                found: dict[str, str] = self.answer("inputs", (self.name_of(tid),))["inputs"]
                return found
        return {name: self._shown(above, item, show) for name, above, item in self._reads(tid)}

    def _reads(self, tid: int) -> Iterator[tuple[str, int, int]]:
        """(name, task run, which part of its result or -1) of all that a task run reads."""
        outline, record = self.history.outline, self.record
        if outline is None:
            return
        k = record.node_of(tid)
        mapped, spread = outline.maps.get(k), record.expansion(k)
        index = tid - spread[0] if spread is not None and tid != k else -1
        for u in outline.upstream_of(k)[:outline.needs[k]]:
            above = record.expansion(u)
            if index < 0 or mapped is None or u in mapped.fixed:
                yield outline.names[u], u, -1
            elif u in mapped.sources and above is not None:
                yield self.name_of(above[0] + index), above[0] + index, -1
            else:
                yield f"{outline.names[u]}[{index}]", u, index

    def _shown(self, above: int, item: int, show: Show) -> str:
        try:
            value: Any = self._whole(above)
            return show(value if item < 0 else value[item])
        except StorageError as error:
            return f"({error})"
        except (TypeError, LookupError):
            return show(value)

    def _whole(self, tid: int) -> object:
        """A result; of an expanded map, the list of its items' results."""
        items = self.items(tid)
        if items == (tid,):
            if self.record.values[tid] is NO_VALUE:
                raise StorageError(f"no result: it is {self.state_word(tid)}")
            return self._value(tid)
        return [self._value(t) if self.record.values[t] is not NO_VALUE else None for t in items]

    # -- commands ------------------------------------------------------------------------------

    def ask(self, command: str, tasks: Sequence[str] = (), **more: Any) -> str:
        """Have the live owner do something; returns its answer. Raises RunError if it refuses.

        `more`: what else the command takes, as plain data.
        """
        return str(self.answer(command, tasks, **more).get("message", ""))

    def answer(self, command: str, tasks: Sequence[str] = (), **more: Any) -> dict[str, Any]:
        """The same; all that it answers."""
        if self.owner is None:
            raise RunError(
                f"run {self.run_id} is {self.state} and nothing runs it; {command} is for a "
                "live run"
            )
        socket = Home(self.home, create=False).socket_path(self.run_id)
        seconds = LOOK_SECONDS if command in _LOOKS else ANSWER_SECONDS
        answer = self._caller.ask(
            socket, {"command": command, "tasks": list(tasks), **more}, seconds)
        if not answer.get("ok"):
            raise RunError(str(answer.get("message", "refused without a reason")))
        return answer

    def hang_up(self) -> None:
        """Let go whoever waits for the owner's answer, on another thread: it gets RunError."""
        self._caller.hang_up()

    def gauges(self) -> Gauges | None:
        """What its live owner's workers do now; None if nothing runs it."""
        if self.owner is None:
            return None
        try:
            return Gauges.from_data(self.answer("figures")["figures"])
        except RunError:  # it has just ended
            return None

    def waits_for(self, tid: int) -> str:
        """What a QUEUED task run waits for, as the live owner says; empty for any other."""
        if self.record.state_of(tid) is not TaskState.QUEUED or self.owner is None:
            return ""
        try:
            return self.ask("waits", (self.name_of(tid),))
        except RunError:  # it has just ended
            return ""

    def check_retry(self) -> None:
        """Raise RunError if a retry of everything that did not end well would run nothing."""
        state = self.record.state
        if all(state[t] in (SUCCESS, CACHED, SKIPPED) for t in self.record.live_ids()):
            raise RunError(f"nothing to retry: run {self.run_id} is {self.state} and no task of "
                           "it failed; `rerun RUN TASK` runs what succeeded again")

    def would_run(self, command: str, tasks: Sequence[str]) -> list[PlanEntry]:
        """The task runs that a command by name would run again. Raises RunError."""
        if self.history.outline is None:
            raise RunError(f"run {self.run_id} has no recorded workflow yet")
        named = list(tasks) or [self.name_of(t) for t in self.failed()]
        found = asked_for(self.history.outline, self.record, command, named)
        return [PlanEntry(self.name_of(t), "run", why) for t, why in sorted(found.items())]


def open_stored(home: Path, name: str) -> StoredRun:
    """Open a run for looking: its id, a unique prefix, or `latest`.

    Raises RunNotFound, StorageError.
    """
    place = Home(home, create=False)
    run_id = place.find(name)
    run_dir = place.run_dir(run_id)
    return StoredRun(home, run_id, run_dir, _read(run_dir))


def follow_stored(home: Path, name: str) -> tuple[StoredRun, Follower]:
    """Open a run for looking that grows as its follower is polled; empty until then.

    Raises RunNotFound.
    """
    place = Home(home, create=False)
    run_id = place.find(name)
    run_dir = place.run_dir(run_id)
    follower = Follower(run_dir)
    return StoredRun(home, run_id, run_dir, follower.history), follower


def unfinished_run(home: Path) -> str:
    """The newest run that can be carried on. Raises RunError."""
    for run in list_runs(home):
        if run.state in UNFINISHED and (run.state is not RunState.FAILED or run.file):
            return run.run_id
    raise RunError(f"no run in {home} is unfinished; `flowforge runs` lists them")


def _read(run_dir: Path) -> History:
    try:
        reader = SqliteStore.read(run_dir / "run.db")
    except NewerSchema:
        raise
    except StorageError as error:
        history = load_history(run_dir, _no_rows, {})
        if history.outline is None:
            raise
        history.damage.append(f"the journal cannot be read ({error}); this is the last snapshot")
        return history
    try:
        history = load_history(run_dir, reader.rows, reader.meta())
        reader.check_end()
        history.damage += [d for d in reader.damage if d not in history.damage]
    finally:
        reader.close()
    return history


def _no_rows(after: int) -> list[Row]:
    return []
