"""The state directory: where runs are, what they are called, and which one was last.

Rule 1: it is this user's alone. A symlink, somebody else's directory, or one that others may
        write to is refused: state is data that a resume believes.
Rule 2: a run's id is checked before it becomes a path.
Rule 3: listing runs reads a few words a run, never a journal.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engine.errors import NewerSchema, RunNotFound, StorageError
from engine.state.disk import storage_error, write_atomically

RUN_ID: Final = re.compile(r"\d{8}-\d{6}-[0-9a-z]{4}")
_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
#: Longest path that a socket can be bound to, in bytes: 108 on Linux, 104 on macOS, with the 0.
_SOCKET_PATH: Final = 103
MOUNTS: Final = Path("/proc/self/mounts")
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs"})


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run as a list shows it."""

    run_id: str
    path: Path
    meta: dict[str, str] = field(default_factory=dict)
    """The meta words of its `run.db`: workflow, file, identity, state, created, updated…"""
    problem: str = ""
    """Why it cannot be read; empty if it can."""


def new_run_id() -> str:
    """An id that sorts by time (UTC), to the millisecond: `latest` is the last of a script's runs.

    Its last two letters are random; of two within a millisecond one in 1,296 is a double.
    """
    at = time.time()
    high, low = divmod(int(at % 1 * len(_LETTERS) ** 2), len(_LETTERS))
    tail = _LETTERS[high] + _LETTERS[low] + secrets.choice(_LETTERS) + secrets.choice(_LETTERS)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(at))}-{tail}"


class Home:
    """A state directory."""

    def __init__(self, path: Path | str | None = None, *, create: bool = True) -> None:
        """`path`: else `$FLOWFORGE_HOME`, else `.flowforge` in the working directory.

        Raises StorageError where it cannot be made, or must not be trusted.
        """
        chosen = path or os.environ.get("FLOWFORGE_HOME") or ".flowforge"
        self.path = Path(chosen).expanduser().absolute()
        self.runs_path = self.path / "runs"
        if create:
            _make_private(self.path)
            _make_private(self.runs_path)
        elif self.path.exists() or self.path.is_symlink():
            _check_private(self.path)

    # -- runs ------------------------------------------------------------------------------

    def new_run_id(self) -> str:
        """A fresh id, sortable by time (UTC); its directory is made. Raises StorageError."""
        while True:
            run_id = new_run_id()
            try:
                (self.runs_path / run_id).mkdir(mode=0o700)
            except FileExistsError:
                continue
            except OSError as exc:
                raise storage_error(self.runs_path, exc) from exc
            return run_id

    def run_dir(self, run_id: str) -> Path:
        """Where a run's files are. Raises RunNotFound for what is no run id."""
        if not RUN_ID.fullmatch(run_id):
            raise RunNotFound(f"{run_id!r:.60} is no run id; `flowforge runs` lists them")
        return self.runs_path / run_id

    def check_run_dir(self, run_id: str) -> Path:
        """The same, for writing there. Raises StorageError where it must not be trusted."""
        path = self.run_dir(run_id)
        _check_private(path)
        return path

    def run_ids(self) -> list[str]:
        """All runs, newest first."""
        try:
            names = [entry.name for entry in os.scandir(self.runs_path)]
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise storage_error(self.runs_path, exc) from exc
        return sorted((name for name in names if RUN_ID.fullmatch(name)), reverse=True)

    def runs(self) -> list[RunEntry]:
        """All runs, newest first, with their meta words."""
        return [self.entry(run_id) for run_id in self.run_ids()]

    def entry(self, run_id: str) -> RunEntry:
        """One run's meta words."""
        path = self.run_dir(run_id)
        from engine.state.sqlite_store import peek

        try:
            words = peek(path / "run.db")
        except NewerSchema as exc:
            return RunEntry(run_id, path, problem=str(exc))
        if words is None:
            return RunEntry(run_id, path, problem="run.db is missing or cannot be read")
        return RunEntry(run_id, path, words)

    def find(self, name: str) -> str:
        """The run with that id or unique prefix, or the `latest`. Raises RunNotFound."""
        known = self.run_ids()
        if not known:
            raise RunNotFound(f"there are no runs in {self.path}; start one with `flowforge run`")
        if name == "latest":
            return known[0]
        fitting = [run_id for run_id in known if name and run_id.startswith(name)]
        if not fitting:
            raise RunNotFound(f"no run is called {name!r:.60}; `flowforge runs` lists them")
        if len(fitting) > 1 and name not in fitting:
            some = ", ".join(fitting[:5])
            raise RunNotFound(
                f"{name!r} fits {len(fitting)} runs ({some}{', …' if len(fitting) > 5 else ''}); "
                "give more of the id"
            )
        return fitting[0]

    # -- the last run of an identity ---------------------------------------------------------

    def last_run(self, identity: str) -> str | None:
        """The run that was last started under this identity, if it is still there."""
        try:
            run_id = self._pointer(identity).read_text("ascii")
        except (OSError, UnicodeDecodeError):
            return None
        known = RUN_ID.fullmatch(run_id) and (self.runs_path / run_id).is_dir()
        return run_id if known else None

    def set_last_run(self, identity: str, run_id: str) -> None:
        """Remember the run as the last of its identity. Raises StorageFull, StorageBroken."""
        path = self._pointer(identity)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(path, (run_id.encode("ascii"),), sync=False)
        except OSError as exc:
            raise storage_error(path, exc) from exc

    def _pointer(self, identity: str) -> Path:
        data = identity.encode("utf-8", "surrogateescape")
        return self.path / "last" / hashlib.blake2b(data, digest_size=16).hexdigest()

    # -- around it ----------------------------------------------------------------------------

    def socket_path(self, run_id: str) -> Path:
        """Where the run's control socket is: short, in a directory of this user's alone.

        Raises StorageError.
        """
        name = hashlib.blake2b(os.fsencode(self.run_dir(run_id)), digest_size=8).hexdigest()
        for directory in _runtime_directories():
            path = directory / f"{name}.sock"
            if len(os.fsencode(path)) <= _SOCKET_PATH:
                _make_private(directory)
                return path
        raise StorageError("no directory has a path short enough for a socket; set TMPDIR=/tmp")

    def network_filesystem(self) -> str | None:
        """The kind of network filesystem it is on, where locks may not hold; None if local."""
        kind = self.filesystem()
        return kind if kind in _NETWORK else None

    def filesystem(self) -> str | None:
        """The kind of filesystem that it is on, or would be; None where that is not known."""
        try:
            mounts = MOUNTS.read_text("utf-8", "replace").splitlines()
        except OSError:
            return None
        best, kind = "", None
        here = f"{self.path.resolve()}/"
        for line in mounts:
            _, point, found, *_ = line.split(" ")
            if here.startswith(point.rstrip("/") + "/") and len(point) >= len(best):
                best, kind = point, found
        return kind


