"""Small things done to files so that they hold: syncs, atomic writes, free space."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
import time
from pathlib import Path

from engine.errors import StorageBroken, StorageError, StorageFull


def free_bytes(directory: Path) -> int:
    """Bytes that can still be written there; 0 if that cannot be found out."""
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return 0


def free_inodes(directory: Path) -> int | None:
    """Files that can still be made there; None where the filesystem does not count them."""
    if sys.platform == "win32":
        return None
    found = os.statvfs(directory)
    return found.f_favail if found.f_files else None


def check_writable(directory: Path) -> float:
    """Make a file there, lock it, sync it, and remove it; the sync's seconds. Raises OSError."""
    path = directory / f".check.{os.getpid()}.{secrets.token_hex(4)}"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            if sys.platform != "win32":
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(b"x")
            file.flush()
            begin = time.perf_counter()
            os.fsync(file.fileno())
            return time.perf_counter() - begin
        finally:
            path.unlink()


def sync_directory(directory: Path) -> None:
    """Make new and renamed entries of a directory last. Raises OSError."""
    if sys.platform == "win32":
        return
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: Path, parts: tuple[bytes, ...], *, sync: bool) -> None:
    """Write a file so that other processes see the old one or the whole new one, mode 0600.

    `sync`: so that a power cut leaves one of the two, too. Raises OSError; no draft is left.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for part in parts:
                file.write(part)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    if sync:
        sync_directory(path.parent)


def storage_error(path: Path, exc: OSError) -> StorageError:
    """The error of ours for a failed write to `path`."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"no room left for {path}; free some space: the run goes on by itself")
    return StorageBroken(f"writing {path} failed ({exc.strerror or exc}); look at the disk, then "
                         "start the run again: it carries on from what is recorded")
