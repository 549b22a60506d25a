"""A run as it is on disk: opening it, folding it, snapshotting it.

Rule 1: the snapshot is only ever a shortcut and a second copy; with it gone, the journal
        alone gives the same history, and for rows that are damaged it stands in.
Rule 2: damage is counted and described, never passed over in silence.
Rule 3: a history opened for looking never writes.
Rule 4: ids mean nothing without the graph that they belong to. Where the row with a change of
        the graph is lost, the rows after it are passed over, up to the next change that
        builds upon a graph which is known.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import compress
from pathlib import Path
from typing import Any

import msgpack

from engine.core.events import ErrorInfo
from engine.core.record import NO_VALUE, RunRecord
from engine.core.states import RunState
from engine.runtime.journal import Entry, fold, unpack_entries
from engine.runtime.outline import Outline
from engine.state.snapshot import read_snapshot, write_snapshot
from engine.state.store import Row
from engine.worker.codec import pack_column, unpack_column

#: The store's word for the rows that hold graphs, with commas between their seqs.
GRAPHS = "graphs"


class History:
    """A run's record, the outline of its workflow, and its sessions."""

    def __init__(self) -> None:
        self.record = RunRecord()
        self.outline: Outline | None = None
        self.about: dict[str, Any] = {}
        """What the run was started with: workflow, file, parameters (encoded), options."""
        self.sessions: list[dict[str, Any]] = []
        """One entry for each process that owned the run: pid, host, began (epoch seconds)."""
        self.metrics: dict[str, Any] = {}
        self.seq = 0
        """The last row folded."""
        self.run_id: str | None = None
        """Whose snapshot it was read from; None: from none."""
        self.damage: list[str] = []
        """What could not be read, in words; empty if all is well."""
        self.graph_seq = 0
        """The row with the graph that the ids in the record belong to."""
        self._adrift = False
        """The graph of the rows that follow is not known."""

    def begin(self, entries: Iterable[Entry]) -> None:
        """Fold the entries with which a session begins, outlines in them as they are."""
        for entry in entries:
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        if not fold(self.record, entry):
            self._apply_own(entry)

    def _apply_own(self, entry: list[Any]) -> None:
        kind = entry[0]
        if kind == "O":
            self.about = entry[1]
            self.sessions.append(entry[2])
        elif kind == "G":
            self._apply_graph(entry)
        elif kind == "U":
            self.outline = _outline(entry[1])
        elif kind == "T":
            self.metrics = entry[1]

    def _apply_graph(self, entry: list[Any]) -> None:
        _, outline, node_map, drop, rematch, *_ = entry
        self.outline = _outline(outline)
        if node_map is None:
            self.record = RunRecord(self.outline.size)
        else:
            self.record.regraph(self.outline.size, node_map, set(drop), set(rematch))

    def outline_data(self) -> dict[str, Any] | None:
        """The outline as stored; None before there is one."""
        return self.outline.to_data() if self.outline is not None else None

    def read(self, rows: Iterable[Row], graphs: Collection[int] = ()) -> None:
        """Fold rows that follow what was folded; note the damaged ones.

        `graphs`: the rows that hold graphs, as the store's own words have it.
        """
        for row in rows:
            for _ in self.entries(row, graphs):
                pass

    def entries(self, row: Row, graphs: Collection[int] = ()) -> Iterator[Entry]:
        """Fold one row as `read` does; its entries, each once it is folded.

        None of a row that is damaged or passed over.
        """
        self.seq = row.seq
        if row.data is None:
            self._lost(row.seq, row.seq in graphs)
            return
        try:
            entries = unpack_entries(row.data)
            if self._adrift and not self._leads_on(entries):
                return
            for entry in entries:
                self._take(entry)
                yield entry
        except Exception as error:
            # Intact by CRC, yet it does not fit: something before it is missing.
            self.damage.append(f"journal row {row.seq} does not follow: {error}")
        if row.seq in graphs:
            self.graph_seq = row.seq

    def _lost(self, seq: int, graph: bool) -> None:
        told = f"journal row {seq} is damaged"
        if graph:
            self._adrift = True
            told += ", and with it what the rows after it are about"
        self.damage.append(told)

    def _leads_on(self, entries: Iterable[Entry]) -> bool:
        """True for a change of the very graph that is known, or a graph from nothing."""
        for entry in entries:
            if entry[0] == "G" and (entry[2] is None or entry[5:] == [self.graph_seq]):
                self._adrift = False
        return not self._adrift


def _outline(stored: Any) -> Outline:
    return stored if isinstance(stored, Outline) else Outline.from_data(stored)


# -- snapshots ------------------------------------------------------------------------------------


def _plain(mapping: dict[int, Any]) -> list[list[Any]]:
    return [[k, v] for k, v in mapping.items()]


