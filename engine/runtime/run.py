"""`Run`: what `.run()` returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from engine.core.events import ErrorInfo
from engine.core.record import NO_VALUE, RunRecord
from engine.core.states import FAILED, RunState, TaskState
from engine.errors import RunFailed, TaskFailed
from engine.runtime.names import Names
from engine.worker.codec import ABSENT
from engine.worker.failures import masked


class TaskRun:
    """One task run of a run, as it ended."""

    __slots__ = ("_read", "_record", "name", "tid")

    def __init__(
        self, name: str, tid: int, record: RunRecord, read: Callable[[int], Any]
    ) -> None:
        self.name = name
        self.tid = tid
        self._record = record
        self._read = read

    @property
    def state(self) -> TaskState:
        return TaskState(self._record.state[self.tid])

    @property
    def attempt(self) -> int:
        """Number of the last attempt, from 1; 0 if there was none."""
        return self._record.number[self.tid]

    @property
    def generation(self) -> int:
        return self._record.generation.get(self.tid, 1)

    @property
    def seconds(self) -> float:
        """How long the last attempt took; 0.0 if it did not end."""
        end = self._record.end[self.tid]
        return max(0.0, end - self._record.start[self.tid]) if end else 0.0

    @property
    def reason(self) -> str:
        """error, timeout, crashed, unserialisable or interrupted, where it failed."""
        return self._record.errors.get(self.tid, ("", None))[0]

    @property
    def error(self) -> ErrorInfo | None:
        return self._record.errors.get(self.tid, ("", None))[1]

    @property
    def result(self) -> Any:
        """The result. Raises TaskFailed if there is none."""
        if self._record.values[self.tid] in (NO_VALUE, ABSENT) and self.state != TaskState.SUCCESS:
            raise TaskFailed(f"{self.name} is {self.state.name}"
                             f"{f': {self.error}' if self.error else ''}")
        return self._read(self.tid)

    def __repr__(self) -> str:
        return f"<TaskRun {self.name}: {self.state.name}>"


class TaskRuns(Mapping[str, TaskRun]):
    """The task runs by name; maps are there item by item."""

    def __init__(self, record: RunRecord, names: Names, read: Callable[[int], Any]) -> None:
        self._record, self._names, self._read = record, names, read

    def __getitem__(self, name: str) -> TaskRun:
        from engine.errors import RunError

        try:
            tids = self._names.find(name)
        except RunError as error:
            raise KeyError(str(error)) from None
        return TaskRun(name, tids[0], self._record, self._read)

    def __iter__(self) -> Iterator[str]:
        for tid in self._record.live_ids():
            yield self._names.of(tid, self._record.node_of(tid))

    def __len__(self) -> int:
        return sum(1 for _ in self._record.live_ids())


class Run:
    """One execution of a workflow, ended."""

    def __init__(
        self,
        run_id: str,
        workflow: str,
        load: Callable[[], RunRecord],
        names: Callable[[RunRecord], Names],
        read: Callable[[int], Any],
        result: Callable[[], Any],
        *,
        state: RunState,
        why: str,
        cause: BaseException | None,
        counts: Mapping[str, int],
        seconds: float,
        signal: int | None = None,
    ) -> None:
        self.run_id = run_id
        self.workflow = workflow
        self.state = state
        self.why = why
        """What to add to the state; often empty."""
        self.counts = counts
        """State → number of task runs in it."""
        self.seconds = seconds
        """How long this session took."""
        self.signal = signal
        """The signal that stopped it; None if none did."""
        self._cause = cause
        self._load, self._make_names, self._read, self._result = load, names, read, result
        self._task_runs: TaskRuns | None = None

    @property
    def task_runs(self) -> TaskRuns:
        """Task runs by name, read from the record when first asked for."""
        if self._task_runs is None:
            record = self._load()
            self._task_runs = TaskRuns(record, self._make_names(record), self._read)
        return self._task_runs

    @property
    def result(self) -> Any:
        """What the workflow returned, handles replaced; of a block `{leaf name: value}`.

        Raises RunFailed unless the run is SUCCESS.
        """
        self.raise_for_failure()
        return self._result()

    def raise_for_failure(self) -> Run:
        """Raise RunFailed, with the first failure as its cause, unless SUCCESS; returns itself."""
        if self.state is RunState.SUCCESS:
            return self
        failed = [n for n, t in self.task_runs.items() if t.state == FAILED]
        told = f": {', '.join(failed[:3])}{' …' if len(failed) > 3 else ''}" if failed else ""
        error = RunFailed(f"run {self.run_id} of {self.workflow!r} ended {self.state}{told}"
                          f"{f' ({self.why})' if self.why else ''}")
        cause = self._cause
        if cause is None and failed:
            first = self.task_runs[failed[0]].error
            cause = TaskFailed(f"{failed[0]}: {first}") if first is not None else None
        raise error from (masked(cause) if cause is not None else None)

    def __repr__(self) -> str:
        return f"<Run {self.run_id} of {self.workflow!r}: {self.state}>"
