"""What goes down a worker's pipe and what comes back: attempts as columns, reports as outcomes.

Rule 1: a task is shipped once to each worker, by value, and pickled once in all; calls of one
        form (task, number of arguments, keywords) share a number.
Rule 2: one msgpack call for all arguments of a batch and one for all its results: at a
        hundred thousand tasks, a call each would cost more than the tasks.
Rule 3: an attempt that cannot be sent fails by itself; the others go.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, Final

from engine.core.events import Attempt, ErrorInfo
from engine.core.retry import RetryPolicy
from engine.core.states import CANCELLED, FAILED, QUEUED, SUCCESS, FailureReason, TaskState
from engine.core.tasks import TaskOptions, TaskSpec
from engine.errors import UnserialisableError
from engine.executors.base import Hub, Why
from engine.executors.process_wire import pack
from engine.worker import classes
from engine.worker.call import report_exception, report_timeout
from engine.worker.codec import ABSENT, SCALARS, decode, pack_column, to_stored, unpack_column

#: Bytes of arguments after which a message is closed and the rest of the batch waits.
MOST_SENT: Final = 32 << 20


class Shelf:
    """Pickled tasks, shared by all workers of an executor."""

    def __init__(self) -> None:
        self._pickled: dict[TaskSpec, tuple[int, bytes]] = {}
        self._lock = threading.Lock()

    def get(self, spec: TaskSpec) -> tuple[int, bytes]:
        """The task's number, and itself as bytes. Raises UnserialisableError."""
        found = self._pickled.get(spec)
        if found is None:
            data = _pickled(spec)
            with self._lock:
                found = self._pickled.setdefault(spec, (len(self._pickled), data))
        return found


def _pickled(spec: TaskSpec) -> bytes:
    """As much of a task as a worker needs: function, resources, and what it asks on failure."""
    from engine.worker.by_value import dumps

    policy = spec.options.retry
    options = TaskOptions(
        retry=RetryPolicy(policy.retries, policy.delay, on=policy.on),
        outputs=spec.options.outputs,
    )
    bare = replace(spec, options=options, source=None, resources=dict(spec.resources))
    try:
        return dumps(bare)
    except Exception as exc:
        raise UnserialisableError(
            f"task {spec.name!r}",
            f"its function cannot be sent to another process ({exc}); pass what it uses as "
            'arguments, open it inside the task, or give the task executor="thread"',
        ) from exc


class Parcel:
    """Attempts under way in one message, until the last of them is accounted for."""

    __slots__ = ("attempts", "base", "stops")

    def __init__(self, base: int, attempts: list[Attempt]) -> None:
        self.base = base
        """The first one's serial number."""
        self.attempts = attempts
        self.stops: dict[int, Why] = {}
        """Serials of those that were asked to end, and why."""

    def find(self, serial: int) -> Attempt | None:
        """The attempt of that number, if it is one of these."""
        at = serial - self.base
        return self.attempts[at] if 0 <= at < len(self.attempts) else None

    def take_back(self, serial: int) -> list[Attempt]:
        """Let go of those from `serial` on, none of which has begun."""
        at = max(0, serial - self.base)
        taken = self.attempts[at:]
        # They may be in another worker's hands a moment later, so this one must forget them.
        del self.attempts[at:]
        for serial, a in enumerate(taken, self.base + at):
            self._not_begun(serial, a)
        return taken

    def rest(self) -> list[Attempt]:
        """Let go of those that came to no end here: they go back to the queue."""
        left = [(s, a) for s, a in enumerate(self.attempts, self.base) if a.status is None]
        for serial, a in left:
            self._not_begun(serial, a)
        return [a for _, a in left]

    def _not_begun(self, serial: int, a: Attempt) -> None:
        if self.stops.get(serial) == "cancel":
            a.stop(CANCELLED, "cancelled before it started")
        else:
            a.start = 0.0
            a.stop(QUEUED)

    def settle_stops(self) -> None:
        """What was asked to end and has: a late success is not taken for one in time."""
        for serial, why in list(self.stops.items()):
            a = self.find(serial)
            if a is not None and a.status is not None and a.status is not QUEUED:
                del self.stops[serial]
                _stopped(a, why)


def _stopped(a: Attempt, why: Why) -> None:
    if why == "cancel":
        if a.status is FAILED:
            a.stop(CANCELLED, "cancelled while running")
        return
    where: ErrorInfo | None = getattr(a, "error", None)
    report_timeout(a)
    if where is not None:
        a.error = a.error._replace(traceback=where.traceback, file=where.file, line=where.line)


class Packer:
    """Makes the messages for one worker process; knows what it was sent before."""

    def __init__(self, shelf: Shelf, hub: Hub, worker: int) -> None:
        self._shelf = shelf
        self._hub = hub
        self._worker = worker
        self._specs: set[int] = set()
        self._shapes: dict[tuple[Any, ...], int] = {}
        self._classes = -1
        self._serial = 0

    def pack(
        self, batch: list[Attempt], failed: list[Attempt]
    ) -> tuple[Parcel, bytes, bytes, list[Attempt]]:
        """A message with as much of the batch as fits: parcel, head, tail, what is left.

        Attempts that cannot be sent are reported as such, in `failed`.
        """
        load = _Load(self, self._hub, self._worker)
        left: list[Attempt] = []
        for i, attempt in enumerate(batch):
            if not load.add(attempt):
                failed.append(attempt)
            elif load.bytes > MOST_SENT:
                left = batch[i + 1 :]
                break
        parcel = Parcel(self._serial, load.taken)
        self._serial += len(load.taken)
        head = pack((
            load.specs, load.new_shapes, self._flow_classes(), parcel.base, load.shapes,
            *_identity(self._hub, load.taken),
        ))
        return parcel, head, pack_column(load.values), left

    def shape(self, load: _Load, key: tuple[Any, ...]) -> int:
        """The number of a form of call; new ones go with the load. Raises UnserialisableError."""
        found = self._shapes.get(key)
        if found is None:
            spec, positional, *names = key
            number, data = self._shelf.get(spec)
            if number not in self._specs:
                self._specs.add(number)
                load.specs.append((number, data))
            found = self._shapes[key] = len(self._shapes)
            load.new_shapes.append((found, number, positional, names))
        return found

    def _flow_classes(self) -> bytes | None:
        """The flow's classes by value, where there are some that this worker has not got."""
        version = classes.version()
        if version == self._classes:
            return None
        self._classes = version
        found = classes.flow_classes()
        return _pickled_classes(found) if found else None


