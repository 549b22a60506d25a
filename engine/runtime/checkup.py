"""Is everything here that a run needs, and is what earlier runs left in order?

Rule 1: nothing is mended, and nothing is written but one small file, to see that it can be.
Rule 2: each finding says what to do about it. `WRONG` is what will lose or has lost something;
        `NOTE` is what is worth knowing.
Rule 3: a check that itself fails is a finding, and does not keep the others from being made.
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

from engine.core.states import LIVE_RUN, RunState
from engine.errors import FlowForgeError, NewerSchema, StorageError
from engine.executors.guardian import RUN_MARK, carriers
from engine.runtime.history import unpack_history
from engine.runtime.stored import StoredRun, open_stored
from engine.state.blobs import Blobs
from engine.state.disk import check_writable, free_inodes
from engine.state.home import Home
from engine.state.ownership import probe
from engine.state.snapshot import read_snapshot
from engine.state.sqlite_store import SqliteStore
from engine.worker import signing
from engine.worker.codec import BlobRef

OK, NOTE, WRONG = "ok", "note", "wrong"

PACKAGES: Final = ("msgpack", "cloudpickle", "msgspec", "psutil", "click", "rich", "textual")
#: Bytes and files of free disk below which a run will soon have to wait.
LITTLE_ROOM: Final = 100 << 20
FEW_FILES: Final = 1_000
#: `RETURNING` and `UPSERT` as they are used here.
OLDEST_SQLITE: Final = (3, 35, 0)
#: Filesystems that are gone when the machine is switched off.
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


class Finding(NamedTuple):
    """One thing that was looked at."""

    verdict: str
    """`OK`, `NOTE` or `WRONG`."""
    what: str
    told: str


def check_up(home: Path) -> Iterator[Finding]:
    """All checks of this installation and of a state directory, one after the other."""
    yield from _installation()
    yield from _place(home)
    if home.is_dir():
        try:
            place = Home(home, create=False)
            run_ids = place.run_ids()
        except FlowForgeError:
            return  # told already
        for run_id in run_ids:
            yield from _guarded(f"run {run_id}", partial(_run, place, run_id))


def _guarded(what: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except (FlowForgeError, OSError, ValueError) as error:
        yield Finding(WRONG, what, str(error))


# -- the installation -----------------------------------------------------------------------------


def _installation() -> Iterator[Finding]:
    from engine import __version__

    yield Finding(OK, "FlowForge", __version__)
    yield Finding(OK if sys.version_info >= (3, 11) else WRONG, "Python",
                  f"{platform.python_version()} on {platform.system()}; 3.11 or later is needed")
    yield sqlite_finding(sqlite3.sqlite_version_info, sqlite3.threadsafety)
    for name in PACKAGES:
        try:
            yield Finding(OK, name, version(name))
        except PackageNotFoundError:
            yield Finding(WRONG, name, f"is not installed; run: pip install {name}")
    yield from _guarded("signing key", _key)


def sqlite_finding(found: tuple[int, ...], threadsafety: int) -> Finding:
    """SQLite's version, and what is known to be wrong with it."""
    told = ".".join(map(str, found[:3]))
    if found < OLDEST_SQLITE:
        return Finding(WRONG, "SQLite", f"{told}; 3.35 or later is needed: use a newer Python")
    if threadsafety == 0:
        return Finding(WRONG, "SQLite", f"{told}, built without thread safety; use another Python")
    if has_wal_reset_bug(found):
        # https://www.sqlite.org/wal.html#walresetbug: it takes a checkpoint by one connection
        # while another commits. Here one connection does both, one after the other.
        return Finding(NOTE, "SQLite", f"{told} has the WAL-reset bug (fixed in 3.51.3), which "
                       "cannot strike FlowForge: one connection alone writes and checkpoints. Do "
                       "not open a live run.db for writing with other programs")
    return Finding(OK, "SQLite", told)


def has_wal_reset_bug(found: tuple[int, ...]) -> bool:
    """3.7.0 to 3.51.2, but for the branches to which the mending was carried back."""
    if found[:2] in ((3, 44), (3, 50)):
        return found[:3] < {44: (3, 44, 6), 50: (3, 50, 7)}[found[1]]
    return (3, 7, 0) <= found[:3] < (3, 51, 3)


def _key() -> Iterator[Finding]:
    signing.sign(b"")
    yield Finding(OK, "signing key", str(signing.key_path()))


# -- the state directory --------------------------------------------------------------------------


