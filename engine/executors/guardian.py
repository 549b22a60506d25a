"""The guardian: a small process that outlives the engine by moments, to end what it left.

Rule 1: it acts on one event, the engine's death; who needs it no more kills it. Then every group
        it was told to watch, every process that carries the engine's token in its
        environment, and every one that it has seen below the engine, is killed, again and
        again until none is left. The token and not the run's id: a resume, which may start
        within a second, has the same id. What the engine had started before the run is spared.
Rule 2: this file is also the guardian's program, run by its path under `python -I -S`: the
        standard library alone, so that it weighs little. A shell waits before that: the start
        takes 16 ms of CPU, most of what a short run has, and all that is said meanwhile, the
        engine's death too, is heard after it.
Rule 3: death is seen twice: as the end of a pipe that the engine alone writes to, and as a
        change of parent, because a process forked off the engine may hold that pipe open.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

#: In the environment of everything that runs for a run: the run's id, and which engine
#: process started it.
RUN_MARK = "FLOWFORGE_RUN"
ENGINE_MARK = "FLOWFORGE_ENGINE"

#: Seconds between looks at the parent, and for how long strays are hunted.
LOOK_EVERY = 0.3
HUNT_FOR = 10.0

#: Seconds before the guardian's program starts. Short runs are over by then, and it has cost them
#: 1 ms; of the 2 s within which all must be gone, most are left.
START_AFTER = 0.25
#: Signals are ignored from the start. The sleeper holds no pipe: a guardian that was killed is
#: known by that nobody does.
_SHELL = "/bin/sh"
_LATER = f"trap '' HUP INT QUIT TERM; sleep {START_AFTER} </dev/null; exec \"$@\""


class Guardian:
    """The engine's end: starts the guardian, tells it whom to watch, ends it.

    While it lasts, the engine's own environment carries both marks, so that whatever a
    task starts inherits them, from a thread as well.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self._watched: set[int] = set()
        # Worked out here: by the time that the guardian is up, the first tasks may have begun.
        self._spared = ",".join(f"{p}:{t}" for p, t in descendants(os.getpid()).items())
        self._lock = threading.Lock()
        self._closed = False
        self._marks = {RUN_MARK: run_id, ENGINE_MARK: engine_token()}
        self._before = {mark: os.environ.get(mark) for mark in self._marks}
        self._launch()
        os.environ.update(self._marks)

    @classmethod
    def start(cls, run_id: str) -> Guardian:
        """Start one for a run. Raises OSError where no process can be started."""
        return cls(run_id)

    @property
    def pid(self) -> int:
        """The guardian's process id."""
        return self._process.pid

    def watch(self, pid: int) -> None:
        """Kill the process group led by `pid`, should the engine die."""
        with self._lock:
            self._watched.add(pid)
            self._tell(b"+%d" % pid)

    def forget(self, pid: int) -> None:
        """`pid` has ended and its number may soon be another's."""
        with self._lock:
            self._watched.discard(pid)
            self._tell(b"-%d" % pid)

    def close(self) -> None:
        """End the guardian; it kills nothing. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._process.poll() is None:
                kill_group(self._process.pid)  # before the pipe ends, which would tell of a death
            with suppress(OSError):  # a task may have closed what is not its own
                os.close(self._pipe)
        for mark, value in self._marks.items():
            # Another run of this process may have put its own in place since.
            if os.environ.get(mark) == value:
                _set_environment(mark, self._before[mark])
        self._process.wait()

    def _launch(self) -> None:
        reader, self._pipe = os.pipe()
        environment = {k: v for k, v in os.environ.items() if k not in self._marks}
        command = [sys.executable, "-I", "-S", __file__, engine_token(), str(os.getpid()),
                   self._spared]
        if os.path.exists(_SHELL):  # noqa: PTH110 - as below
            command = [_SHELL, "-c", _LATER, _SHELL, *command]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd=os.sep,  # so that it keeps no directory from being removed or unmounted
                start_new_session=True,
            )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(reader)

    def _tell(self, line: bytes) -> None:
        if self._closed or self._send(line):
            return
        # Somebody killed the guardian. The run is not to lose its protection over that.
        os.close(self._pipe)
        self._process.wait()
        self._launch()
        for pid in self._watched:
            self._send(b"+%d" % pid)

    def _send(self, line: bytes) -> bool:
        try:
            os.write(self._pipe, line + b"\n")
        except OSError:
            return False
        return True


def engine_token() -> str:
    """Names this process among all that ever were; a fork of it gets another one."""
    global _token
    if not _token.startswith(f"{os.getpid()}-"):
        _token = f"{os.getpid()}-{os.urandom(8).hex()}"
    return _token


_token = ""


def _set_environment(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def sweep(run_id: str) -> int:
    """Kill what an earlier owner of the run left running; how many processes there were.

    For a resume, once it owns the run: its guardian may have been killed together with it.
    Those of another engine that lives are spared: it works on a copy of the run elsewhere.
    """
    total = 0
    deadline = time.monotonic() + HUNT_FOR
    others = frozenset(pid for pid in carriers(RUN_MARK, run_id) if _engine_lives(pid))
    while (found := kill_carriers(RUN_MARK, run_id, others)) and time.monotonic() < deadline:
        total = max(total, found)
        time.sleep(0.01)
    return total


# -- finding and ending processes ---------------------------------------------------------


def carriers(mark: str, value: str) -> list[int]:
    """Processes of this user whose environment, as they were started, has `mark=value`."""
    if os.path.isdir("/proc/self"):  # noqa: PTH112 - as below
        return list(_carriers_proc(f"{mark}={value}".encode()))
    return _carriers_psutil(mark, value)


def _carriers_proc(entry: bytes) -> Iterator[int]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would cost the guardian its start
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123 - as above
                if entry in file.read().split(b"\0"):
                    yield int(name)
        except OSError:
            continue  # gone by now, or another user's


def _carriers_psutil(mark: str, value: str) -> list[int]:
    try:
        import psutil
    except ImportError:  # the guardian runs without site-packages: groups must do
        return []
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(mark) == value:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


def _engine_lives(pid: int) -> bool:
    """True if the engine, other than this process, that a process was started for still runs.

    It is known by its id, and by being older: an id that was used again is younger.
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - as above
            entries = file.read().split(b"\0")
        mark = f"{ENGINE_MARK}=".encode()
        token = next(e.removeprefix(mark) for e in entries if e.startswith(mark))
        engine = int(token.partition(b"-")[0])
    except (OSError, ValueError, StopIteration):
        return False
    fields = _stat(engine)
    lives = bool(fields) and fields[0] not in (b"Z", b"X")
    return lives and engine != os.getpid() and int(fields[19]) <= int(_started(pid) or 0)