def pack_history(history: History, run_id: str | None = None) -> bytes:
    """The whole history of a run as one msgpack document."""
    r = history.record
    known, values = _split(r.values)
    body: bytes = msgpack.packb(
        {
            "run_id": run_id,
            "about": history.about,
            "sessions": history.sessions,
            "metrics": history.metrics,
            "graph": history.graph_seq,
            "damage": history.damage,
            "outline": history.outline.to_data() if history.outline is not None else None,
            "size": r.size,
            "state": bytes(r.state),
            "number": r.number.tobytes(),
            "start": r.start.tobytes(),
            "end": r.end.tobytes(),
            "known": known,
            "values": pack_column(values),
            "item_node": r.item_node.tobytes(),
            "expansions": [[k, b, n, None if keys is None else list(keys)]
                           for k, (b, n, keys) in r.expansions.items()],
            "marks": [[k, _pack_marks(m)] for k, m in r.marks.items()],
            "previous": [[k, b, n, None if keys is None else list(keys), _pack_marks(m)]
                         for k, (b, n, keys, m) in r.previous.items()],
            "generation": _plain(r.generation),
            "failures": _plain(r.failures),
            "errors": [[t, reason, list(e)] for t, (reason, e) in r.errors.items()],
            "why": [[t, cause, text] for t, (cause, text) in r.why.items()],
            "due": _plain(r.due),
            "run": [str(r.run_state), r.run_why, r.began, r.ended],
            "rests": r.rests,
        },
        unicode_errors="surrogatepass",
    )
    return body


def _split(values: list[Any]) -> tuple[bytes, list[Any]]:
    """Where there is a value (1) or none (0), and those that there are. Mostly there are all."""
    if type(NO_VALUE) not in set(map(type, values)):  # looks at no value: one may be of any type
        return b"\1" * len(values), values
    known = bytes([v is not NO_VALUE for v in values])
    return known, list(compress(values, known))


def _joined(known: bytes, values: list[Any]) -> list[Any]:
    """The inverse of `_split`."""
    if 0 not in known:
        return values
    rest = iter(values)
    return [next(rest) if there else NO_VALUE for there in known]


def _pack_marks(marks: Any) -> Any:
    if marks is None:
        return None
    if isinstance(marks, range):
        return [marks.start, marks.stop, marks.step]
    return pack_column(list(marks))


def _unpack_marks(data: Any) -> Any:
    if data is None:
        return None
    return range(*data) if isinstance(data, list) else unpack_column(data)


def _column(code: Any, data: bytes) -> Any:
    column = array(code)
    column.frombytes(data)
    return column


def _numbers(data: bytes, states: bytes) -> Any:
    """Attempts are counted in four bytes; snapshots of the first version had two."""
    short = len(data) == 2 * len(states)
    return array("I", _column("H", data)) if short else _column("I", data)


def unpack_history(seq: int, body: bytes) -> History:
    """The inverse of `pack_history`."""
    d = msgpack.unpackb(body, unicode_errors="surrogatepass", strict_map_key=False)
    h = History()
    h.seq = seq
    h.run_id = d.get("run_id")
    h.about, h.sessions, h.metrics, h.damage = (
        d["about"], d["sessions"], d["metrics"], d["damage"])
    h.graph_seq = d["graph"]
    h.outline = Outline.from_data(d["outline"]) if d["outline"] is not None else None
    r = h.record = RunRecord(d["size"])
    r.state = bytearray(d["state"])
    r.number, r.start, r.end = (
        _numbers(d["number"], d["state"]), _column("d", d["start"]), _column("d", d["end"]))
    r.values = _joined(d["known"], unpack_column(d["values"]))
    r.item_node = _column("i", d["item_node"])
    r.expansions = {k: (b, n, keys) for k, b, n, keys in d["expansions"]}
    r.marks = {k: _unpack_marks(m) for k, m in d["marks"]}
    r.previous = {k: (b, n, keys, _unpack_marks(m)) for k, b, n, keys, m in d["previous"]}
    r.generation, r.failures, r.due = (
        dict(d["generation"]), dict(d["failures"]), dict(d["due"]))
    r.errors = {t: (reason, ErrorInfo(*e)) for t, reason, e in d["errors"]}
    r.why = {t: (cause, text) for t, cause, text in d["why"]}
    state, r.run_why, r.began, r.ended = d["run"]
    r.run_state = RunState(state)
    r.rests = [(since, until) for since, until in d.get("rests", ())]  # earlier ones have none
    return h


def graphs_in(meta: Mapping[str, str]) -> frozenset[int]:
    """The seqs of the rows that hold graphs, from a store's words."""
    return frozenset(int(seq) for seq in meta.get(GRAPHS, "").split(",") if seq.isdigit())


def load_history(run_dir: Path, rows_after: Any, meta: Mapping[str, str]) -> History:
    """The history of a run directory: its snapshot, then the rows after it.

    `rows_after(seq)` iterates the journal's rows behind `seq`; `meta` are the store's words.
    A snapshot that cannot be read is done without.
    """
    found = read_snapshot(run_dir / "snapshot.msgpack")
    history = History()
    if found is not None:
        try:
            history = unpack_history(*found)
            if history.run_id not in (None, run_dir.name):
                raise ValueError(f"it is of run {history.run_id}")
        except Exception as error:
            history = History()
            history.damage.append(f"the snapshot does not unpack: {error}")
    history.read(rows_after(history.seq), graphs_in(meta))
    return history


def save_snapshot(run_dir: Path, history: History, *, sync: bool) -> None:
    """Write the history as the run's snapshot, atomically."""
    write_snapshot(run_dir / "snapshot.msgpack", history.seq,
                   pack_history(history, run_dir.name), sync=sync)
