"""The control socket: people's commands to a live run from another process.

Rule 1: one JSON object a line each way; the answer says what was done or why not.
Rule 2: a socket of this user's only, in a directory of this user's only (state.home).
Rule 3: a command is answered after what it did is recorded, so an answer is a promise.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.errors import RunError

Handler = Callable[[dict[str, Any]], dict[str, Any]]

#: Seconds that a command's answer is waited for: it is recorded first, on a slow disk too.
ANSWER_SECONDS = 30.0

#: Seconds that an owner is given which does not listen (yet): its run may just have begun.
LISTENS_WITHIN = 1.0


class ControlServer:
    """Listens while the run lives."""

    def __init__(self, path: Path, handle: Handler) -> None:
        self.path = path
        self._handle = handle
        with suppress(FileNotFoundError):
            path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.listen(8)
        threading.Thread(target=self._serve, name="flowforge-control", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream, suppress(OSError):
            for line in stream:
                stream.write(json.dumps(self._answer(line)).encode() + b"\n")
                stream.flush()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("not an object")
            return self._handle(request)
        except RunError as error:
            return {"ok": False, "message": str(error)}
        except Exception as error:
            return {"ok": False, "message": f"bad request: {error}"}

    def close(self) -> None:
        """Stop listening."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):  # a task may have closed what is not its own
            self._socket.close()
        with suppress(OSError):
            self.path.unlink()


class Caller:
    """Asks live runs, from any thread, until it hangs up."""

    def __init__(self) -> None:
        self._open: set[socket.socket] = set()
        self._hung_up = False

    def ask(self, path: Path, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send one command to a live run; returns its answer. `timeout` in seconds.

        Raises RunError if nobody answers, or `hang_up` was called.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            self._open.add(s)
            try:
                s.settimeout(timeout)
                line = self._line(s, path, request)
            except OSError as error:
                raise RunError(
                    f"the run's owner does not answer ({error}); it may just have ended"
                ) from None
            finally:
                self._open.discard(s)
        if not line:
            raise RunError("the run's owner hung up without an answer; it may just have ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _line(self, s: socket.socket, path: Path, request: dict[str, Any]) -> bytes:
        self._connect(s, path)
        if self._hung_up:  # looked at once `hang_up` can reach the connection
            raise RunError("nobody waits for the answer any more")
        s.sendall(json.dumps(request).encode() + b"\n")
        with s.makefile("rb") as stream:
            return stream.readline()

    def _connect(self, s: socket.socket, path: Path) -> None:
        until = time.monotonic() + min(LISTENS_WITHIN, s.gettimeout() or LISTENS_WITHIN)
        while True:
            try:
                s.connect(str(path))
                return
            except (FileNotFoundError, ConnectionRefusedError):
                if self._hung_up or time.monotonic() >= until:
                    raise
                time.sleep(0.01)

    def hang_up(self) -> None:
        """Whoever waits for an answer waits no longer, and nobody asks again: RunError."""
        self._hung_up = True
        for s in list(self._open):
            with suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
