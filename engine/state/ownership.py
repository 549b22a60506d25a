"""Who owns a run: at most one process, for as long as it lives.

Rule 1: the lock on `owner.lock` decides, and the kernel frees it when the owner dies; what is
        written in the file only tells others whom to ask.
Rule 2: every taking of ownership counts the epoch up. The store checks it inside each
        transaction, so an owner that only slept writes nothing after it was replaced.
Rule 3: a process is named by its id and its start time: ids are used again.
Rule 4: the file is never deleted: a lock on a deleted file would keep nobody out.
"""

from __future__ import annotations

import json
import os
import signal
import socket as sockets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from engine.errors import RunOwned, StorageError

LOCK_FILE: Final = "owner.lock"
#: A look at the lock holds it for some microseconds; somebody who just looks is waited for.
_TRIES: Final = 5
_PAUSE: Final = 0.02
#: Seconds between SIGKILL and the kernel's freeing the lock, at the very most.
_DEATH_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that owns a run, as it describes itself."""

    pid: int = 0
    """Process id on `host`; 0: unknown, or given up in order."""
    started: float = 0.0
    """The process's own start time, in whatever unit the system counts it."""
    host: str = ""
    since: float = 0.0
    """When it took the run, seconds since the epoch."""
    socket: str = ""
    """Path of its control socket; empty: none."""
    epoch: int = 0

    @property
    def here(self) -> bool:
        """True if it runs, or ran, on this machine."""
        return self.host == sockets.gethostname()

    @property
    def alive(self) -> bool:
        """True if that very process still exists on this machine."""
        return self.pid > 0 and self.here and process_start(self.pid) == self.started


class Ownership:
    """Held by the owning process; freed by `release()`, or by its death."""

    def __init__(self, run_dir: Path, fd: int, owner: Owner) -> None:
        self.run_dir = run_dir
        self.owner = owner
        self._fd = fd

    @property
    def epoch(self) -> int:
        """Counts up each time the run changes hands."""
        return self.owner.epoch

    @classmethod
    def acquire(cls, run_dir: Path, *, socket: str = "") -> Ownership:
        """Own the run from here on. Raises RunOwned, StorageError."""
        fd = _open(run_dir)
        try:
            if not _locked_soon(fd):
                raise _owned(run_dir, _read(fd))
            epoch = max(_read(fd).epoch, _stored_epoch(run_dir)) + 1
            owner = Owner(
                os.getpid(), process_start(os.getpid()) or 0.0, sockets.gethostname(),
                time.time(), socket, epoch,
            )
            _write(fd, owner)
        except BaseException:
            os.close(fd)
            raise
        return cls(run_dir, fd, owner)

    def release(self) -> None:
        """Give the run up. May be called twice."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            _write(fd, Owner(epoch=self.epoch))
        finally:
            with suppress(OSError):  # a task may have closed what is not its own
                os.close(fd)


def probe(run_dir: Path) -> Owner | None:
    """The run's live owner, wherever it runs; None if it has none."""
    try:
        fd = os.open(run_dir / LOCK_FILE, os.O_RDWR)
    except OSError:
        return None
    try:
        return None if _try_lock(fd) else _read(fd)
    finally:
        os.close(fd)


def take_over(
    run_dir: Path, *, force: bool = False, grace: float = 5.0, socket: str = ""
) -> Ownership:
    """Own the run; with `force`, end a live owner on this machine first.

    It is asked to end, and killed after `grace` seconds. Raises RunOwned, StorageError.
    """
    try:
        return Ownership.acquire(run_dir, socket=socket)
    except RunOwned:
        owner = probe(run_dir)
        if not force or (owner is not None and not owner.alive):
            raise
    if owner is not None:
        _end(run_dir, owner, grace)
    return Ownership.acquire(run_dir, socket=socket)


def _end(run_dir: Path, owner: Owner, grace: float) -> None:
    def gone() -> bool:
        return not owner.alive or probe(run_dir) is None

    def send(*names: str) -> None:
        for name in names:
            number = getattr(signal, name, None)
            if number is not None and owner.alive:
                os.kill(owner.pid, number)

    try:
        # An owner that sleeps (SIGSTOP) hears SIGTERM only once it is woken.
        send("SIGTERM", "SIGCONT")
        if not _until(gone, grace):
            send("SIGKILL")
            _until(gone, _DEATH_SECONDS)
    except PermissionError as exc:
        raise RunOwned(
            f"process {owner.pid} owns the run and belongs to another user; end it as that user",
            owner.pid, owner.host, owner.since,
        ) from exc
    except ProcessLookupError:
        return


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


# -- the lock and the file --------------------------------------------------------------------


def _open(run_dir: Path) -> int:
    path = run_dir / LOCK_FILE
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as exc:
        raise StorageError(
            f"{path} cannot be opened ({exc.strerror or exc}); check that the state directory is "
            "there and writable"
        ) from exc


def _locked_soon(fd: int) -> bool:
    for attempt in range(_TRIES):
        if _try_lock(fd):
            return True
        if _read(fd).alive:
            return False
        if attempt < _TRIES - 1:
            time.sleep(_PAUSE)
    return False


def _try_lock(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            # Far behind the text: on Windows a locked byte cannot even be read.
            os.lseek(fd, 1 << 30, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read(fd: int) -> Owner:
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        found: Any = json.loads(os.read(fd, 65536))
        return Owner(
            int(found["pid"]), float(found["started"]), str(found["host"]),
            float(found["since"]), str(found["socket"]), int(found["epoch"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        # New, being written at this moment, or damaged: the lock is what counts.
        return Owner()


def _write(fd: int, owner: Owner) -> None:
    text = json.dumps(asdict(owner)).encode()
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, text)
        os.ftruncate(fd, len(text))
    except OSError as exc:
        # Without this text the run is owned all the same; only the epoch must not be lost,
        # and the store has it too.
        if owner.pid:
            raise StorageError(f"{LOCK_FILE} cannot be written ({exc.strerror or exc})") from exc


def _owned(run_dir: Path, owner: Owner) -> RunOwned:
    who = f"process {owner.pid} on {owner.host}" if owner.pid else "another process"
    return RunOwned(
        f"{who} owns run {run_dir.name}; look at it with `flowforge attach {run_dir.name}`, or "
        "start anew with --fresh",
        owner.pid, owner.host, owner.since,
    )


def _stored_epoch(run_dir: Path) -> int:
    """The epoch in the run's database, for the case that `owner.lock` was damaged."""
    from engine.state.sqlite_store import peek

    words = peek(run_dir / "run.db")
    epoch = words.get("epoch", "0") if words is not None else "0"
    return int(epoch) if epoch.isdigit() else 0


def process_start(pid: int) -> float | None:
    """When a process started, comparable on one machine only; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _start_by_psutil(pid)
    except OSError:
        return None
    # The command's name, in brackets, may hold anything; field 22 counts from its end.
    fields = stat.rpartition(b")")[2].split()
    # A zombie holds no locks and will never act again.
    return None if fields[0] in (b"Z", b"X") else float(fields[19])


def _start_by_psutil(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return None if ended else float(process.create_time())
    except psutil.Error:
        return None
