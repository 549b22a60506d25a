"""What a run tells those who show it. The engine draws nothing; a reporter may.

A run always has one reporter: plain lines unless the command line brings another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from engine.core.events import Change
from engine.worker.secrets import mask

if TYPE_CHECKING:
    from pathlib import Path

    from engine.core.machine import Machine
    from engine.core.record import RunRecord
    from engine.runtime.commands import Commands
    from engine.runtime.gauges import Gauges
    from engine.runtime.looking import Look
    from engine.runtime.names import Names
    from engine.runtime.outline import Outline
    from engine.runtime.run import Run


def _drop(stream: str, text: str) -> None:
    """Where no log is kept."""


@dataclass(slots=True)
class Live:
    """A run that has begun, as a reporter may read it (never write)."""

    run_id: str
    workflow: str
    machine: Machine
    names: Names
    groups: Sequence[str]
    """The name of each node."""
    resumed: str = ""
    """One line about what is carried on; empty for a new run."""
    home: str | None = None
    """The state directory; None if nothing is kept."""
    outline: Outline | None = None
    """What a stored run has for a graph: the same to whoever shows either."""
    record: RunRecord | None = None
    """What was known of the run when this session began. The changes follow upon it."""
    logs: Path | None = None
    """Where the tasks' output is written; None if it is not kept."""
    commands: Commands | None = None
    """What a person may ask of the run."""
    progress: Mapping[int, tuple[float, float | None]] = field(default_factory=dict)
    """Task run → (done, total) as its own code told it, in its own units; total None: unknown."""
    write_stray: Callable[[str, str], None] = _drop
    """Takes a stream ("out", "err") and text of this process that belongs to no attempt, for
    a reporter that captures all output: it goes to the run's log, under no task."""
    look: Look | None = None
    """A task run's code, inputs and result."""
    gauges: Callable[[], Gauges] | None = None
    """Workers, queues, limits, CPU and memory as they are now."""
    stop: Callable[[int], None] | None = None
    """What Ctrl-C does: 1 starts nothing new, 2 stops what runs too, 3 leaves at once. The run
    becomes INTERRUPTED, and can be resumed; one that has ended and lingers is closed."""
    close: Callable[[], None] | None = None
    """Lets a run that lingers go: now if it has ended, else when it does."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What it was started with: "file", "executor", "workers", "durability", and "parameters" as
    name → value as shown."""


class Reporter(Protocol):
    """Shows a run. Called from the bus's thread, except `begin` and `end` (the caller's)."""

    def begin(self, live: Live) -> None:
        """The run starts."""

    def changes(self, batch: Sequence[Change]) -> None:
        """Recorded changes, in order."""

    def say(self, text: str) -> None:
        """One line of news that is no change: a full disk, a worker that died."""

    def plan(self, plan: Any) -> None:
        """What a resume will do, before it does it."""

    def end(self, run: Run) -> None:
        """The run ended."""


class Several:
    """Reporters told one after the other. One that raises does not keep the news from the rest.

    One that has nowhere to write any more (a closed pipe, a full disk) is no error at all.
    """

    def __init__(self, *reporters: Reporter) -> None:
        self._reporters = reporters

    def begin(self, live: Live) -> None:
        """See `Reporter`."""
        self._tell(lambda r: r.begin(live))

    def changes(self, batch: Sequence[Change]) -> None:
        """See `Reporter`."""
        self._tell(lambda r: r.changes(batch))

    def say(self, text: str) -> None:
        """See `Reporter`."""
        clean = mask(text)
        self._tell(lambda r: r.say(clean))

    def plan(self, plan: Any) -> None:
        """See `Reporter`."""
        self._tell(lambda r: r.plan(plan))

    def end(self, run: Run) -> None:
        """See `Reporter`."""
        self._tell(lambda r: r.end(run))

    def _tell(self, news: Callable[[Reporter], None]) -> None:
        failures: list[Exception] = []
        for reporter in self._reporters:
            try:
                news(reporter)
            except (OSError, ValueError):
                continue  # ValueError is what a closed file raises
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]


class Silent:
    """A reporter that shows nothing: for tests, benchmarks, and `output="silent"`."""

    def begin(self, live: Live) -> None:
        """See `Reporter`."""

    def changes(self, batch: Sequence[Change]) -> None:
        """See `Reporter`."""

    def say(self, text: str) -> None:
        """See `Reporter`."""

    def plan(self, plan: Any) -> None:
        """See `Reporter`."""

    def end(self, run: Run) -> None:
        """See `Reporter`."""