def kill_group(pid: int) -> bool:
    """SIGKILL the process group led by `pid`; False if there is none (left)."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_carriers(mark: str, value: str, spare: frozenset[int] = frozenset()) -> int:
    """SIGKILL every process that carries the mark; how many there were."""
    found = [pid for pid in carriers(mark, value) if pid not in spare]
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    return len(found)


def hunt_carriers(mark: str, value: str) -> None:
    """SIGKILL them until two looks in a row find none.

    One look is not enough: a process that is just being started has no environment yet.
    """
    deadline = time.monotonic() + HUNT_FOR
    quiet = 0
    while time.monotonic() < deadline:
        quiet = 0 if kill_carriers(mark, value) else quiet + 1
        if quiet == 2:
            return
        time.sleep(0.02)


# -- the guardian's own program ------------------------------------------------------------


class _Watch:
    """Reads the engine's words until it dies."""

    def __init__(self, engine: int, spared: str) -> None:
        self.engine = engine
        self.groups: set[int] = set()
        self.seen: dict[int, str] = {}
        """What was below the engine at some look: process id → when it started."""
        self._spared = {(int(pid), when) for pid, _, when in
                        (entry.partition(":") for entry in spared.split(",") if entry)}
        self._rest = b""

    def until_death(self) -> None:
        """Returns once the engine is dead, and all that it said was read."""
        poller = select.poll()
        poller.register(0, select.POLLIN)
        look_at = 0.0
        while True:
            orphan = os.getppid() != self.engine
            if not orphan and time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_EVERY
                self.look()
            if poller.poll(0 if orphan else LOOK_EVERY * 1000):
                data = os.read(0, 65536)
                if not data:
                    return
                self._hear(data)
            elif orphan:
                return

    def look(self) -> None:
        """See what is below the engine now; what is gone is forgotten."""
        found = dict(descendants(self.engine).items() - self._spared)
        for pid in found.keys() - self.seen.keys():
            if _is_guardian(pid):  # of another run in that process; they are not to kill each other
                self._spared.add((pid, found.pop(pid)))
        left = {pid: when for pid, when in self.seen.items() if _started(pid) == when}
        self.seen = {**left, **found}

    def _hear(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            pid = int(line[1:])
            (self.groups.add if line[:1] == b"+" else self.groups.discard)(pid)


def descendants(process: int) -> dict[int, str]:
    """The processes below one, this one apart: process id → when it started. Linux only."""
    found: dict[int, str] = {}
    todo = [process]
    while todo:
        for child in _children(todo.pop()):
            if child not in found and child != os.getpid():
                found[child] = _started(child)
                todo.append(child)
    return found


def _children(process: int) -> Iterator[int]:
    try:
        threads = os.listdir(f"/proc/{process}/task")  # noqa: PTH208 - as above
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{process}/task/{thread}/children") as file:  # noqa: PTH123
                yield from map(int, file.read().split())
        except OSError:
            continue


def _is_guardian(process: int) -> bool:
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:  # noqa: PTH123 - as above
            return os.fsencode(__file__) in file.read().split(b"\0")
    except OSError:
        return False


def _started(process: int) -> str:
    """When a process started, in the system's own count; empty if there is none."""
    fields = _stat(process)
    return fields[19].decode() if fields else ""


def _stat(process: int) -> list[bytes]:
    """What the system tells of a process, from its state on; nothing if there is none."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123 - as above
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def _hunt(token: str, groups: set[int], seen: dict[int, str]) -> None:
    """Kill until nothing is left to kill: what is being started now is found next time."""
    deadline = time.monotonic() + HUNT_FOR
    quiet = 0
    while quiet < 3 and time.monotonic() < deadline:
        alive = [pid for pid in groups if kill_group(pid)]
        found = kill_carriers(ENGINE_MARK, token)
        for pid, when in seen.items():
            if when and _started(pid) == when:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        quiet = 0 if found else quiet + 1
        # A killed group answers until its zombies are reaped: it is no reason to go on.
        groups.intersection_update(alive)
        time.sleep(0.02)


def main() -> None:
    """`guardian.py TOKEN ENGINE_PID SPARED`, the engine's pipe as standard input.

    SPARED: what the engine had started before, as `PID:WHEN,…`.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    watch = _Watch(int(sys.argv[2]), sys.argv[3])
    watch.until_death()
    _hunt(sys.argv[1], watch.groups, watch.seen)


if __name__ == "__main__":
    main()
