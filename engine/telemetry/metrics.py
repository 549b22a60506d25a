"""What a run did in figures: a fold over its changes, and a look at its processes.

Rule 1: like everything that shows a run, `Metrics` knows only the changes; folding a
        hundred thousand successes costs a fraction of what recording them does.
Rule 2: a duration is the time between an attempt's start and its end. Durations of failed
        attempts count as time used, not as how long the task takes.
Rule 3: all times in seconds, all sizes in bytes. Space is bounded (see `series`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.core.events import Attempt, Change, Failed, Moved, Reset, Started, Succeeded
from engine.core.states import UP_FOR_RETRY
from engine.telemetry.series import Durations, Series
from engine.worker.clock import now

if TYPE_CHECKING:
    from engine.core.tasks import TaskSpec

#: Tasks listed in a summary, the costliest first. A loop may declare any number.
_MOST_LISTED = 500


class TaskFigures:
    """What all attempts of one declared task amount to."""

    __slots__ = ("durations", "failures", "name", "retries", "retry_wait", "used")

    def __init__(self, name: str) -> None:
        self.name = name
        self.durations = Durations()
        """Of the attempts that succeeded."""
        self.failures = 0
        """Attempts that failed."""
        self.retries = 0
        """Of those, the ones that are tried again."""
        self.retry_wait = 0.0
        """Seconds spent between a failure and the next try."""
        self.used = 0.0
        """Seconds of a worker, failed attempts included."""

    def to_dict(self) -> dict[str, object]:
        d = self.durations
        return {
            "name": self.name,
            "successes": d.count,
            "failures": self.failures,
            "retries": self.retries,
            "retry_wait": self.retry_wait,
            "used": self.used,
            "mean": d.mean,
            "p50": d.percentile(0.5),
            "p95": d.percentile(0.95),
            "max": d.longest,
        }


class Metrics:
    """Folds batches of changes; a listener for the bus as it is: `bus.subscribe(Metrics())`."""

    def __init__(self) -> None:
        self.tasks: dict[TaskSpec, TaskFigures] = {}
        self.finished = Series()
        """Successes per slot of time."""
        self.used = 0.0
        """Seconds of workers used, over all tasks."""
        self.first: float | None = None
        """When the first attempt started."""
        self.last = 0.0
        """When the latest one ended."""
        self.moved: dict[str, int] = {}
        """State → task runs that took it without an attempt of theirs deciding so."""
        self.reset = 0
        """Task runs whose outcome was discarded."""
        self._fold: dict[type, Callable[[Any], None]] = {
            Succeeded: self._succeeded,
            Failed: self._failed,
            Started: self._started,
            Moved: self._moved,
            Reset: self._reset,
        }

    def __call__(self, changes: Sequence[Change]) -> None:
        """Take in one batch of changes. Called by one thread at a time."""
        for change in changes:
            fold = self._fold.get(type(change))
            if fold is not None:
                fold(change)

    # -- the folds ---------------------------------------------------------------------------

    def _figures(self, spec: TaskSpec) -> TaskFigures:
        figures = self.tasks.get(spec)
        if figures is None:
            figures = self.tasks[spec] = TaskFigures(spec.name)
        return figures

    def _succeeded(self, change: Succeeded) -> None:
        attempts = change.attempts
        if not attempts:
            return
        by_spec: defaultdict[TaskSpec, list[float]] = defaultdict(list)
        for a in attempts:
            by_spec[a.node.spec].append(a.end - a.start)
        for spec, seconds in by_spec.items():
            figures = self._figures(spec)
            figures.durations.add(seconds)
            used = sum(seconds)
            figures.used += used
            self.used += used
        self._span(attempts[0].start, attempts[-1].end)
        self.finished.add(attempts[-1].end, len(attempts))

    def _failed(self, change: Failed) -> None:
        attempt = change.attempt
        figures = self._figures(attempt.node.spec)
        figures.failures += 1
        if change.state is UP_FOR_RETRY:
            figures.retries += 1
            figures.retry_wait += max(0.0, change.due - attempt.end)
        if attempt.start and attempt.end:  # else it never ran: its arguments could not be read
            used = attempt.end - attempt.start
            figures.used += used
            self.used += used
            self._span(attempt.start, attempt.end)

    def _started(self, change: Started) -> None:
        for attempt in change.attempts:
            self._began(attempt)

    def _began(self, attempt: Attempt) -> None:
        if attempt.start and (self.first is None or attempt.start < self.first):
            self.first = attempt.start

    def _span(self, start: float, end: float) -> None:
        if self.first is None or start < self.first:
            self.first = start
        if end > self.last:
            self.last = end

    def _moved(self, change: Moved) -> None:
        name = change.state.name
        self.moved[name] = self.moved.get(name, 0) + len(change.tids)

    def _reset(self, change: Reset) -> None:
        self.reset += len(change.tids)

    # -- what came of it ------------------------------------------------------------------------

    @property
    def wall(self) -> float:
        """Seconds from the first attempt's start to the latest end."""
        return max(0.0, self.last - self.first) if self.first is not None else 0.0

    def slot_use(self, slots: int) -> float:
        """The fraction of `slots` workers' time that attempts used. Async tasks can exceed 1."""
        available = self.wall * slots
        return self.used / available if available > 0 else 0.0

    def summary(self, *, slots: int | None = None) -> dict[str, object]:
        """All figures as plain data (strings, numbers, lists, dicts), to be stored with the run."""
        listed = sorted(self.tasks.values(), key=lambda t: t.used, reverse=True)
        wall = self.wall
        successes = sum(t.durations.count for t in listed)
        return {
            "first": self.first,
            "last": self.last,
            "wall": wall,
            "used": self.used,
            "slots": slots,
            "slot_use": self.slot_use(slots) if slots else None,
            "successes": successes,
            "failures": sum(t.failures for t in listed),
            "retries": sum(t.retries for t in listed),
            "retry_wait": sum(t.retry_wait for t in listed),
            "per_second": successes / wall if wall > 0 else 0.0,
            "moved": dict(self.moved),
            "reset": self.reset,
            "finished": self.finished.to_dict(),
            "tasks": [t.to_dict() for t in listed[:_MOST_LISTED]],
        }


