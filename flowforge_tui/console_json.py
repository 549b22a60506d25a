"""A run as JSON: one event a line on stdout, and nothing else there. See docs/json-output.md.

Rule 1: field names are a promise: they are added to, never renamed.
Rule 2: what is not an event goes to stderr, whoever writes it: file descriptor 1 itself is
        turned round before the flow file is loaded.
Rule 3: lines are ASCII; nothing in them can drive a terminal or fail to be encoded.
Rule 4: a reader that goes away does not stop the run.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from engine import TaskState
from engine.front import (
    Attempt,
    Change,
    ErrorInfo,
    Expanded,
    Failed,
    Moved,
    OutlineChanged,
    Reset,
    Restored,
    RunMoved,
    Started,
    Succeeded,
)
from flowforge_tui.exits import let_go_of

if TYPE_CHECKING:
    from engine import Run
    from engine.front import Live

Event = dict[str, Any]

#: States that a task run takes without an attempt's end, and the event that tells it.
_MOVES = {
    TaskState.UPSTREAM_FAILED: "task.blocked", TaskState.SKIPPED: "task.skipped",
    TaskState.CANCELLED: "task.cancelled", TaskState.CACHED: "task.cached",
    TaskState.CANCELLING: "task.cancelling",
}


def claim_stdout() -> IO[str]:
    """Stdout for events alone: everything else that is written there goes to stderr from now on."""
    stream = sys.stdout
    try:
        sys.stdout.flush()
        own = os.dup(stream.fileno())
        os.dup2(sys.stderr.fileno(), stream.fileno())
    except (OSError, ValueError, AttributeError):
        sys.stdout = sys.stderr  # not a file: a test's, or a notebook's
        return stream
    return os.fdopen(own, "w", encoding="ascii")


class JsonConsole:
    """Writes events to a stream. Implements the engine's `Reporter`."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream: IO[str] | None = stream
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._run_id = ""
        self._early: list[Event] = []
        """What was said before the run had an id."""
        self._events_of: dict[type, Callable[[Any], Iterator[Event]]] = {
            Succeeded: self._succeeded, Started: self._started, Failed: self._failed,
            Moved: self._moved, Reset: self._reset, Expanded: self._expanded,
            RunMoved: self._run_moved, OutlineChanged: self._outline_changed,
            Restored: self._restored,
        }

    def begin(self, live: Live) -> None:
        """As in `Reporter`."""
        self._live, self._run_id = live, live.run_id
        self._write([{
            "event": "run.started", "at": time.time(), "workflow": live.workflow,
            "tasks": live.machine.graph.size, "resumed": bool(live.resumed),
            "text": live.resumed,
        }, *self._early])
        self._early = []

    def changes(self, batch: Sequence[Change]) -> None:
        """As in `Reporter`."""
        self._write([e for change in batch for e in self._events_of[type(change)](change)])

    def say(self, text: str) -> None:
        """As in `Reporter`."""
        event = {"event": "note", "at": time.time(), "text": text}
        if self._live is None:
            self._early.append(event)
        else:
            self._write([event])

    def plan(self, plan: Any) -> None:
        """As in `Reporter`."""
        self._write([{"event": "plan", "at": time.time(), **plan.to_json()}])

    def end(self, run: Run) -> None:
        """As in `Reporter`."""
        from engine.front import failures_of

        told, total = failures_of(run, self._live) if self._live is not None else ([], 0)
        self._write([{
            "event": "run.ended", "at": time.time(), "workflow": run.workflow,
            "state": str(run.state), "why": run.why, "seconds": round(run.seconds, 6),
            "counts": dict(run.counts), "failures": total,
            "failed": [{"task": name, "error": error_fields(e)} for name, e in told],
        }])

    def _write(self, events: list[Event]) -> None:
        text = "".join(
            f"{json.dumps({'event': e['event'], 'run_id': self._run_id, **e})}\n" for e in events
        )
        with self._lock:
            if self._stream is None or not text:
                return
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                let_go_of(self._stream)
                self._stream = None

    # -- events --------------------------------------------------------------------------------

    def _attempt(self, event: str, a: Attempt, at: float) -> Event:
        assert self._live is not None  # `begin` comes first
        return {
            "event": event, "at": at, "task": self._live.names.item(a.node.index, a.index),
            "generation": a.generation, "attempt": a.number,
        }

    def _name(self, tid: int) -> str:
        assert self._live is not None
        return self._live.names.of(tid, self._live.machine.node_of(tid))

    def _succeeded(self, change: Succeeded) -> Iterator[Event]:
        for a in change.attempts:
            seconds = round(max(0.0, a.end - a.start), 6)
            yield {**self._attempt("task.succeeded", a, a.end), "seconds": seconds}

    def _started(self, change: Started) -> Iterator[Event]:
        for a in change.attempts:
            yield self._attempt("task.started", a, a.start)

    def _failed(self, change: Failed) -> Iterator[Event]:
        a = change.attempt
        again = change.state is TaskState.UP_FOR_RETRY
        event = self._attempt("task.retrying" if again else "task.failed", a, a.end)
        event["seconds"] = round(max(0.0, a.end - a.start), 6)
        event["reason"] = str(a.reason)
        event["error"] = error_fields(a.error)
        if again:
            event["due"] = change.due
        yield event

    def _moved(self, change: Moved) -> Iterator[Event]:
        kind = _MOVES.get(change.state)
        if kind is None:
            return
        cause = self._name(change.cause) if change.cause >= 0 else None
        for tid in change.tids:
            yield {"event": kind, "at": time.time(), "task": self._name(tid), "cause": cause,
                   "why": change.why}

    def _reset(self, change: Reset) -> Iterator[Event]:
        for tid in change.tids:
            yield {"event": "task.reset", "at": time.time(), "task": self._name(tid),
                   "why": change.why}

    def _expanded(self, change: Expanded) -> Iterator[Event]:
        yield {"event": "task.mapped", "at": time.time(), "task": self._name(change.node),
               "items": change.size, "carried": len(change.carried)}

    def _restored(self, change: Restored) -> Iterator[Event]:
        yield {"event": "reset.undone", "at": time.time()}

    def _outline_changed(self, change: OutlineChanged) -> Iterator[Event]:
        yield {"event": "code.reloaded", "at": time.time()}

    def _run_moved(self, change: RunMoved) -> Iterator[Event]:
        yield {"event": "run.state", "at": change.at, "state": str(change.state),
               "why": change.why}


def error_fields(error: ErrorInfo | None) -> Event | None:
    """A failure as plain data."""
    return error._asdict() if error is not None else None
