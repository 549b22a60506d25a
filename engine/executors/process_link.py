"""One worker process, seen from the engine: started, talked to, ended, and its death explained.

Rule 1: started as a new program, never by fork: a fork of a process with threads inherits their
        locks, held.
Rule 2: it leads a session and a process group of its own: Ctrl-C in the terminal is the
        engine's alone, and what a task started dies with its worker.
Rule 3: it is reaped here and nowhere else, so its process id is never another's while in use.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from engine.executors import guardian
from engine.executors.process_board import Board, Line, lines_in, nameless_file
from engine.executors.process_wire import (
    CLOSE,
    HELLO,
    Gone,
    Message,
    Receiver,
    Sender,
    Watcher,
    pack,
)
from engine.worker import classes, clock

#: Names one worker process in the environment of what its tasks start.
WORKER_MARK = "FLOWFORGE_WORKER"

#: Bytes kept of what a worker said as it died.
LAST_WORDS = 16_384

#: Bytes that a pipe holds: at four times Linux's own, 50 MB take 55 ms instead of 95.
PIPE_ROOM = 1 << 18

_MODULE = "engine.executors.process_worker"
_ROOT = str(Path(__file__).parents[2])
# `-m` would put the working directory first, where a user's random.py or engine.py may lie.
_START = f"import sys; sys.path[:1] = [sys.argv.pop(1)]; from {_MODULE} import main; main()"


class Link:
    """A worker process and the pipes to it. Raises OSError where none can be started."""

    def __init__(self, run_id: str, home: Path | None, name: str) -> None:
        self.token = f"{guardian.engine_token()}-{name}"
        self.killed = False
        """True once the engine itself killed it."""
        with ExitStack() as undo:
            self.board = Board.create()
            undo.callback(self.board.close)
            self._trouble = nameless_file()
            undo.callback(os.close, self._trouble)
            commands, to_worker = _pipe(undo)
            from_worker, reports = _pipe(undo)
            theirs = (commands, reports, self.board.fd, self._trouble)
            self.process = _start(theirs, self._environment(run_id), self._trouble)
            undo.pop_all()
        os.close(commands)
        os.close(reports)
        self.pid = self.process.pid
        self._ends: list[int] = []
        self._watcher = Watcher(from_worker, self.pid, lambda: self.process.poll() is None)
        self.receiver = Receiver(from_worker, self._watcher.wait)
        self.sender = Sender(to_worker)
        with suppress(Gone):  # a death this early is met again by the first read
            self.sender.send(HELLO, pack(_hello(run_id, home)))

    def _environment(self, run_id: str) -> dict[str, str]:
        return {
            **os.environ,
            guardian.RUN_MARK: run_id,
            guardian.ENGINE_MARK: guardian.engine_token(),
            WORKER_MARK: self.token,
            clock.ENV: repr(clock.OFFSET),
        }

    def receive(self) -> Message:
        """The next message. Raises Gone when the worker is dead."""
        return self.receiver.receive()

    def is_up(self, ends: tuple[int, ...]) -> None:
        """It has started; `ends`: its own numbers for the pipes that carry its output.

        Where the system lets us, they are opened here as well: what C code wrote last, why it
        aborts perhaps, would die unread with the worker.
        """
        for fd in ends:
            with suppress(OSError):
                self._ends.append(
                    os.open(f"/proc/{self.pid}/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
                )

    # -- endings -----------------------------------------------------------------------------

    def terminate(self) -> None:
        """SIGTERM: end the attempt that the board names."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to it and everything in its process group. Its reader sees the end."""
        self.killed = True
        if self.process.returncode is None:
            guardian.kill_group(self.pid)

    def ask_to_close(self) -> None:
        """Ask it to close its resources and end."""
        with suppress(Gone):
            self.sender.send(CLOSE)

    def bury(self, hunt: bool) -> int:
        """Reap it and end what it left behind; its exit code, negative for a signal.

        `hunt`: also look for processes of its tasks that left its process group.
        """
        guardian.kill_group(self.pid)
        code = self.process.wait()
        if hunt:
            guardian.hunt_carriers(WORKER_MARK, self.token)
        return code

    def unsent(self) -> list[Line]:
        """Output of its attempts that it had no time to send."""
        return list(lines_in(self.board.text()))

    def last_words(self) -> str:
        """What it, or the system, wrote about its death: a fatal error's stack, for one."""
        data = b"".join(_drained(fd) for fd in self._ends)
        data += os.pread(self._trouble, LAST_WORDS, 0)
        return data.decode("utf-8", "backslashreplace")

    def release(self) -> None:
        """Close everything of it on this side, once it is buried."""
        self._watcher.close()
        for fd in (self.sender.fd, self.receiver.fd, self._trouble, *self._ends):
            os.close(fd)
        self.board.close()


def _hello(run_id: str, home: Path | None) -> tuple[Any, ...]:
    where = None if home is None else str(home)
    return run_id, where, sys.path, sys.argv, classes.flow_module()


def _pipe(undo: ExitStack) -> tuple[int, int]:
    pair = os.pipe()
    for fd in pair:
        undo.callback(os.close, fd)
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # a user's pipes have a common bound
            fcntl.fcntl(pair[1], fcntl.F_SETPIPE_SZ, PIPE_ROOM)
    return pair


def _start(
    fds: tuple[int, ...], environment: dict[str, str], trouble: int
) -> subprocess.Popen[bytes]:
    # `-W`, `-X`, `-O` and the like, so that workers run under what the engine runs under.
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    command = [sys.executable, *flags, "-c", _START, _ROOT, *map(str, fds)]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=trouble,
        stderr=trouble,
        env=environment,
        pass_fds=fds,
        start_new_session=True,
    )


def _drained(fd: int) -> bytes:
    with suppress(OSError):
        return os.read(fd, LAST_WORDS)
    return b""


def cause_of_death(code: int, killed: bool) -> str:
    """In words: by which signal, or with which exit code."""
    if code >= 0:
        return f"its worker process ended with exit code {code} in the middle of the task"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    text = f"its worker process was killed by signal {-code}{name}"
    return f"{text}; probably out of memory" if -code == signal.SIGKILL and not killed else text
