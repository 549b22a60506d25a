"""How the engine and a worker process talk: framed messages over two pipes.

Rule 1: a message is a kind, a short msgpack `head`, and a `tail` of opaque bytes. The tail is
        never wrapped in the head: a result of 500 MB is not copied once more, nor bounded
        by msgpack's 4 GB.
Rule 2: half a message is no message: an end of the stream in the middle of one is `Gone`.
Rule 3: one side is always reading. The engine writes only while the worker waits for work, and
        the worker's other threads, which may write at any time, are never waited for by its
        reading one. So two full pipes cannot block each other, however large a message is.
"""

from __future__ import annotations

import os
import select
import struct
import threading
from collections.abc import Callable
from typing import Any, Final

import msgpack

HELLO: Final = 1
"""Engine: who you are, what you need to know. First, and once."""
BATCH: Final = 2
"""Engine: attempts to run."""
CLOSE: Final = 3
"""Engine: no more work; close your resources and end."""
READY: Final = 4
"""Worker: started up. First, and once."""
REPORT: Final = 5
"""Worker: outcomes; the last one of a batch says so."""
TEXT: Final = 6
"""Worker: output of attempts, as records of `process_board`."""
PROGRESS: Final = 7
"""Worker: how far attempts have come."""

_HEADER = struct.Struct("<BIQ")
#: Up to this many bytes a message goes out in one write, which is one system call and one copy.
_SMALL = 65536
_READ = 65536

Message = tuple[int, Any, memoryview]
"""Kind, head, tail."""


class Gone(Exception):
    """The other side has ended."""


def pack(value: Any) -> bytes:
    """A head as bytes."""
    packed = msgpack.packb(value, unicode_errors="surrogatepass")
    assert packed is not None
    return packed


def _unpack(data: memoryview) -> Any:
    return msgpack.unpackb(
        data, unicode_errors="surrogatepass", strict_map_key=False, use_list=False
    )


class Sender:
    """The writing end. Safe to use from several threads."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lock = threading.Lock()

    def send(self, kind: int, head: bytes = b"", tail: bytes = b"") -> None:
        """Write one message whole. Raises Gone."""
        header = _HEADER.pack(kind, len(head), len(tail))
        with self._lock:
            try:
                if len(head) + len(tail) <= _SMALL:
                    self._write(header + head + tail)
                else:
                    self._write(header + head)
                    self._write(tail)
            except (BrokenPipeError, ConnectionResetError) as exc:
                raise Gone from exc

    def _write(self, data: bytes) -> None:
        written = os.write(self.fd, data)
        if written < len(data):
            view = memoryview(data)
            while written < len(data):
                written += os.write(self.fd, view[written:])


class Receiver:
    """The reading end, for one thread. `wait` is called before each read that may block."""

    def __init__(self, fd: int, wait: Callable[[], None] | None = None) -> None:
        self.fd = fd
        self._wait = wait
        self._data: bytes | bytearray = b""
        self._at = 0

    def receive(self) -> Message:
        """The next message. Raises Gone at the end of the stream, in mid-message too."""
        self._need(_HEADER.size)
        kind, head, tail = _HEADER.unpack_from(self._data, self._at)
        self._at += _HEADER.size
        self._need(head + tail)
        body = memoryview(self._data)[self._at : self._at + head + tail]
        self._at += head + tail
        return kind, _unpack(body[:head]) if head else None, body[head:]

    def _need(self, size: int) -> None:
        """Have `size` bytes at `_at`."""
        have = len(self._data) - self._at
        if have >= size:
            return
        if size <= _READ:
            self._data = self._data[self._at :]
            self._at = 0
            while len(self._data) < size:
                self._data += self._read(_READ)
            return
        # Read into place: adding up a large message from pieces would copy it over and over.
        whole = bytearray(size)
        whole[:have] = memoryview(self._data)[self._at :]
        view = memoryview(whole)
        while have < size:
            have += self._read_into(view[have:])
        self._data, self._at = whole, 0

    def _read(self, size: int) -> bytes:
        if self._wait is not None:
            self._wait()
        data = os.read(self.fd, size)
        if not data:
            raise Gone
        return data

    def _read_into(self, view: memoryview) -> int:
        if self._wait is not None:
            self._wait()
        count = os.readv(self.fd, [view])
        if not count:
            raise Gone
        return count


class Watcher:
    """Waits for a pipe to have something, or for the process behind it to be dead.

    The end of the pipe alone does not tell: whatever the worker forked may hold it open.
    """

    #: Milliseconds between looks at the process where the system has no file for it.
    LOOK_EVERY = 200

    def __init__(self, fd: int, pid: int, alive: Callable[[], bool]) -> None:
        self.fd = fd
        self._alive = alive
        self._poller = select.poll()
        self._poller.register(fd, select.POLLIN)
        self._death: int | None = None
        try:
            self._death = os.pidfd_open(pid)
            self._poller.register(self._death, select.POLLIN)
        except (AttributeError, OSError):
            pass  # macOS, or a kernel before 5.3

    def wait(self) -> None:
        """Return when there is something to read. Raises Gone when there never will be."""
        timeout = None if self._death is not None else self.LOOK_EVERY
        while True:
            ready = self._poller.poll(timeout)
            if any(fd == self.fd for fd, _ in ready):
                return  # what was sent before the end is read first
            if ready or not self._alive():
                raise Gone

    def close(self) -> None:
        """Give up the process's file."""
        if self._death is not None:
            os.close(self._death)
            self._death = None
