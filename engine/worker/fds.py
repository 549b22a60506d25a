"""Whatever reaches file descriptors 1 and 2 of a process: C code, children, `os.write`.

Rule 1: both become pipes, read by one thread of this process; what is read belongs to the
        attempt in hand, which a worker process knows exactly because it has one at a time.
Rule 2: before an attempt is handed in, `settle()` delivers what it wrote; where nothing was
        written that costs a microsecond.
Rule 3: text is delivered masked, in whole lines where possible, so that no secret is split
        between two deliveries; memory stays bounded by `LINE_LIMIT`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable

from engine.worker.lines import LINE_LIMIT, cut, decode
from engine.worker.router import drain
from engine.worker.secrets import mask

Deliver = Callable[[str, str], None]
"""Takes the stream, "out" or "err", and a piece of its text."""

#: Bytes a read: what a pipe holds on Linux by default.
_CHUNK = 65_536

#: Reads a stream and round: all that a pipe held when the round began, yet no endless round
#: while a child floods it.
_READS = 2

#: Seconds after which an unfinished line (a prompt, a progress bar) is delivered as it is.
_PATIENCE = 0.2


class _Pipe:
    """One stream's read end, and what is not delivered of it yet."""

    def __init__(self, stream: str, fd: int) -> None:
        self.stream = stream
        self.fd = fd
        self.saved = os.dup(fd)
        self.tail = b""
        self.held = ""
        self.used = 0
        # The write end stays open beside `fd`: should a task close that, the read end must not
        # report its end, over and over.
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        os.dup2(self.write_end, fd)  # inheritable, unlike `write_end`: children write here too

    @property
    def holds(self) -> bool:
        return bool(self.held or self.tail)

    def drain(self) -> str:
        """Read what is there; the text of it that ends in a newline."""
        for _ in range(_READS):
            try:
                data = os.read(self.read_end, _CHUNK)
            except BlockingIOError:
                break
            text, self.tail = decode(self.tail + data)
            self.held += text
            if len(data) < _CHUNK:
                break
        end = self.held.rfind("\n") + 1
        if len(self.held) - end > LINE_LIMIT:
            end = len(self.held)
        ready, self.held = self.held[:end], self.held[end:]
        return self._bounded(ready)

    def rest(self) -> str:
        """Everything that is held, finished or not."""
        text = self.held + self.tail.decode("utf-8", "backslashreplace")
        self.held, self.tail = "", b""
        return self._bounded(text)

    def _bounded(self, text: str) -> str:
        if not text:
            return text
        text, self.used = cut(mask(text), self.used)
        return text

    def restore(self) -> None:
        os.dup2(self.saved, self.fd)

    def close(self) -> None:
        for fd in (self.saved, self.read_end, self.write_end):
            os.close(fd)


class FdCapture:
    """File descriptors 1 and 2 of this process, captured until `close()`. Made by redirect_fds."""

    def __init__(self, deliver: Deliver) -> None:
        import select

        self._deliver = deliver
        self._lock = threading.Lock()
        self._stop = False
        self._dirty = False
        """Something was read since the last `settle`."""
        self._flush_python()
        self._pipes = (_Pipe("out", 1), _Pipe("err", 2))
        self._wake_read, self._wake_write = os.pipe()
        # One each: poll objects must not be used by two threads at once.
        self._poll_here, self._poll_there = select.poll(), select.poll()
        for pipe in self._pipes:
            self._poll_here.register(pipe.read_end, select.POLLIN)
            self._poll_there.register(pipe.read_end, select.POLLIN)
        self._poll_there.register(self._wake_read, select.POLLIN)
        self._thread = threading.Thread(target=self._loop, name="flowforge-output", daemon=True)
        self._thread.start()

    @property
    def saved(self) -> tuple[int, int]:
        """Where descriptors 1 and 2 led before: for `faulthandler`, which must outlive us."""
        return self._pipes[0].saved, self._pipes[1].saved

    @property
    def read_ends(self) -> tuple[int, int]:
        """Where the output of descriptors 1 and 2 is read, here: for whoever salvages the rest
        of it, should this process die."""
        return self._pipes[0].read_end, self._pipes[1].read_end

    def settle(self) -> None:
        """Deliver, before returning, all that was written before the call."""
        drain()
        if (
            self._poll_here.poll(0)
            or self._lock.locked()  # read by the other thread, and perhaps not delivered yet
            or self._dirty
        ):
            with self._lock:
                self._round(last=True)
                for pipe in self._pipes:
                    pipe.used = 0  # what comes next is another attempt's, and a new line
                self._dirty = False

    def close(self) -> None:
        """Put the descriptors back, deliver the rest, end the thread."""
        self._flush_python()
        for pipe in self._pipes:
            pipe.restore()
        self._stop = True
        os.write(self._wake_write, b"x")
        self._thread.join()
        with self._lock:
            self._round(last=True)
        for pipe in self._pipes:
            pipe.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _loop(self) -> None:
        _line_buffer_c_output()
        patience = int(_PATIENCE * 1000)
        while not self._stop:
            waiting = any(pipe.holds for pipe in self._pipes)
            idle = not self._poll_there.poll(patience if waiting else None)
            with self._lock:
                self._round(last=idle)

    def _round(self, last: bool) -> None:
        """Read and deliver once. `last`: unfinished lines too."""
        self._dirty = True
        for pipe in self._pipes:
            self._hand_on(pipe.stream, pipe.drain())
            if last and pipe.holds:
                self._hand_on(pipe.stream, pipe.rest())

    def _hand_on(self, stream: str, text: str) -> None:
        if text:
            # The receiver may be gone (its pipe broken); then the writers must not block.
            with contextlib.suppress(Exception):
                self._deliver(stream, text)

    @staticmethod
    def _flush_python() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()


def redirect_fds(deliver: Deliver) -> FdCapture:
    """Have all output of this process, and of children it starts, go to `deliver`.

    `deliver(stream, text)` is called by one thread at a time, and must not write to
    descriptors 1 or 2 itself. POSIX only.
    """
    capture = FdCapture(deliver)
    for stream in (sys.stdout, sys.stderr):
        # A pipe is block-buffered by default: lines would show up kilobytes late.
        with contextlib.suppress(Exception):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return capture


def _line_buffer_c_output() -> None:
    """C's `stdout` is block-buffered on a pipe: a `printf` would surface tasks later."""
    with contextlib.suppress(Exception):
        import ctypes

        libc = ctypes.CDLL(None)
        name = "__stdoutp" if sys.platform == "darwin" else "stdout"
        line_buffered = 1  # _IOLBF of glibc, musl and macOS
        libc.setvbuf(ctypes.c_void_p.in_dll(libc, name), None, line_buffered, 0)
