"""What tests of interrupted runs need: a ledger outside the engine, and sessions that die.

A session that is to be killed runs in a fork of the test process: the flow may then be written
in the test itself, and is the same flow, by name and code, as the one that resumes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.runtime.request import PlanMade, Request, requested
from tests.waiting import PATIENCE, wait_for


def note(name: str) -> None:
    """Called by tasks: one line in the ledger, in one write."""
    fd = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, f"{name}\n".encode())
    finally:
        os.close(fd)


def first(tag: str) -> bool:
    """True the first time that it is asked about this tag, in all processes."""
    try:
        os.close(os.open(f"{os.environ['LEDGER']}.{tag}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def die() -> None:
    """Called by tasks: the engine is killed, and whatever it has not on disk is lost."""
    os.kill(int(os.environ.get("ENGINE_PID", os.getpid())), signal.SIGKILL)
    time.sleep(PATIENCE)  # in a worker process, until the guardian comes


def until_told(folder: str, name: str = "go") -> None:
    """Called by tasks: wait until the test has made a file."""
    wait_for(Path(folder, name).exists, f"the file {name}")


class Ledger:
    """Reads what tasks noted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = 0

    def all(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []

    def new(self) -> list[str]:
        """What was noted since it was last asked, sorted."""
        lines = self.all()
        found, self._seen = lines[self._seen:], len(lines)
        return sorted(found)

    def until(self, *names: str) -> None:
        """Wait until these were noted."""
        wait_for(lambda: set(names) <= set(self.all()), f"{names} in the ledger: {self.all()}")


class Session:
    """A forked process at work."""

    def __init__(self, act: Callable[[], Any], output: Path) -> None:
        self.output = output
        self._status: int | None = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
            self.pid = os.fork()
        if not self.pid:
            _child(act, output)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def ended(self) -> int:
        """Its exit code, negative for a signal."""
        def gone() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
            return self._status is not None

        try:
            if self._status is None:
                wait_for(gone, f"the session's end; it said: {self.text()}")
        except AssertionError:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise
        assert self._status is not None
        return self._status

    def text(self) -> str:
        """What it printed so far."""
        return self.output.read_text() if self.output.exists() else ""


def _child(act: Callable[[], Any], output: Path) -> None:
    code = 70
    try:
        out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(out, stream)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)
        os.environ["ENGINE_PID"] = str(os.getpid())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT
                          else signal.SIG_DFL)
        act()
        code = 0
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        code = error.code if isinstance(error, SystemExit) and type(error.code) is int else 71
    finally:
        os._exit(code)


class Bench:
    """A directory, a ledger in it, and ways to run a workflow there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = Ledger(folder / "ledger")
        self._sessions = 0
        self.said: list[str] = []

    def options(self, **more: Any) -> dict[str, Any]:
        return {"workers": 2, "durability": "process", "grace": 2.0, "output": "silent",
                "home": self.folder / "home", **more}

    def run(self, wf: Any, *args: Any, request: Request | None = None, **more: Any) -> Any:
        """Run it here; returns the run. `more`: options, and `parameters`."""
        parameters = more.pop("parameters", {})
        request = request or Request()
        request.reporter = request.reporter or (lambda output: _Ear(self.said))
        self.said.clear()
        with requested(request):
            return wf.options(**self.options(**more)).run(*args, **parameters)

    def command(self, wf: Any, command: str, *tasks: str, run: str | None = None,
                **more: Any) -> Any:
        """The same as `flowforge retry RUN TASK…` and its kin."""
        request = Request(command=command, run_id=run, tasks=tasks)  # type: ignore[arg-type]
        return self.run(wf, request=request, **more)

    def plan(self, wf: Any, command: str = "resume", *tasks: str, run: str | None = None,
             **more: Any) -> Any:
        """What a resume would do; nothing is run."""
        request = Request(command=command, run_id=run, tasks=tasks,  # type: ignore[arg-type]
                          dry_run=True)
        try:
            self.run(wf, request=request, **more)
        except PlanMade:
            return request.plan
        raise AssertionError("a dry run ran")

    def start(self, wf: Any, *args: Any, **more: Any) -> Session:
        """Run it in a process of its own."""
        self._sessions += 1
        parameters = more.pop("parameters", {})
        options = self.options(**{"output": "plain", **more})
        return Session(lambda: wf.options(**options).run(*args, **parameters),
                       self.folder / f"session-{self._sessions}.txt")

    def killed(self, wf: Any, *args: Any, **more: Any) -> list[str]:
        """Run it until a task calls `die()`; returns what was noted by then."""
        session = self.start(wf, *args, **more)
        code = session.ended()
        assert code == -signal.SIGKILL, f"ended with {code}: {session.text()}"
        return self.ledger.new()

    def recorded(self) -> set[str]:
        """The names of task runs that are on disk as done, in the newest run."""
        from engine.core.states import SUCCESS
        from engine.runtime.stored import open_stored

        stored = open_stored(self.folder / "home", "latest")
        return {
            stored.name_of(t) for t in stored.record.live_ids()
            if stored.record.state_of(t) is SUCCESS
        }

    @property
    def run_dirs(self) -> list[Path]:
        return sorted((self.folder / "home" / "runs").iterdir())


class _Ear:
    """A reporter that remembers what it was told."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def begin(self, live: Any) -> None:
        if live.resumed:
            self.said.append(live.resumed)

    def changes(self, batch: Any) -> None:
        """Nothing to remember."""

    def say(self, text: str) -> None:
        self.said.append(text)

    def plan(self, plan: Any) -> None:
        self.said += [f"{e.name}: {e.action}: {e.reason}" for e in plan.entries()]

    def end(self, run: Any) -> None:
        """Nothing to remember."""


@contextmanager
def within(seconds: float = PATIENCE) -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Calls something on a thread, so that a run that hangs fails the test and not the suite."""
    def call(act: Callable[[], Any]) -> Any:
        outcome: list[Any] = []

        def target() -> None:
            try:
                outcome.append((True, act()))
            except BaseException as error:
                outcome.append((False, error))

        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        thread.join(seconds)
        assert not thread.is_alive(), f"not over after {seconds} s"
        good, value = outcome[0]
        if not good:
            raise value
        return value

    yield call