def _pickled_classes(found: list[type]) -> bytes | None:
    from engine.worker.by_value import dumps

    try:
        return dumps(found)
    except Exception:
        # One of them cannot be sent (a lock in its body): the tasks that need it will say so.
        sendable = [cls for cls in found if _is_sendable(cls)]
        return dumps(sendable) if sendable else None


def _is_sendable(cls: type) -> bool:
    from engine.worker.by_value import dumps

    try:
        return bool(dumps(cls))
    except Exception:
        return False


def _identity(hub: Hub, taken: list[Attempt]) -> tuple[list[Any], ...]:
    """Columns from which a worker makes out which attempts these are."""
    indexes = [a.index for a in taken]
    names = [a.node.name for a in taken]
    if indexes and max(indexes) >= 0:
        for i, a in enumerate(taken):
            if a.index >= 0 and _keyed(a):  # named here, where the keys are
                indexes[i], names[i] = -1, hub.run.name_of(a)
    tids = [a.tid for a in taken]
    return tids, [a.number for a in taken], [a.generation for a in taken], indexes, names


def _keyed(a: Attempt) -> bool:
    mapped = a.node.mapped
    return mapped is not None and mapped.key is not None


class _Load:
    """A message while it is filled."""

    def __init__(self, packer: Packer, hub: Hub, worker: int) -> None:
        self._packer = packer
        self._hub = hub
        self._worker = worker
        self.taken: list[Attempt] = []
        self.shapes: list[int] = []
        self.values: list[Any] = []
        self.specs: list[tuple[int, bytes]] = []
        self.new_shapes: list[tuple[Any, ...]] = []
        self.bytes = 0

    def add(self, a: Attempt) -> bool:
        """Take an attempt in; False: it was reported as failed, or cancelled."""
        a.run = self._hub.run
        a.worker = self._worker
        start = len(self.values)
        try:
            args, kwargs = self._hub.stored_arguments(a)
            if a.cancelled:  # looked at last: what it reads may be gone
                a.stop(CANCELLED, "cancelled before it started")
                return False
            spec = a.node.spec
            key = (spec, len(args), *kwargs) if kwargs else (spec, len(args))
            shape = self._packer.shape(self, key)
            self._add_values(args, kwargs)
        except Exception as exc:
            del self.values[start:]
            report_exception(a, exc)
            return False
        self.taken.append(a)
        self.shapes.append(shape)
        return True

    def _add_values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        add = self.values.append
        for i, value in enumerate(args):
            add(value if type(value) in SCALARS else self._stored(value, f"args[{i}]"))
        for name, value in kwargs.items():
            add(value if type(value) in SCALARS else self._stored(value, name))

    def _stored(self, value: Any, name: str) -> Any:
        try:
            stored = to_stored(value)
        except UnserialisableError as exc:
            raise UnserialisableError(name + exc.path.removeprefix("result"), exc.why) from exc
        if isinstance(stored, (bytes, str)):
            self.bytes += len(stored)
        return stored


# -- reports ------------------------------------------------------------------------------

Report = tuple[
    bool, tuple[int, ...], tuple[float, ...], tuple[float, ...],
    tuple[tuple[int, tuple[Any, ...]], ...],
]
"""Last of its batch; serials, starts, ends; position → ending of those without a result."""


def absorb(parcel: Parcel, head: Report, tail: memoryview) -> list[Attempt]:
    """Fill the attempts of a report in; those that ended by it."""
    _, serials, starts, ends, others = head
    values = unpack_column(bytes(tail))
    base, attempts = parcel.base, parcel.attempts
    ended: list[Attempt] = []
    for serial, start, end, value in zip(serials, starts, ends, values, strict=True):
        a = attempts[serial - base]
        a.start = start
        a.end = end
        a.value = a.payload = value
        a.status = SUCCESS
        if not a.node.spec.options.persist:
            a.payload = ABSENT
        ended.append(a)
    for at, ending in others:
        _end(ended[at], *ending)
    if parcel.stops:
        parcel.settle_stops()
    return ended


def _end(
    a: Attempt, status: int, reason: str, error: tuple[Any, ...], retryable: bool,
    delay: float | None, carried: bytes | None,
) -> None:
    """Fill in an ending that made no result; see `process_worker._ending`."""
    del a.value, a.payload
    if status != FAILED:
        a.stop(TaskState(status), reason)
        a.error = ErrorInfo(*error)
        return
    a.fail(
        ErrorInfo(*error), FailureReason(reason), exception=_exception(carried),
        retryable=retryable, delay=delay,
    )


def _exception(carried: bytes | None) -> BaseException | None:
    if carried is None:
        return None
    try:
        found = decode(carried)
    except Exception:
        return None  # its description has arrived in any case
    return found if isinstance(found, BaseException) else None
