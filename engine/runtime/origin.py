"""Whose run is it? A run directory is data, and may have been brought here by anybody.

Rule 1: a run carries two signatures with its user's key, which lies elsewhere: of its id, among
        the store's words, and of what it was started with, in the journal and the snapshot.
Rule 2: a run that carries neither is somebody else's. It can be looked at; it is not carried
        on, none of it is unpickled, and no file that it names is executed.
Rule 3: where no key can be had at all, runs are not signed, and unsigned ones are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgpack

from engine.errors import ForeignRun, StorageError
from engine.runtime.history import load_history
from engine.state.sqlite_store import SqliteStore, peek
from engine.worker import signing

#: The store's word with the signature of the run's id, in hexadecimal.
SIGNED: Final = "signed"
#: The same of what the run was started with, among that.
_SIGNATURE: Final = "signature"


def words_of(run_id: str) -> dict[str, str]:
    """The store's words that say whose run it is; none where there is no key."""
    try:
        return {SIGNED: signing.sign(_id_data(run_id)).hex()}
    except StorageError:
        return {}


def signed(run_id: str, about: dict[str, Any]) -> dict[str, Any]:
    """What a run was started with, and the signature of it."""
    try:
        return {**about, _SIGNATURE: signing.sign(_about_data(run_id, about))}
    except StorageError:
        return about


def check_mine(run_dir: Path) -> None:
    """Raise ForeignRun if this user has not written the run. Nothing is written for that."""
    run_id = run_dir.name
    words = peek(run_dir / "run.db") or {}
    if _is_mine(words.get(SIGNED), _id_data(run_id)):
        return
    about = _about_of(run_dir)
    if about is not None and not is_mine(run_id, about):
        raise foreign(run_id)


def is_mine(run_id: str, about: Mapping[str, Any]) -> bool:
    """True if what the run was started with is signed by this user, as it is now."""
    return _is_mine(about.get(_SIGNATURE), _about_data(run_id, about))


def foreign(run_id: str) -> ForeignRun:
    """The error for it."""
    return ForeignRun(
        f"run {run_id} is not signed with your key, so it can only be looked at: nothing of it is "
        "carried on, unpickled or executed. Start anew with --fresh; or, if it is yours, set "
        "FLOWFORGE_KEY_FILE to the key that it was written with"
    )


def _about_of(run_dir: Path) -> Mapping[str, Any] | None:
    """What the run says it was started with; None if nothing is recorded that could be believed."""
    try:
        reader = SqliteStore.read(run_dir / "run.db")
    except StorageError:
        history = load_history(run_dir, lambda after: [], {})
    else:
        try:
            history = load_history(run_dir, reader.rows, reader.meta())
        finally:
            reader.close()
    return history.about if history.about or history.outline is not None else None


def _is_mine(signature: object, data: bytes) -> bool:
    if isinstance(signature, str):
        try:
            signature = bytes.fromhex(signature)
        except ValueError:
            signature = b""
    if isinstance(signature, bytes):
        return signing.is_mine(signature, data)
    return not signing.available()


def _id_data(run_id: str) -> bytes:
    return b"run id\0" + run_id.encode()


def _about_data(run_id: str, about: Mapping[str, Any]) -> bytes:
    plain = {k: v for k, v in about.items() if k != _SIGNATURE}
    packed: bytes = msgpack.packb([run_id, plain], unicode_errors="surrogatepass")
    return b"run about\0" + packed
