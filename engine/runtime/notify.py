"""Changes as notices, for listeners of `wf.on(...)`. Made only for what is listened for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from engine.core.events import Change, Failed, Moved, Started, Succeeded
from engine.core.machine import Machine
from engine.core.notices import (
    Notice,
    RunNotice,
    TaskCancelled,
    TaskFailed,
    TaskNotice,
    TaskRetrying,
    TaskSkipped,
    TaskStarted,
    TaskSucceeded,
)
from engine.core.states import (
    CANCELLED,
    FAILED,
    RUNNING,
    SKIPPED,
    SUCCESS,
    UP_FOR_RETRY,
    UPSTREAM_FAILED,
    TaskState,
)
from engine.runtime.names import Names
from engine.worker.clock import now

Registered = tuple[type[Notice], Callable[[Any], object]]

_BY_STATE: dict[TaskState, type[TaskNotice]] = {
    UPSTREAM_FAILED: TaskFailed, SKIPPED: TaskSkipped, CANCELLED: TaskCancelled,
}


class NoticeMaker:
    """Calls handlers with the notices that they registered for."""

    def __init__(
        self,
        handlers: Sequence[Registered],
        run_id: str,
        machine: Machine,
        names: Names,
        complain: Callable[[str], None],
    ) -> None:
        self._handlers = handlers
        self._run_id = run_id
        self._machine = machine
        self._names = names
        self._complain = complain
        self._faulty: set[int] = set()

    def wants(self, kind: type[Notice]) -> bool:
        """True if anybody listens for notices of this kind."""
        return any(issubclass(kind, wanted) for wanted, _ in self._handlers)

    def wants_tasks(self) -> bool:
        """True if anybody listens for what happens to task runs."""
        return any(not issubclass(wanted, RunNotice) for wanted, _ in self._handlers)

    def tell(self, notice: Notice) -> None:
        """Call the handlers of a notice; one that raises is complained of once."""
        for wanted, handler in self._handlers:
            if isinstance(notice, wanted):
                try:
                    handler(notice)
                except (Exception, SystemExit) as error:
                    if id(handler) not in self._faulty:
                        self._faulty.add(id(handler))
                        name = getattr(handler, "__qualname__", repr(handler))
                        self._complain(
                            f"listener {name} raised {type(error).__name__}: {error}"
                        )

    def changes(self, batch: Sequence[Change]) -> None:
        """A bus listener: make and tell the notices of a batch."""
        for change in batch:
            for notice in self._notices(change):
                self.tell(notice)

    def _notices(self, change: Change) -> Iterator[Notice]:
        if isinstance(change, Succeeded):
            if self.wants(TaskSucceeded):
                for a in change.attempts:
                    yield self._of_attempt(TaskSucceeded, a, SUCCESS)
        elif isinstance(change, Started):
            if self.wants(TaskStarted):
                for a in change.attempts:
                    yield self._of_attempt(TaskStarted, a, RUNNING, seconds=0.0)
        elif isinstance(change, Failed):
            a = change.attempt
            if change.state == UP_FOR_RETRY:
                yield self._of_attempt(TaskRetrying, a, UP_FOR_RETRY, error=a.error,
                                       wait=max(0.0, change.due - a.end))
            else:
                yield self._of_attempt(TaskFailed, a, FAILED, error=a.error)
        elif isinstance(change, Moved):
            kind = _BY_STATE.get(change.state)
            if kind is not None and self.wants(kind):
                for tid in change.tids:
                    yield kind(self._run_id, now(), self._name(tid), change.state, why=change.why)

    def _name(self, tid: int) -> str:
        return self._names.of(tid, self._machine.node_of(tid))

    def _of_attempt(
        self, kind: type[TaskNotice], a: Any, state: TaskState,
        seconds: float | None = None, **more: Any,
    ) -> TaskNotice:
        return kind(
            self._run_id, a.end or a.start, self._names.item(a.node.index, a.index), state,
            attempt=a.number, generation=a.generation,
            seconds=max(0.0, a.end - a.start) if seconds is None else seconds, **more,
        )
