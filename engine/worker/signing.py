"""Signatures on pickles and runs: only what this user wrote is ever unpickled or carried on.

Rule 1: the key lies outside every run directory, so that a run directory from somebody
        else cannot bring its own.
Rule 2: the key is made once, atomically, readable by its owner alone.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from engine.errors import StorageError

#: Bytes of a signature.
SIZE = 32
_KEY_SIZE = 32
_PURPOSE = b"flowforge pickle 1\0"
_keys: dict[Path, bytes] = {}


def sign(data: bytes) -> bytes:
    """The signature of `data`. Raises StorageError if there is no usable key."""
    return _digest(_key(), data)


def is_mine(signature: bytes, data: bytes) -> bool:
    """True if this user signed `data`. Raises StorageError if there is no usable key."""
    from hmac import compare_digest

    return compare_digest(_digest(_key(), data), signature)


def available() -> bool:
    """True if there is a key, or one can be made."""
    try:
        _key()
    except StorageError:
        return False
    return True


def _digest(key: bytes, data: bytes) -> bytes:
    # Imported here: most flows never pickle, and OpenSSL costs 5 ms to load.
    from hmac import digest

    return digest(key, _PURPOSE + data, "sha256")


def key_path() -> Path:
    """Where the key is: `$FLOWFORGE_KEY_FILE`, else the user's data directory."""
    given = os.environ.get("FLOWFORGE_KEY_FILE")
    if given:
        return Path(given)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "flowforge" / "key"


def _key() -> bytes:
    path = key_path()
    key = _keys.get(path)
    if key is None:
        try:
            key = _keys[path] = _read(path) or _create(path)
        except OSError as exc:
            raise StorageError(
                f"the signing key {path} cannot be used ({exc.strerror or exc}); make its "
                "directory writable, or set FLOWFORGE_KEY_FILE to a file of your own"
            ) from exc
    return key


def _read(path: Path) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        _check(path, os.fstat(fd))
        key = file.read(_KEY_SIZE + 1)
    if len(key) != _KEY_SIZE:
        raise StorageError(
            f"the signing key {path} is damaged ({len(key)} bytes, not {_KEY_SIZE}); delete it: "
            "results that had to be pickled will run again"
        )
    return key


def _check(path: Path, info: os.stat_result) -> None:
    if sys.platform == "win32":
        return
    if info.st_uid != os.getuid():
        raise StorageError(f"the signing key {path} belongs to another user; remove it")
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise StorageError(f"the signing key {path} is open to others; run: chmod 600 {path}")


def _create(path: Path) -> bytes:
    import secrets

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(_KEY_SIZE))
            file.flush()
            os.fsync(fd)
        # A link fails if the name is taken, a rename would not: of several processes that
        # make a key at once, one wins, and all of them read the winner's.
        try:
            if sys.platform == "win32":
                draft.rename(path)
            else:
                os.link(draft, path)
        except FileExistsError:
            pass
    finally:
        draft.unlink(missing_ok=True)
    key = _read(path)
    if key is None:
        raise FileNotFoundError(f"{path} was deleted while it was being made")
    return key
