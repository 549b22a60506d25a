"""A worker process: takes batches off a pipe, calls the functions, reports what became of them.

Started as `python -m engine.executors.process_worker FD FD FD FD`, or the same by `-c` where
the engine is not on the interpreter's own path; never by fork, never by multiprocessing.

Rule 1: user code runs in the main thread, one attempt at a time, so that SIGTERM can end it and
        a crash can be blamed. Everything of an attempt (unpickling its function, decoding its
        arguments, encoding its result) happens while it is the one in hand.
Rule 2: whatever an attempt does is that attempt's failure; only a death of the process ends
        the loop.
Rule 3: an outcome waits for its batch to end, but no longer than some 5 ms behind a slow attempt:
        a second thread sends what has come together.
Rule 4: SIGTERM raises AttemptStopped only in the attempt that the engine named on the board.
        One that nobody asked for ends the process, as it would any other.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from engine.core.events import Attempt
from engine.core.states import TaskState
from engine.core.tasks import TaskSpec
from engine.errors import AttemptStopped, UnserialisableError
from engine.executors.process_board import CANCEL, MARK, NOTHING, Board, record_of
from engine.executors.process_wire import (
    BATCH,
    CLOSE,
    PROGRESS,
    READY,
    REPORT,
    TEXT,
    Gone,
    Receiver,
    Sender,
    pack,
)
from engine.worker import capture, classes
from engine.worker.call import call, check_outputs, report_exception
from engine.worker.clock import now as clock
from engine.worker.codec import (
    SCALARS,
    Encoded,
    decode,
    encode,
    from_stored,
    pack_column,
    to_stored,
    unpack_column,
)
from engine.worker.context import HERE, RunScope
from engine.worker.failures import describe
from engine.worker.resources import WorkerResources
from engine.worker.secrets import hiding, holds_secret, refuse

#: Seconds between the flusher's looks; an outcome that it sees twice is sent.
FLUSH_EVERY = 0.005
#: Looks without anything to do after which it sleeps until it is woken.
DOZE_AFTER = 40
#: Bytes of results that wait for the end of their batch; beyond, they are sent at once.
MOST_WAITING = 1 << 20
#: An attempt shorter than this many seconds has not written to a descriptor behind Python's
#: back: waking the reader alone takes longer. Not asking saves a microsecond a task.
TOO_SHORT_TO_WRITE = 3e-6

Ending = tuple[Any, ...]
"""How an attempt ended that made no result: see `_ending`."""


class _Shipped:
    """A task as it was shipped, unpickled when first called."""

    __slots__ = ("_data", "_spec")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._spec: TaskSpec | None = None

    def get(self) -> TaskSpec:
        """The task. Raises what unpickling raises."""
        if self._spec is None:
            import cloudpickle

            self._spec = cloudpickle.loads(self._data)
            self._data = b""
        assert self._spec is not None
        return self._spec


class _Shape:
    """What calls of one form have in common."""

    __slots__ = ("_task", "names", "positional", "size", "spec")

    def __init__(self, task: _Shipped, positional: int, names: tuple[str, ...]) -> None:
        self._task = task
        self.positional = positional
        self.names = names
        """Keyword arguments; their values follow the positional ones."""
        self.size = positional + len(names)
        self.spec: TaskSpec | None = None
        """None until the first call."""

    def load(self) -> TaskSpec:
        """The task. Raises what unpickling it raises."""
        self.spec = self._task.get()
        return self.spec


class _Order:
    """A batch as it came off the pipe: columns, looked into when somebody asks."""

    def __init__(
        self, head: Any, tail: memoryview, shapes: dict[int, _Shape], scope: Scope
    ) -> None:
        self.base, self.shapes, *self.columns = head
        self._known = shapes
        self.values = unpack_column(bytes(tail))
        self.scope = scope
        self.plain = Encoded not in set(map(type, self.values))

    def shape_at(self, position: int) -> _Shape:
        return self._known[self.shapes[position]]

    def arguments(self, shape: _Shape, start: int) -> tuple[list[Any], dict[str, Any]]:
        """The arguments whose values begin at `start`, decoded. Raises CodecError."""
        values = self.values[start : start + shape.size]
        if not self.plain:
            values = [from_stored(v) for v in values]
        if not shape.names:
            return values, {}
        middle = shape.positional
        return values[:middle], dict(zip(shape.names, values[middle:], strict=True))


class Held(Attempt):
    """An attempt as its function sees it. Filled in when somebody looks: most never do."""

    __slots__ = ("_order", "serial")

    def __init__(self, serial: int, order: _Order) -> None:
        self.serial = serial
        self._order = order

    def __getattr__(self, name: str) -> Any:
        if name not in _KNOWN_HERE:
            raise AttributeError(name)
        self.complete()
        return object.__getattribute__(self, name)

    def complete(self) -> None:
        """Fill it in."""
        order = self._order
        position = self.serial - order.base
        self.tid, self.number, self.generation, self.index, name_of = (
            column[position] for column in order.columns
        )
        self.node = _Node(name_of, order.shape_at(position))  # type: ignore[assignment]
        self.run = order.scope
        self.cancelled, self.timeout, self.status = False, None, None
        self.start = self.end = 0.0


#: What `Held` knows without having been told.
_KNOWN_HERE = frozenset({
    "cancelled", "end", "generation", "index", "node", "number", "run", "start", "status", "tid",
    "timeout",
})


class _Node:
    """As much of a node as there is in a worker process."""

    __slots__ = ("_shape", "name")

    def __init__(self, name: str, shape: _Shape) -> None:
        self.name = name
        self._shape = shape

    @property
    def spec(self) -> TaskSpec:
        return self._shape.spec or self._shape.load()


class Scope(RunScope):
    """The run, at the end of a pipe: output and progress wait on the board, or here."""

    def __init__(self, board: Board, sender: Sender, wake: Callable[[], None]) -> None:
        super().__init__()
        self._board = board
        self._sender = sender
        self._wake = wake
        self._lock = threading.Lock()
        self._progress: dict[int, tuple[float, float | None]] = {}
        self.forked = False

    def write(self, attempt: Attempt, stream: str, level: int, text: str) -> None:
        if self.forked:
            # In a child without exec: descriptors 1 and 2 lead to the worker, who writes it.
            os.write(2 if stream == "err" else 1, text.encode("utf-8", "replace"))
            return
        self.put(attempt.serial, stream, level, text)  # type: ignore[attr-defined]

    def put(self, serial: int, stream: str, level: int, text: str) -> None:
        """Keep a piece of output until the next flush."""
        record = record_of(serial, stream, level, text)
        with self._lock:
            if not self._board.add_text(record):
                self._send_text()
                if not self._board.add_text(record):
                    self._sender.send(TEXT, b"", record)
        self._wake()

    def progress(self, attempt: Attempt, done: float, total: float | None) -> None:
        if not self.forked:
            self._progress[attempt.serial] = (done, total)  # type: ignore[attr-defined]
            self._wake()

    def cancelled(self, attempt: Attempt) -> bool:
        return self._board.words[CANCEL] == attempt.serial  # type: ignore[attr-defined, no-any-return]

    def flush(self) -> None:
        """Send output and progress. Raises Gone."""
        if self._board.has_text:
            with self._lock:
                self._send_text()
        if self._progress:
            news, self._progress = self._progress, {}
            self._sender.send(PROGRESS, pack([(k, *v) for k, v in news.items()]))

    @property
    def waiting(self) -> bool:
        return self._board.has_text or bool(self._progress)

    def _send_text(self) -> None:
        # Sent first, cleared then: at worst a crash in between shows a line twice.
        self._sender.send(TEXT, b"", self._board.text())
        self._board.clear_text()


class Worker:
    """The loop of a worker process."""

    def __init__(self, commands: Receiver, sender: Sender, board: Board) -> None:
        self._commands = commands
        self._sender = sender
        self._board = board
        self._wake = threading.Event()
        self._dozing = False
        self._busy = False
        self._scope = Scope(board, sender, self._rouse)
        self._resources = WorkerResources()
        self._specs: dict[int, _Shipped] = {}
        self._shapes: dict[int, _Shape] = {}
        self._engine = os.getppid()
        self._armed = NOTHING
        """The attempt that SIGTERM may end now."""
        self._obeyed = NOTHING
        """The last order on the board to end an attempt that was dealt with."""
        self._done: list[tuple[int, float, float, Any]] = []
        self._endings: dict[int, Ending] = {}
        self._bytes = 0
        self._reporting = threading.Lock()
        self._fds: capture.FdCapture | None = None

    # -- life ------------------------------------------------------------------------------

    def serve(self, head: Any) -> None:
        """Work until told to close. Raises Gone if the engine died."""
        self._scope.run_id, home, path, argv, flow_module = head
        self._scope.home = Path(home) if home is not None else None
        sys.path[:], sys.argv[:] = path, argv
        classes.set_flow_module(flow_module)
        self._fds = capture.redirect_fds(self._heard)
        capture.install()
        self._take_signals()
        os.register_at_fork(after_in_child=self._in_fork)
        threading.Thread(target=self._flush_loop, name="flowforge-flush", daemon=True).start()
        # What has been loaded so far stays; leaving it out makes each collection shorter.
        gc.freeze()
        self._sender.send(READY, pack(self._fds.read_ends))
        while True:
            kind, head, tail = self._commands.receive()
            if kind == CLOSE:
                self._close()
                return
            assert kind == BATCH
            self._run(self._received(head, tail))

    def _received(self, head: Any, tail: memoryview) -> _Order:
        specs, shapes, flow_classes, *columns = head
        if flow_classes:
            import cloudpickle

            for cls in cloudpickle.loads(flow_classes):
                classes.register(cls)
        for number, data in specs:
            self._specs[number] = _Shipped(data)
        for number, spec, positional, names in shapes:
            self._shapes[number] = _Shape(self._specs[spec], positional, names)
        return _Order(columns, tail, self._shapes, self._scope)

    def _close(self) -> None:
        try:
            self._resources.close()
        except BaseException:
            traceback.print_exc()
        assert self._fds is not None
        capture.uninstall()
        self._fds.close()
        self._scope.flush()

    # -- a batch -----------------------------------------------------------------------------

    def _run(self, order: _Order) -> None:
        self._busy = True
        if self._dozing:
            self._wake.set()
        if signal.getsignal(signal.SIGTERM) != self._on_term:
            self._take_signals()  # a task has put its own in place
        begin, shapes, done = self._board.begin, self._shapes, self._done
        at, now = 0, clock()
        for serial, number in enumerate(order.shapes, order.base):
            shape = shapes[number]
            self._armed = serial
            if not begin(serial, now):
                break
            result = self._attempt(Held(serial, order), order, shape, at)
            at += shape.size
            start, now = now, clock()
            if now - start > TOO_SHORT_TO_WRITE:
                self._after(serial)
            done.append((serial, start, now, result))
            if self._bytes > MOST_WAITING:
                self._report(last=False)
        self._armed = NOTHING
        HERE.set(None)
        self._busy = False
        self._report(last=True)

    def _after(self, serial: int) -> None:
        if self._scope.forked:
            os._exit(0)  # a child that the task forked came back here: its work is done
        assert self._fds is not None
        self._fds.settle()

    def _attempt(self, held: Held, order: _Order, shape: _Shape, at: int) -> Any:
        """The stored result, or None with an entry in `_endings`."""
        try:
            try:
                HERE.set(held)
                spec = shape.spec or shape.load()
                args, kwargs = order.arguments(shape, at)
                if spec.resources:
                    value = call(spec, tuple(args), kwargs, self._resources)
                else:
                    value = spec.fn(*args, **kwargs)
                if spec.options.outputs is not None:
                    check_outputs(spec, value)
                result = value if type(value) in SCALARS else self._kept(spec, value)
                self._armed = NOTHING
                return result
            except BaseException as exc:
                self._armed = NOTHING
                self._endings[held.serial] = _ending(held, exc)
        except AttemptStopped as exc:  # SIGTERM just as the attempt failed by itself
            self._endings[held.serial] = _ending(held, exc)
        return None

    def _kept(self, spec: TaskSpec, value: Any) -> Any:
        """What is stored of a result. Raises UnserialisableError for one that is lost so."""
        stored = to_stored(value)
        if hiding() and spec.options.persist:
            refuse(stored)
        if type(stored) is Encoded:
            try:
                decode(stored)
            except AttemptStopped:
                raise
            except BaseException as exc:
                raise UnserialisableError(
                    "result", f"it was encoded, but reading it back raised {exc!r}"
                ) from exc
            self._bytes += len(stored)
        return stored

    # -- reports -------------------------------------------------------------------------------

    def _report(self, last: bool) -> None:
        with self._reporting:
            if last and self._fds is not None:
                self._fds.settle()
            if self._scope.waiting:
                self._scope.flush()
            # Cut off at a length taken once: the main thread may append meanwhile.
            count = len(self._done)
            taken = self._done[:count]
            del self._done[:count]
            self._bytes = 0
            if taken:
                serials, starts, ends, values = zip(*taken, strict=True)
                others = self._others(serials) if self._endings else ()
                head = pack((last, serials, starts, ends, others))
                self._sender.send(REPORT, head, pack_column(list(values)))
            elif last:
                self._sender.send(REPORT, pack((True, (), (), (), ())), pack_column([]))

    def _others(self, serials: tuple[int, ...]) -> list[tuple[int, Ending]]:
        endings = self._endings
        return [(i, endings.pop(s)) for i, s in enumerate(serials) if s in endings]

    def _flush_loop(self) -> None:
        seen: object = None
        idle = 0
        while True:
            time.sleep(FLUSH_EVERY)
            if os.getppid() != self._engine:
                _end_group()
            oldest = self._done[0] if self._done else None
            try:
                if oldest is not None and oldest is seen:
                    self._report(last=False)
                elif self._scope.waiting:
                    self._scope.flush()
            except Gone:
                _end_group()
            seen = oldest
            idle = 0 if self._busy or self._scope.waiting else idle + 1
            if idle > DOZE_AFTER:
                self._doze()
                idle = 0

    def _doze(self) -> None:
        self._wake.clear()
        self._dozing = True
        if not self._busy and not self._scope.waiting:
            self._wake.wait()
        self._dozing = False

    def _rouse(self) -> None:
        if self._dozing:
            self._wake.set()

    def _heard(self, stream: str, text: str) -> None:
        """Output that came by a file descriptor: of the attempt in hand, or the last one."""
        self._scope.put(self._board.words[MARK], stream, capture.LEVEL[stream], text)

    # -- signals and forks ------------------------------------------------------------------------

    def _take_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, self._on_int)

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        asked: int = self._board.words[CANCEL]
        if asked == self._obeyed:
            # Nobody of ours: `kill PID`. Die of it, so that it is seen as what it was.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._obeyed = asked
        if asked == self._armed:
            self._armed = NOTHING
            raise AttemptStopped("the attempt was told to stop")

    def _on_int(self, number: int, frame: FrameType | None) -> None:
        if self._armed != NOTHING:
            raise KeyboardInterrupt

    def _in_fork(self) -> None:
        """In a child that a task forked: let go of what is the worker's."""
        self._scope.forked = True
        for fd in (self._commands.fd, self._sender.fd):
            with contextlib.suppress(OSError):
                os.close(fd)
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) in (self._on_term, self._on_int):
                signal.signal(number, signal.SIG_DFL)


