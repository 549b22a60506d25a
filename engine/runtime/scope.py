"""The run as its attempts see it, on the engine's side: their names, and their log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.core.events import Attempt
from engine.runtime.names import Names
from engine.worker.clock import now
from engine.worker.context import RunScope
from engine.worker.router import LEVEL

if TYPE_CHECKING:
    from engine.telemetry.tasklog import LogWriter


class EngineScope(RunScope):
    """Keeps output in the run's log; the log's files are made when something is written."""

    def __init__(self, run_id: str, home: Path | None, names: Names, logs: Path | None) -> None:
        super().__init__(run_id, home)
        self._names = names
        self._logs = logs
        self._writer: LogWriter | None = None
        if logs is not None:
            from engine.telemetry.tasklog import LogWriter

            self._writer = LogWriter(logs)
        self.progress_of: dict[int, tuple[float, float | None]] = {}
        """Task run → (done, total), in the task's own units."""

    def name_of(self, attempt: Attempt) -> str:
        return self._names.item(attempt.node.index, attempt.index)

    def write(self, attempt: Attempt, stream: str, level: int, text: str) -> None:
        if self._writer is not None:
            self._writer.append(
                attempt.tid, attempt.generation, attempt.number, stream, level, now(), text
            )

    def write_stray(self, stream: str, text: str) -> None:
        """Keep what this process wrote, and no attempt that is known: C code, children."""
        if self._writer is not None:
            self._writer.append(-1, 0, 0, stream, LEVEL[stream], now(), text)

    def progress(self, attempt: Attempt, done: float, total: float | None) -> None:
        self.progress_of[attempt.tid] = (done, total)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