def _runtime_directories() -> list[Path]:
    given = os.environ.get("XDG_RUNTIME_DIR")
    user = os.getuid() if sys.platform != "win32" else os.environ.get("USERNAME", "user")
    own = f"flowforge-{user}"
    found = [Path(given) / "flowforge"] if given and Path(given).is_dir() else []
    return [*found, Path("/tmp") / own, Path(tempfile.gettempdir()) / own]


def _make_private(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as exc:
        raise StorageError(f"{path} is not a directory; move it away") from exc
    except OSError as exc:
        raise StorageError(
            f"{path} cannot be made ({exc.strerror or exc}); choose another place with "
            "FLOWFORGE_HOME"
        ) from exc
    _check_private(path)


def _check_private(path: Path) -> None:
    """Raise StorageError unless the directory is this user's alone."""
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        raise StorageError(
            f"{path} is a symbolic link, which could lead anywhere; name the real directory in "
            "FLOWFORGE_HOME"
        )
    if not stat.S_ISDIR(info.st_mode):
        raise StorageError(f"{path} is not a directory; move it away")
    if sys.platform == "win32":
        return
    if info.st_uid != os.getuid():
        raise StorageError(
            f"{path} belongs to another user (uid {info.st_uid}); choose a directory of your own "
            "with FLOWFORGE_HOME"
        )
    mode = stat.S_IMODE(info.st_mode)
    if mode & 0o022:
        raise StorageError(
            f"{path} can be written to by others (mode {mode:04o}); run: chmod 700 {path}"
        )
    if mode & 0o077:
        path.chmod(0o700)
