"""Shell tasks: a command in a process group of its own, which never outlives its attempt.

Rule 1: whatever ends the attempt (success, failure, cancellation, a timeout) ends the group:
        TERM, `grace` seconds, KILL. What a command leaves in the background goes with it.
Rule 2: output goes to the attempt's log line by line, as it comes, and is kept for the
        result up to `KEPT` bytes a stream; a flood costs no more memory than that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import AttemptStopped, FlowForgeError
from engine.worker.context import HERE, current
from engine.worker.secrets import Secret, mask

#: Bytes of each stream that a result carries.
KEPT = 16 * 1024 * 1024
#: A longer line without a newline is handed to the log in pieces of this many bytes.
LONGEST_LINE = 64 * 1024
#: Seconds between two looks at whether the attempt was cancelled.
LOOK = 0.05
#: Bytes of stderr that an error message quotes.
TAIL = 2000


class ShellError(FlowForgeError):
    """A command ended with another exit code than 0. Read its output in the task's log."""

    def __init__(self, command: str, exit_code: int, stderr: str = "") -> None:
        self.command = command
        self.exit_code = exit_code
        """As the shell has it; negative: the number of the signal that ended it."""
        self.stderr = stderr
        """The end of what it wrote to its error stream."""
        super().__init__(f"{_verdict(exit_code)}: {command}" + (f"\n{stderr}" if stderr else ""))

    def __reduce__(self) -> tuple[type[ShellError], tuple[str, int, str]]:
        return type(self), (self.command, self.exit_code, self.stderr)


@dataclass(frozen=True, slots=True)
class ShellResult:
    """How a command ended and what it wrote. As text: its output, without the last newline."""

    exit_code: int
    """Negative: the number of the signal that ended it."""
    stdout: str
    stderr: str = ""
    seconds: float = 0.0
    truncated: bool = False
    """True if a stream was longer than `KEPT` bytes; only its end is here."""

    @property
    def returncode(self) -> int:
        """The same as `exit_code`, by subprocess's name."""
        return self.exit_code

    def __str__(self) -> str:
        return self.stdout.rstrip("\r\n")


class ShellCommand:
    """What a worker calls for a shell task, with the command as its argument."""

    __slots__ = ("check", "grace")

    def __init__(self, check: bool = True, grace: float = 5.0) -> None:
        self.check = check
        """Raise ShellError for an exit code other than 0."""
        self.grace = grace
        """Seconds between TERM and KILL."""

    def __call__(
        self,
        command: str | Sequence[Any],
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, Any] | None = None,
    ) -> ShellResult:
        """Run it. A string goes through the shell, a list does not. `env`: variables on top
        of the engine's own environment.

        Raises ShellError, OSError if it cannot be started, AttemptStopped.
        """
        argv = command if isinstance(command, str) else words(command)
        begun = time.monotonic()
        process = _start(argv, cwd, env)
        streams = _Streams(process)
        try:
            _follow(process, streams)
        finally:
            end_group(process, self.grace)
            streams.close()
        out, err, code = streams.out, streams.err, process.returncode
        if code and self.check:
            raise ShellError(_shown(argv), code, err.text(TAIL).strip())
        return ShellResult(
            code, out.text(), err.text(), time.monotonic() - begun, out.cut or err.cut
        )


def _start(
    argv: str | list[str],
    cwd: str | os.PathLike[str] | None,
    env: Mapping[str, Any] | None,
) -> subprocess.Popen[bytes]:
    # What the engine put into its environment stays there: by it the guardian finds, and
    # ends, what a killed engine leaves behind.
    extra = {k: _word(v) for k, v in env.items()} if env else {}
    return subprocess.Popen(
        argv,
        shell=isinstance(argv, str),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=cwd,
        env={**os.environ, **extra} if extra else None,
        start_new_session=True,
    )


def _follow(process: subprocess.Popen[bytes], streams: _Streams) -> None:
    """Pass its output on until it has ended. Raises AttemptStopped."""
    while streams.read(LOOK):
        _look()
        if ended(process):
            # Something left in the background may hold the pipes open for ever.
            streams.drain()
            return
    while not ended(process):
        _look()
        time.sleep(LOOK / 10)


def _look() -> None:
    if HERE.get() is not None and current().cancelled():
        raise AttemptStopped("the command was ended together with its attempt")