# -- processes -------------------------------------------------------------------------------


class Sample(NamedTuple):
    """The engine and its workers at one moment."""

    at: float
    """Seconds since the Unix epoch."""
    cpu: float
    """Cores in use since the sample before: 1.0 is one core busy all the time."""
    memory: int
    """Bytes resident, shared pages counted in each process."""
    processes: int
    engine_cpu: float = 0.0
    """What the engine's own process has of `cpu`."""
    engine_memory: int = 0
    """What it has of `memory`."""


class Sampler:
    """Looks at the engine and its workers, once in an interval (seconds)."""

    def __init__(
        self,
        pids: Callable[[], Iterable[int]],
        *,
        interval: float = 1.0,
        on_sample: Callable[[Sample], None] | None = None,
    ) -> None:
        self._pids = pids
        self._interval = interval
        self._on_sample = on_sample
        self._processes: dict[int, Any] = {}
        self._spent: dict[int, float] = {}
        """pid → CPU seconds that it had used at the sample before."""
        self._next = now() + interval
        self.trouble = ""
        """What went wrong at the last look that failed."""
        self.latest: Sample | None = None
        self.cpu = Series()
        """CPU seconds used per slot of time."""
        self.memory = Series(max)
        """The most bytes resident per slot of time."""

    def poll(self) -> None:
        """Look if an interval has passed since the last look; call it as often as you like.

        The first look comes after the first interval: a run shorter than that is not worth
        the 15 ms that psutil takes to import.
        """
        at = now()
        if at < self._next:
            return
        self._next = at + self._interval
        try:
            self.sample()
        except Exception as error:
            # Figures are a courtesy: a process table that cannot be read stops no run.
            self.trouble = f"{type(error).__name__}: {error}"

    def close(self) -> None:
        """Take a last look, if there was a first."""
        if self.latest is not None:
            self._next = 0.0
            self.poll()

    def sample(self) -> Sample:
        """Look once, now."""
        at = now()
        own = self._usage(os.getpid()) or (0.0, 0)
        others = [self._usage(pid) for pid in set(self._pids()) - {os.getpid()}]
        seen = [own, *(usage for usage in others if usage is not None)]
        spent, memory = sum(u[0] for u in seen), sum(u[1] for u in seen)
        before = self.latest
        # The first look has nothing to compare with: what a process used before is not ours.
        elapsed = at - before.at if before is not None else 0.0
        cores = 1 / elapsed if elapsed > 0 else 0.0
        sample = Sample(at, spent * cores, memory, len(seen), own[0] * cores, own[1])
        self.latest = sample
        self.cpu.add(at, spent)
        self.memory.add(at, memory)
        if self._on_sample is not None:
            with suppress(Exception):  # a bad listener hurts only itself
                self._on_sample(sample)
        return sample

    def _usage(self, pid: int) -> tuple[float, int] | None:
        """CPU seconds since the last look, and bytes resident; None if the process is gone."""
        import psutil  # 15 ms to import: not before the first sample, in our own thread

        try:
            process = self._processes.get(pid)
            if process is None or not process.is_running():
                process = self._processes[pid] = psutil.Process(pid)
                self._spent.pop(pid, None)
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info().rss
        except psutil.Error:
            self._processes.pop(pid, None)
            self._spent.pop(pid, None)
            return None
        total = times.user + times.system
        # A worker that is new used all of its time within the run; the engine process did not.
        known = self._spent.get(pid, total if pid == os.getpid() else 0.0)
        self._spent[pid] = total
        return max(0.0, total - known), memory

    def summary(self) -> dict[str, object]:
        """The figures as plain data: CPU seconds, most bytes resident, both over time."""
        return {
            "cpu": sum(self.cpu.values),
            "memory": max(self.memory.values, default=0),
            "cpu_series": self.cpu.to_dict(),
            "memory_series": self.memory.to_dict(),
        }