def _ending(held: Held, exc: BaseException) -> Ending:
    """Status, reason, error's fields, retryable, delay, the exception as bytes."""
    held.complete()
    report_exception(held, exc)
    status = held.status
    assert status is not None
    if status is not TaskState.FAILED:
        # Where it was when it was stopped is worth showing for a timeout.
        return int(status), held.reason, tuple(describe(exc)), False, None, None
    error = held.error
    if isinstance(exc, MemoryError):
        said = f"{error.message}; " if error.message else ""
        error = error._replace(message=f"{said}the task was probably out of memory")
    return int(status), str(held.reason), tuple(error), held.retryable, held.delay, _carried(exc)


def _carried(exc: BaseException) -> bytes | None:
    """The exception itself as bytes, if it survives the journey; its description always does.

    One that would show a secret stays here: the engine may not know what to mask.
    """
    if holds_secret(exc):
        return None
    try:
        data = encode(exc)
        back = decode(data)
        return data if type(back) is type(exc) else None
    except BaseException:
        return None


def _end_group() -> None:
    """The engine is gone: nothing that runs here may outlive it."""
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    """`process_worker COMMANDS REPORTS BOARD TROUBLE`: file descriptors handed over."""
    commands, reports, page, trouble = (int(arg) for arg in sys.argv[1:5])
    for fd in (commands, reports, page, trouble):
        os.set_inheritable(fd, False)
    faulthandler.enable(trouble, all_threads=False)
    receiver = Receiver(commands)
    try:
        worker = Worker(receiver, Sender(reports), Board(page))
        worker.serve(receiver.receive()[1])
    except Gone:
        _end_group()
    except BaseException:
        os.write(trouble, traceback.format_exc().encode())
        os._exit(70)


if __name__ == "__main__":
    main()
