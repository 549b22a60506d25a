"""A real terminal without a window: a program on a pty, its screen read back by an emulator.

Rule 1: nothing sleeps: `wait` reads until the screen says what is waited for, or a deadline.
Rule 2: all bytes are kept, so that a test can look for what must never reach a terminal.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import pyte
from rich.cells import cell_len

#: Seconds that anything may take before a test fails. The machine may be busy.
PATIENCE = 60.0

#: What the emulator does not know, and would print: questions and modes of keyboards.
_UNKNOWN = re.compile(rb"\x1b\[(?:[>=<][0-9;:]*[@-~]|\?[0-9;]*\$p)")

#: A sequence that was cut off by the end of who wrote it: the next one ends it in a terminal, but
#: not in pyte.
_CUT_OFF = re.compile(rb"\x1b\[[0-9;:?>=<$]*(?=\x1b)")

#: Colours, modes, places of the cursor: what is no text.
_STYLE = re.compile(rb"\x1b\[[0-9;?<>=]*[@-~]")

#: The beginning of a sequence whose end has not been read yet.
_BEGUN = re.compile(rb"\x1b(?:\[[0-9;:?>=<$]*)?\Z")

#: The session's leader, as a shell is, which outlives the program: were that the leader, or the
#: leader gone, the terminal would be hung up, and nobody could restore it. `$0`: takes the code.
_SHELL = ("sh", "-c", '"$@"; echo $? >"$0.new"; mv "$0.new" "$0"; exec sleep 1000')


def without_unknown(data: bytes) -> bytes:
    """Without what the emulator would print since it does not know it."""
    return _UNKNOWN.sub(b"", _CUT_OFF.sub(b"", data))


class _Screen(pyte.Screen):
    """Ignores what a terminal ignores: where a sequence was cut off, its numbers meet the first
    letter that somebody else writes ("Killed")."""

    def erase_in_line(self, how: int = 0, private: bool = False) -> None:
        if how in (0, 1, 2):
            super().erase_in_line(how, private)

    def erase_in_display(self, how: int = 0, *args: object, **more: object) -> None:
        if how in (0, 1, 2, 3):
            super().erase_in_display(how, *args, **more)


class PtyTerminal:
    """A terminal, and one program in it."""

    def __init__(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], columns: int = 80,
        rows: int = 24,
    ) -> None:
        """`arguments`: of `python -m flowforge_tui`."""
        self.written = b""
        self._held = b""
        self._code = Path(tempfile.mkdtemp()) / "code"
        self._screen = _Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.parent, self.child = pty.openpty()
        self.before = termios.tcgetattr(self.child)
        self._size(columns, rows)
        given = {k: v for k, v in env.items() if k not in ("COLUMNS", "LINES", "CI", "NO_COLOR")}
        self.process = subprocess.Popen(
            [*_SHELL, str(self._code), sys.executable, "-m", "flowforge_tui", *arguments],
            cwd=cwd, stdin=self.child,
            stdout=self.child, stderr=self.child, preexec_fn=_own_terminal,
            env={**given, "TERM": "xterm-256color", "COLORTERM": "truecolor", **_extra(env)},
        )

    def _size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    # -- looking -----------------------------------------------------------------------------

    @property
    def lines(self) -> list[str]:
        """The screen's rows as they are now."""
        self._read(0.0)
        return ["".join(self._cells(y)) for y in range(self._screen.lines)]

    def _cells(self, y: int) -> Iterator[str]:
        """A row cell by cell. As pyte's own `display`, which fails on half of a wide character
        that something was painted over."""
        skip, row = False, self._screen.buffer[y]
        for x in range(self._screen.columns):
            data = row[x].data
            if not skip:
                yield data or " "
            skip = not skip and bool(data) and cell_len(data) == 2

    @property
    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.lines)

    def wait(self, wanted: str | Callable[[str], object], seconds: float = PATIENCE) -> str:
        """Read until the screen shows a text, or a condition on it holds; returns the screen."""
        holds = wanted if callable(wanted) else lambda text: wanted in text
        deadline = time.monotonic() + seconds
        while not holds(self.text):
            alive = self._read(0.1)
            if time.monotonic() > deadline or (not alive and not holds(self.text)):
                raise AssertionError(f"never came: {wanted!r}; the screen is\n{self.text}")
        return self.text

    def wait_gone(self, unwanted: str) -> str:
        """Read until the screen no longer shows a text."""
        return self.wait(lambda text: unwanted not in text)

    def _read(self, seconds: float) -> bool:
        """Take in what was written; False if the program has ended and all of it was read."""
        while select.select([self.parent], [], [], seconds)[0]:
            data = os.read(self.parent, 65536)
            self.written += data
            self._feed(data)
            seconds = 0.0
        return not self._code.exists()

    def _feed(self, data: bytes) -> None:
        data = self._held + data
        begun = _BEGUN.search(data)
        cut = begun.start() if begun else len(data)
        self._held = data[cut:]
        self._stream.feed(without_unknown(data[:cut]))

    # -- acting ------------------------------------------------------------------------------

    def press(self, *keys: str) -> None:
        """Type; `escape` and `enter` by name, all else as it is."""
        names = {"enter": "\r", "escape": "\x1b", "tab": "\t", "end": "\x1b[F", "up": "\x1b[A",
                 "down": "\x1b[B", "left": "\x1b[D", "right": "\x1b[C"}
        for key in keys:
            os.write(self.parent, names.get(key, key).encode())

    def resize(self, columns: int, rows: int) -> None:
        """Another size of the window."""
        self._size(columns, rows)
        self._screen.resize(rows, columns)
        self.send(signal.SIGWINCH)

    def send(self, number: int) -> None:
        """Send a signal to the program alone."""
        os.kill(self.pid, number)

    @property
    def pid(self) -> int:
        """The program's, which is the shell's only child."""
        children = psutil.Process(self.process.pid).children()
        assert len(children) == 1, children
        return int(children[0].pid)

    def end(self) -> int:
        """Wait for the program's end; its exit code, or 128 and the signal that ended it."""
        deadline = time.monotonic() + PATIENCE
        while self._read(0.1):
            if time.monotonic() > deadline:
                raise AssertionError(f"it did not end; the screen is\n{self.text}")
        return int(self._code.read_text())

    @property
    def outside(self) -> str:
        """What was written on the ordinary screen since the program's own was last closed."""
        self._read(0.0)
        written = self.written.rpartition(b"\x1b[?1049l")[2]
        return _STYLE.sub(b"", written).decode().replace("\r\n", "\n")

    @property
    def restored(self) -> bool:
        """True if the terminal is as it was before the program: its modes, and its screen."""
        after = termios.tcgetattr(self.child)
        on, off = b"\x1b[?1049h", b"\x1b[?1049l"
        hidden, shown = b"\x1b[?25l", b"\x1b[?25h"
        self._read(0.0)
        return (after[:4] == self.before[:4] and self.written.rfind(off) > self.written.rfind(on)
                and self.written.rfind(shown) > self.written.rfind(hidden))

    def wait_restored(self) -> None:
        """Wait until the terminal is as it was: a guard process may be at it."""
        deadline = time.monotonic() + PATIENCE
        while not self.restored:
            assert time.monotonic() < deadline, "the terminal was never restored"
            self._read(0.05)

    def close(self) -> None:
        """End whatever is left, and close the terminal."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            process.kill()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self._code.parent)
        os.close(self.parent)
        os.close(self.child)


def _own_terminal() -> None:
    """The child's session has the pty as its terminal, as under a shell."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _extra(env: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in env.items() if k in ("NO_COLOR", "FLOWFORGE_ASCII")}
