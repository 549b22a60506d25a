"""Which run a `.run()` is: a new one, or the last one carried on; and its files, opened.

Rule 1: ownership first. Nothing of a run is read to decide, nor written, before its lock is
        held; two processes can therefore never both go on with it.
Rule 2: the same file, workflow and parameters are the same run until it ended well.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from engine.core.states import RunState
from engine.errors import RunError, RunNotFound, UnserialisableError
from engine.runtime.history import History, load_history
from engine.runtime.origin import check_mine
from engine.runtime.settings import Settings
from engine.state.blobs import Blobs
from engine.state.home import Home, new_run_id
from engine.state.ownership import Ownership, take_over
from engine.state.sqlite_store import SqliteStore
from engine.state.store import MemoryStore, Store
from engine.worker.clock import now
from engine.worker.codec import encode
from engine.worker.secrets import hiding, refuse

#: A run in one of these states is carried on when the same script is started again.
UNFINISHED = frozenset({
    RunState.PENDING, RunState.RUNNING, RunState.PAUSED, RunState.CANCELLING,
    RunState.FAILED, RunState.INTERRUPTED,
})


@dataclass(slots=True)
class About:
    """What makes a run the run of something."""

    workflow: str
    file: str | None
    form: str
    parameters: Mapping[str, Any]

    def encoded(self) -> bytes:
        """The parameters as stored. Raises UnserialisableError, also for a secret's value."""
        data = encode(dict(self.parameters), "parameters")
        if hiding():
            refuse(data, "parameters")
        return data

    def identity(self) -> str:
        """Names all runs of the same file, workflow and parameters."""
        where = os.path.realpath(self.file) if self.file else ""
        try:
            parameters = encode(sorted(self.parameters.items()))
        except UnserialisableError:
            parameters = repr(sorted(self.parameters)).encode()
        text = f"{where}\0{self.workflow}\0".encode("utf-8", "surrogatepass")
        return blake2b(text + parameters, digest_size=16).hexdigest()


@dataclass(slots=True)
class Opened:
    """A run, ready to be written to."""

    run_id: str
    store: Store
    history: History
    blobs: Blobs | None = None
    run_dir: Path | None = None
    ownership: Ownership | None = None
    socket: Path | None = None
    resumed: bool = False
    sync: bool = False
    """True if files beside the journal must be synced to disk too."""
    notes: list[str] = field(default_factory=list)
    """What to tell the user about the state that was found."""

    def close(self) -> None:
        """Close the files, then let go of the run."""
        self.store.close()
        if self.ownership is not None:
            self.ownership.release()


def open_run(
    about: About,
    settings: Settings,
    run_id: str | None,
    *,
    force: bool,
    check_new: Callable[[], object],
) -> Opened:
    """Find or make the run and take it over; `check_new` may refuse a new one by raising.

    Raises RunOwned, RunNotFound, ForeignRun, StorageError.
    """
    if settings.durability == "none":
        check_new()
        return Opened(new_run_id(), MemoryStore(), History())
    home = Home(settings.home)
    identity = about.identity()
    if run_id is not None:
        return _carry_on(home, home.find(run_id), settings, force=force)
    last = home.last_run(identity) if settings.resume else None
    if last is not None and _unfinished(home, last):
        return _carry_on(home, last, settings, force=force)
    if settings.insist:
        raise RunError(f"there is no unfinished run of {about.workflow!r} with these parameters "
                       "to resume; leave --resume out to start one")
    check_new()
    return _begin(home, about, identity, settings)


def _unfinished(home: Home, run_id: str) -> bool:
    try:
        entry = home.entry(run_id)
    except RunNotFound:
        return False
    if entry.problem:
        return (entry.path / "run.db").exists()  # damaged: opening it says how, and salvages
    return entry.meta.get("state", "") in {str(s) for s in UNFINISHED}


def _begin(home: Home, about: About, identity: str, settings: Settings) -> Opened:
    run_id = home.new_run_id()
    run_dir = home.run_dir(run_id)
    socket = home.socket_path(run_id)
    ownership = Ownership.acquire(run_dir, socket=str(socket))
    store = SqliteStore.create(run_dir / "run.db", settings.durability, ownership.epoch)
    opened = Opened(run_id, store, History(), Blobs(run_dir / "blobs"), run_dir, ownership,
                    socket, sync=settings.durability == "full", notes=_doubts(home))
    home.set_last_run(identity, run_id)
    return opened


def _doubts(home: Home) -> list[str]:
    kind = home.network_filesystem()
    if kind is None:
        return []
    return [f"{home.path} is on a network filesystem ({kind}), where locks may not hold and "
            "SQLite's log does not work between machines; set "
            "FLOWFORGE_HOME to a local directory"]


def _carry_on(home: Home, run_id: str, settings: Settings, *, force: bool) -> Opened:
    run_dir = home.check_run_dir(run_id)
    check_mine(run_dir)
    socket = home.socket_path(run_id)
    ownership = take_over(run_dir, force=force, grace=settings.grace, socket=str(socket))
    try:
        store = SqliteStore.open(run_dir / "run.db", settings.durability, ownership.epoch)
        history = load_history(run_dir, store.rows, store.meta())
        store.skip_to(history.seq)
    except BaseException:
        ownership.release()
        raise
    opened = Opened(run_id, store, history, Blobs(run_dir / "blobs"), run_dir, ownership, socket,
                    resumed=True, sync=settings.durability == "full", notes=_doubts(home))
    for damage in [*store.damage, *history.damage]:
        opened.notes.append(f"damage found: {damage}; what it held runs again "
                            "unless the second copy has it")
    return opened


def session_entry() -> dict[str, Any]:
    """Who opens the run now."""
    return {"pid": os.getpid(), "host": platform.node(), "began": now()}