def words(command: Sequence[Any]) -> list[str]:
    """The words of a command: anything as text, lists in it spliced in."""
    found: list[str] = []
    todo = list(reversed(command))
    while todo:
        part = todo.pop()
        if isinstance(part, (list, tuple)):
            todo.extend(reversed(part))
        else:
            found.append(_word(part))
    if not found:
        raise ValueError("the command of a shell task is empty")
    return found


def _word(part: Any) -> str:
    if isinstance(part, Secret):
        return part.get()
    if isinstance(part, (str, os.PathLike, bytes)):
        return os.fsdecode(part)
    return str(part)


def _shown(argv: str | list[str]) -> str:
    import shlex

    # Word by word: quoting could take a secret apart.
    return mask(argv) if isinstance(argv, str) else shlex.join(map(mask, argv))


def _verdict(exit_code: int) -> str:
    if exit_code >= 0:
        return f"the command ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"the command was ended by {name}"


# -- output -----------------------------------------------------------------------------


class _Stream:
    """One of its streams: what is kept, and the line that is not complete yet."""

    __slots__ = ("cut", "decoder", "kept", "line", "size", "target")

    def __init__(self, target: str) -> None:
        import codecs
        from collections import deque

        self.target = target
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.kept: deque[bytes] = deque()
        self.size = 0
        self.cut = False
        self.line = ""

    def take(self, data: bytes) -> None:
        """Keep a piece, and pass the lines that it completes on to the log."""
        self.kept.append(data)
        self.size += len(data)
        while self.size - len(self.kept[0]) >= KEPT:
            self.size -= len(self.kept.popleft())
            self.cut = True
        self._say(self.decoder.decode(data))

    def end(self) -> None:
        """Pass on what has no newline."""
        self._say(self.decoder.decode(b"", True))
        if self.line:
            self._write(self.line + "\n")
            self.line = ""

    def _say(self, text: str) -> None:
        whole, newline, self.line = (self.line + text).rpartition("\n")
        if newline:
            self._write(whole + newline)
        if len(self.line) >= LONGEST_LINE:
            self._write(self.line)
            self.line = ""

    def _write(self, text: str) -> None:
        # Through sys.stdout, which capture routes to the attempt; outside a run, the console.
        (sys.stdout if self.target == "out" else sys.stderr).write(text)

    def text(self, last: int | None = None) -> str:
        """What is kept, or its last bytes."""
        data = b"".join(self.kept)
        return (data if last is None else data[-last:]).decode("utf-8", "replace")


class _Streams:
    """Both streams, read as they come."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        import selectors

        assert process.stdout is not None and process.stderr is not None
        self.out, self.err = _Stream("out"), _Stream("err")
        self.files = (process.stdout, process.stderr)
        self.selector = selectors.DefaultSelector()
        for file, stream in zip(self.files, (self.out, self.err), strict=True):
            self.selector.register(file, selectors.EVENT_READ, stream)

    def read(self, wait: float) -> bool:
        """Read what there is, waiting up to `wait` seconds for it. False: both have ended."""
        for key, _ in self.selector.select(wait):
            data = os.read(key.fd, 65536)
            if data:
                key.data.take(data)
            else:
                self.selector.unregister(key.fileobj)
        return bool(self.selector.get_map())

    def drain(self) -> None:
        """Read what is in the pipes now, of at most what is kept."""
        for _ in range(2 * KEPT // 65536):
            if not self.selector.select(0) or not self.read(0):
                return

    def close(self) -> None:
        """Pass on the rest and close the pipes."""
        self.selector.close()
        for file, stream in zip(self.files, (self.out, self.err), strict=True):
            file.close()
            stream.end()


# -- the end ----------------------------------------------------------------------------


def ended(process: subprocess.Popen[bytes]) -> bool:
    """True if it has ended. It stays a zombie, so that its group's number stays its own."""
    if process.returncode is not None or not hasattr(os, "waitid"):
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end_group(process: subprocess.Popen[bytes], grace: float) -> None:
    """End the process's whole group: TERM, up to `grace` seconds, KILL. The leader is reaped."""
    if not hasattr(os, "killpg"):
        process.kill()
    else:
        if not ended(process):
            _signal_group(process.pid, signal.SIGTERM)
            until = time.monotonic() + grace
            while not ended(process) and time.monotonic() < until:
                time.sleep(LOOK / 10)
        # Also where the leader has ended: what it left in the background is still there.
        _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # Nobody left; macOS says EPERM where only zombies are.
        pass
