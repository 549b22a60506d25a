"""Large results, one file each, named after their content.

Rule 1: a blob is whole or not there: written beside, then renamed.
Rule 2: every read checks the digest; a wrong value is never handed out.
Rule 3: a digest comes from stored data, so it is checked before it becomes a path.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from engine.errors import BlobDamaged
from engine.state.disk import storage_error, write_atomically
from engine.worker.codec_values import BlobRef

_DIGEST_SIZE: Final = 20
_DIGEST: Final = re.compile(rf"[0-9a-f]{{{2 * _DIGEST_SIZE}}}")


class Blobs:
    """The blobs of one run, or of the cache."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def put(self, data: bytes, *, sync: bool = False) -> BlobRef:
        """Store `data` unless it is there already. `sync`: it survives a power cut.

        Raises StorageFull, StorageBroken.
        """
        ref = BlobRef(_digest(data), len(data))
        path = self.path(ref)
        try:
            # Reading it again costs less than trusting a file that may be damaged.
            if not _matches(path, ref):
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomically(path, (data,), sync=sync)
        except OSError as exc:
            raise storage_error(path, exc) from exc
        return ref

    def get(self, ref: BlobRef) -> bytes:
        """The content, checked. Raises BlobDamaged."""
        path = self.path(ref)
        try:
            data = path.read_bytes()
        except OSError as exc:
            raise BlobDamaged(
                f"the large result {path} cannot be read ({exc.strerror or exc}); the task that "
                "made it has to run again"
            ) from exc
        if len(data) != ref.size or _digest(data) != ref.digest:
            raise BlobDamaged(
                f"the large result {path} is damaged; the task that made it has to run again"
            )
        return data

    def has(self, ref: BlobRef) -> bool:
        """True if the blob is there in full length; its content is checked by `get`."""
        try:
            return self.path(ref).stat().st_size == ref.size
        except OSError:
            return False

    def path(self, ref: BlobRef) -> Path:
        """The blob's file. Raises BlobDamaged for what is no digest."""
        if not _DIGEST.fullmatch(ref.digest):
            raise BlobDamaged(f"{ref.digest!r:.60} is no reference to a large result")
        return self.directory / ref.digest[:2] / ref.digest


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=_DIGEST_SIZE).hexdigest()


def _matches(path: Path, ref: BlobRef) -> bool:
    try:
        return path.stat().st_size == ref.size and _digest(path.read_bytes()) == ref.digest
    except FileNotFoundError:
        return False
