"""Named moments at which the engine can be made to die: `FLOWFORGE_TEST_CRASH=committed:3`.

Rule 1: the third time that the engine comes by, it kills itself with SIGKILL, in mid-step.
Rule 2: the engine knows nothing of this. The points are put around its functions from here, by
        a program under test that calls `arm()`; a run that nobody tests pays nothing.
Rule 3: a point whose function is gone is an error, not a point that never fires.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIABLE = "FLOWFORGE_TEST_CRASH"
#: Seconds between snapshots while points are armed, for the run is a matter of seconds.
SNAPSHOT_EVERY = 0.05

#: Name → when that is; in an order in which one run can be killed at each.
POINTS: dict[str, str] = {
    "run-locked": "a new or old run's lock is held, nothing of it is read yet",
    "run-created": "run.db is there, and empty; `last` does not name the run yet",
    "epoch-claimed": "a takeover has counted up the epoch",
    "session-in-transaction": "the session's row is written, its meta words are not",
    "session-recorded": "that the run goes on is recorded; nothing was restored from the plan",
    "journal-opened": "an old run's journal is open, the history is not read",
    "strays-swept": "what an old owner left is ended, the guardian is up, nothing has started",
    "taken": "attempts are dispatched, the change that says so is not recorded",
    "packed": "changes are packed, and not written",
    "in-transaction": "a row is written and its transaction is open",
    "committed": "a row is on disk, nobody knows yet",
    "handed-out": "a worker has its batch, and has not begun it",
    "expanded": "a map has its items, unrecorded",
    "blob-half": "half of a large result is in its draft",
    "blob-drafted": "a large result's draft is whole, and not renamed",
    "blob-renamed": "a large result is in place, the success that names it is not recorded",
    "snapshot-half": "half of a snapshot is in its draft",
    "snapshot-drafted": "a snapshot's draft is whole, and not renamed",
    "snapshot-renamed": "a new snapshot is in place",
    "ended": "the run's end is recorded, its last snapshot is not written",
    "sealing": "the journal is about to be marked as whole",
    "sealed": "it is marked, and not closed",
    "released": "the lock's file says that nobody owns the run",
}


class _Fuse:
    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.left = count
        self.lock = threading.Lock()

    def passing(self, name: str) -> None:
        if name != self.name:
            return
        with self.lock:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
                threading.Event().wait()  # until it comes


def arm() -> None:
    """Do as the environment says; nothing if it says nothing."""
    text = os.environ.pop(VARIABLE, "")  # not for the processes that this one starts
    if not text:
        return
    name, _, count = text.partition(":")
    if name not in POINTS:
        raise SystemExit(f"there is no crash point {name!r}; there are {', '.join(POINTS)}")
    _place(_Fuse(name, int(count or 1)).passing)


def _after(owner: Any, attribute: str, act: Callable[..., None]) -> None:
    """Call `act(result, *arguments)` after a function, in its place."""
    real = getattr(owner, attribute)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        act(result, *args)
        return result

    plain = isinstance(owner, type) and isinstance(
        vars(owner).get(attribute), classmethod)
    setattr(owner, attribute, staticmethod(wrapped) if plain else wrapped)


def _before(owner: Any, attribute: str, act: Callable[..., None]) -> None:
    """Call `act(*arguments)` before a function."""
    real = getattr(owner, attribute)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        act(*args)
        return real(*args, **kwargs)

    setattr(owner, attribute, wrapped)


def _place(at: Callable[[str], None]) -> None:
    from engine.core.machine import Machine
    from engine.runtime import launch, opening, snapshots
    from engine.runtime.entering import Entry
    from engine.runtime.journal import ChangePacker
    from engine.runtime.runner import Runner
    from engine.state import disk, sqlite_store
    from engine.state.ownership import Ownership
    from engine.state.sqlite_store import SqliteStore

    _after(Ownership, "acquire", lambda *_: at("run-locked"))
    _after(SqliteStore, "create", lambda *_: at("run-created"))
    _after(sqlite_store, "_claim", lambda *_: at("epoch-claimed"))
    _before(opening, "load_history", lambda *_: at("journal-opened"))
    _after(Entry, "record", lambda *_: at("session-recorded"))
    _after(launch, "_guardian", lambda *_: at("strays-swept"))
    _after(Machine, "take", lambda batch, *_: at("taken") if batch else None)
    _after(ChangePacker, "__call__", lambda *_: at("packed"))
    SqliteStore._insert = _slow_insert(SqliteStore._insert, at)  # type: ignore[method-assign]
    _after(SqliteStore, "append", lambda *_: at("committed"))
    _after(Runner, "_exchange", lambda batch, *_: at("handed-out") if batch else None)
    _after(Machine, "expand", lambda *_: at("expanded"))
    _after(Runner, "_close", lambda *_: at("ended"))
    _before(SqliteStore, "_seal", lambda *_: at("sealing"))
    _after(SqliteStore, "_seal", lambda *_: at("sealed"))
    _after(Ownership, "release", lambda *_: at("released"))
    disk.os = _Os(at)  # type: ignore[assignment]
    _before(Path, "replace", lambda draft, target: at(f"{_kind(target)}-drafted"))
    _after(Path, "replace", lambda _, draft, target: at(f"{_kind(target)}-renamed"))
    snapshots.Snapshots.__init__.__defaults__ = (SNAPSHOT_EVERY,)
    snapshots.SHARE = 1.0


def _slow_insert(real: Callable[..., int], at: Callable[[str], None]) -> Callable[..., int]:
    """`SqliteStore._insert` with a moment between the row and the end of its transaction."""
    def insert(store: Any, seq: int, data: bytes) -> int:
        if store._connection.in_transaction:  # meta words come with it
            written = real(store, seq, data)
            at("session-in-transaction")
            return written
        store._execute("BEGIN IMMEDIATE")
        written = real(store, seq, data)
        at("in-transaction")
        store._execute("COMMIT")
        return written

    return insert


def _kind(target: Path) -> str:
    """What a draft will be: a blob, a snapshot, or something small."""
    name = Path(target).name
    if name == "snapshot.msgpack":
        return "snapshot"
    return "blob" if Path(target).parent.parent.name == "blobs" else "other"


class _Os:
    """The module `os` as `engine.state.disk` sees it, with files that can be half written."""

    def __init__(self, at: Callable[[str], None]) -> None:
        self._at = at
        self._drafts: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, *args: Any) -> int:
        fd = os.open(path, *args)
        # .NAME.PID.RANDOM, beside the file that it will be.
        name, folder = Path(path).name[1:].rsplit(".", 2)[0], Path(path).parent
        self._drafts[fd] = _kind(folder / name)
        return fd

    def fdopen(self, fd: int, *args: Any) -> Any:
        return _HalfWritten(os.fdopen(fd, *args), self._at, self._drafts.pop(fd, "other"))


class _HalfWritten:
    def __init__(self, file: Any, at: Callable[[str], None], kind: str) -> None:
        self._file = file
        self._at = at
        self._kind = kind

    def __enter__(self) -> _HalfWritten:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> None:
        half = len(data) // 2
        self._file.write(data[:half])
        self._file.flush()
        self._at(f"{self._kind}-half")
        self._file.write(data[half:])
