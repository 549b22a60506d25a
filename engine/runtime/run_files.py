"""What a session reads from and writes to its run's files, the journal's rows of steps aside.

Rule 1: while it runs, what is read comes from the journal as it is on disk; once all is written,
        from the history in memory, since the files may be closed by then.
Rule 2: a look at the files from another thread has a reader of its own.
Rule 3: a run in memory has the same, made of its store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from engine.core.record import RunRecord
from engine.errors import StorageFull
from engine.runtime.history import History, load_history, save_snapshot
from engine.runtime.journal import pack_entries
from engine.runtime.opening import Opened
from engine.state.sqlite_store import SqliteStore
from engine.state.store import Row
from engine.worker.codec import BlobRef


class RunFiles:
    """The files of an opened run."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._finished = False
        """True once the history is complete and the store may be closed."""

    @property
    def logs(self) -> Path | None:
        """Where the tasks' output is written; None for a run in memory."""
        return self._opened.run_dir / "logs" if self._opened.run_dir is not None else None

    # -- results -----------------------------------------------------------------------------

    def read_blob(self, ref: BlobRef) -> bytes:
        """A large result, as stored. Raises StorageError."""
        assert self._opened.blobs is not None
        return self._opened.blobs.get(ref)

    def put_blob(self, data: bytes) -> BlobRef:
        """Store a large result. Raises StorageError, StorageFull."""
        if self._opened.blobs is None:
            raise AssertionError("a run in memory has no blobs")
        return self._opened.blobs.put(data, sync=self._opened.sync)

    def values(self) -> Sequence[Any]:
        """All results, as stored."""
        return (self.record_at_end() if self._finished else self._record_now()).values

    def record_at_end(self) -> RunRecord:
        """What is recorded of the run, once `finish` has written all of it."""
        if self._opened.run_dir is None:
            return self._record_now()
        return self._opened.history.record

    def _record_now(self) -> RunRecord:
        opened = self._opened
        if opened.run_dir is None:
            history = History()
            history.read(opened.store.rows())
            return history.record
        return load_history(opened.run_dir, opened.store.rows, opened.store.meta()).record

    # -- beside whatever the run does meanwhile ------------------------------------------------

    def values_aside(self) -> Sequence[Any]:
        """All results, as stored, for a look."""
        run_dir = self._opened.run_dir
        if run_dir is None:
            return self.values()
        with closing(SqliteStore.read(run_dir / "run.db")) as reader:
            return load_history(run_dir, reader.rows, reader.meta()).record.values

    def rows_aside(self) -> Iterator[Row]:
        """The journal from its first row."""
        run_dir = self._opened.run_dir
        if run_dir is None:
            yield from self._opened.store.rows()
            return
        with closing(SqliteStore.read(run_dir / "run.db")) as reader:
            yield from reader.rows()

    def write_snapshot(self) -> None:
        """The journal so far, folded. For a thread of its own; see `Snapshots`."""
        opened = self._opened
        assert opened.run_dir is not None and isinstance(opened.store, SqliteStore)
        back = opened.store.read_back()
        history = load_history(opened.run_dir, back.rows, back.meta())
        save_snapshot(opened.run_dir, history, sync=opened.sync)

    # -- the end -------------------------------------------------------------------------------

    def finish(self, figures: Mapping[str, Any]) -> None:
        """Write the session's figures, and the snapshot of all there is."""
        opened, history = self._opened, self._opened.history
        if opened.run_dir is None:
            return
        with suppress(StorageFull):  # figures are not worth waiting for room
            opened.store.append(pack_entries([["T", figures]]))
        history.read(opened.store.rows(history.seq))
        with suppress(StorageFull):  # the journal has it all; the snapshot is a shortcut
            save_snapshot(opened.run_dir, history, sync=opened.sync)
        self._finished = True