def _place(path: Path) -> Iterator[Finding]:
    try:
        home = Home(path, create=False)
        number = len(home.run_ids())
    except FlowForgeError as error:
        yield Finding(WRONG, "state", str(error))
        return
    if not path.exists():
        yield Finding(OK, "state", f"{path}: is made by the first run")
    else:
        yield Finding(OK, "state", f"{path}: {number} run{'s' if number != 1 else ''}")
        yield from _guarded("writing", partial(_writing, path))
    yield _filesystem(home)
    yield from _guarded("disk", partial(_room, path))


def _writing(path: Path) -> Iterator[Finding]:
    seconds = check_writable(path)
    yield Finding(OK, "writing", f"files can be made, locked and synced; a sync took "
                  f"{seconds * 1000:.1f} ms")


def _filesystem(home: Home) -> Finding:
    kind = home.network_filesystem()
    if kind is not None:
        return Finding(WRONG, "filesystem", f"{kind}: locks may not hold there; set "
                       "FLOWFORGE_HOME to a local directory")
    kind = home.filesystem()
    if kind in IN_MEMORY:
        return Finding(NOTE, "filesystem", f"{kind}: all runs are gone when the machine is "
                       "switched off")
    return Finding(OK, "filesystem", kind or "local")


def _room(path: Path) -> Iterator[Finding]:
    there = next(p for p in (path, *path.parents) if p.exists())
    free, files = shutil.disk_usage(there).free, free_inodes(there)
    good = free >= LITTLE_ROOM and (files is None or files >= FEW_FILES)
    told = f"{free / 1e9:.1f} GB free" + (f", {files:,} files" if files is not None else "")
    yield Finding(OK if good else WRONG, "disk",
                  told if good else f"{told}: a run will soon have to wait for room")


# -- a run ----------------------------------------------------------------------------------------


def _run(home: Home, run_id: str) -> Iterator[Finding]:
    what, run_dir = f"run {run_id}", home.run_dir(run_id)
    owner = probe(run_dir)
    if owner is None:
        left = carriers(RUN_MARK, run_id)
        if left:
            yield Finding(WRONG, what, f"its owner is gone and has left processes behind "
                          f"({', '.join(map(str, left[:10]))}); `flowforge resume` ends them")
    elif owner.here and not owner.alive:
        yield Finding(WRONG, what, f"locked by what process {owner.pid}, which is gone, has left "
                      f"behind: end the process that has {run_dir / 'owner.lock'} open")
    try:
        stored = open_stored(home.path, run_id)
    except NewerSchema as error:
        yield Finding(NOTE, what, str(error))
        return
    except StorageError as error:
        yield Finding(WRONG, what, f"nothing of it can be read ({error}); delete {run_dir}, or put "
                      "a copy in its place")
        return
    yield from _content(stored, what)


def _content(stored: StoredRun, what: str) -> Iterator[Finding]:
    owner = stored.owner
    damage = [*stored.history.damage, *_rows(stored), *_snapshot(stored),
              *(_blobs(stored) if not owner else ())]
    for told in damage:
        yield Finding(WRONG, what, f"damaged: {told}. A resume runs what it held again, unless "
                      "the second copy has it")
    if not stored.mine:
        yield Finding(NOTE, what, "not signed with your key: it can only be looked at")
    for kept in sorted(stored.run_dir.glob("run.db.damaged-*")):
        if not kept.name.endswith(("-wal", "-shm")):
            yield Finding(NOTE, what, f"was damaged and rebuilt; the old file is kept as {kept}")
    if owner is not None:
        yield Finding(OK, what, f"{stored.state}, owned by process {owner.pid} on {owner.host}")
    elif not damage:
        died = stored.state is RunState.INTERRUPTED and stored.record.run_state in LIVE_RUN
        yield Finding(OK, what, f"{stored.state}{' (its owner died)' if died else ''}")


def _rows(stored: StoredRun) -> Iterator[str]:
    """What is wrong in the journal, also where the snapshot stands in for it."""
    try:
        with contextlib.closing(SqliteStore.read(stored.run_dir / "run.db")) as reader:
            for _ in reader.rows():
                pass
    except StorageError:
        return  # told by whoever opened the run
    known = " ".join(stored.history.damage)
    yield from (told for told in reader.damage if told not in known)


def _snapshot(stored: StoredRun) -> Iterator[str]:
    path = stored.run_dir / "snapshot.msgpack"
    if not path.exists():
        return
    found = read_snapshot(path)
    try:
        if found is None:
            raise ValueError("its checksum is wrong")
        unpack_history(*found)
    except Exception as error:
        yield f"the snapshot, which is the second copy, cannot be read ({error})"


def _blobs(stored: StoredRun) -> Iterator[str]:
    blobs = Blobs(stored.run_dir / "blobs")
    for value in stored.record.values:
        if type(value) is BlobRef:
            try:
                blobs.get(value)
            except StorageError as error:
                yield str(error)
