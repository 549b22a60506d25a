"""W7, the screen under load: the real command on a pseudo-terminal, its driver included.

Rule 1: what the screen costs is what its own thread uses (the main one, by the kernel's
        account). The engine's threads and workers run beside it, as they do without a screen.
Rule 2: how fast the engine is comes from the run's own record, with a screen and without, so
        that neither the start nor the looking on is in it.
Rule 3: the terminal is read all the time and understood by nobody: an emulator would take the
        processor that is measured.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from benchmarks import fresh
from benchmarks.measured import Measured, Scale
from benchmarks.shapes import WORKERS, check, median
from benchmarks.startup import COMMAND, FLOW, _without_first

COLUMNS, ROWS = 120, 40
#: Seconds that the idle screen is watched.
_IDLE = 10.0
#: Events a second of the paced flow.
RATE = 5_000
#: Keys pressed to time their painting, and seconds of a task of those that keep workers busy.
_KEYS, SPIN = 100, 0.0004
#: Bytes of the terminal's output that are kept to be searched.
_TAIL = 1 << 18

FLOWS = '''"""What the screen is measured with."""

import time

from engine import task, workflow

BEGAN = []


@task
def paced(i: int, rate: int) -> int:
    """One of so many a second."""
    if not BEGAN:
        BEGAN.append(time.perf_counter() - i / rate)
    delay = BEGAN[0] + i / rate - time.perf_counter()
    if delay > 0:
        time.sleep(delay)
    return 1


@task
def spin(i: int, seconds: float) -> int:
    """Keep a core busy."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return 1


@task
def noop(i: int) -> int:
    return i


@workflow
def pace(n: int = 1, rate: int = 1):
    return paced.partial(rate=rate).map(i=range(n))


@workflow
def busy(n: int = 1, seconds: float = 0.0):
    return spin.partial(seconds=seconds).map(i=range(n))


@workflow
def fan(n: int = 1):
    return noop.map(range(n))


@workflow
def keys(n: int = 1, seconds: float = 0.0):
    for i in range(20):
        noop.options(name=f"row_{i:02}")(i)
    return spin.partial(seconds=seconds).map(i=range(n))
'''


class Shown:
    """The screen on a terminal of its own. A context: leaves nothing running."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        flow = home.parent / "screen_flows.py"
        flow.write_text(FLOWS)
        self._arguments = [arguments[0].replace("FLOWS", str(flow)), *arguments[1:]]
        self._tail = b""

    def __enter__(self) -> Shown:
        self.terminal, child = pty.openpty()
        size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
        fcntl.ioctl(child, termios.TIOCSWINSZ, size)
        env = fresh.environment({
            "TERM": "xterm-256color", "COLORTERM": "truecolor", "FLOWFORGE_HOME": str(self.home)})
        for name in ("CI", "NO_COLOR", "COLUMNS", "LINES"):
            env.pop(name, None)
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, *COMMAND, "run", *self._arguments, "--fresh", "--tui",
             "--workers", str(WORKERS), "--durability", "process"],
            cwd=self.home.parent, env=env, stdin=child, stdout=child, stderr=child,
            start_new_session=True,
        )
        os.close(child)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.terminal)

    def read(self, seconds: float) -> bytes:
        """What is written within that time; returns with the first of it."""
        if not select.select([self.terminal], [], [], seconds)[0]:
            return b""
        try:
            return os.read(self.terminal, 1 << 16)
        except OSError:  # the program has ended
            return b""

    def watch(self, seconds: float) -> None:
        """Read for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._tail = self._tail[-_TAIL:] + self.read(left)

    def until(self, text: str, seconds: float = 300.0) -> float:
        """Read until a text is painted; the moment. Raises BenchmarkFailed."""
        wanted, deadline = text.encode(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            if wanted in self._tail:
                return time.monotonic()
            if self.process.poll() is not None:
                break
            self._tail = self._tail[-_TAIL:] + self.read(0.5)
        tail = self._tail
        raise fresh.BenchmarkFailed(f"the screen never showed {text!r}: {tail[-300:]!r}")

    def press(self, key: str) -> None:
        """One key. What was painted before it counts no more."""
        self._tail = b""
        os.write(self.terminal, key.encode())

    def used(self, *, whole: bool = False) -> float:
        """CPU seconds of the screen's thread so far, or of the whole process."""
        process = psutil.Process(self.process.pid)
        if whole:
            times = process.cpu_times()
            return times.user + times.system
        main = min(process.threads(), key=lambda thread: abs(thread.id - process.pid))
        return main.user_time + main.system_time


def seconds_of(home: Path) -> float:
    """How long the newest run took, by its own record."""
    from engine.front import list_runs, open_stored

    record = open_stored(home, list_runs(home, 1)[0].run_id).record
    check(str(record.run_state), "SUCCESS", "the run")
    return record.ended - record.began


def headless(home: Path, *arguments: str) -> float:
    """Seconds of the same run without a screen, and without lines."""
    flow = home.parent / "screen_flows.py"
    flow.write_text(FLOWS)
    fresh.run(
        [*COMMAND, "run", arguments[0].replace("FLOWS", str(flow)), *arguments[1:], "--fresh",
         "--headless", "--workers", str(WORKERS), "--durability", "process"],
        home.parent, {"FLOWFORGE_HOME": str(home)})
    return seconds_of(home)


def shown(home: Path, *arguments: str) -> float:
    """Seconds of a run on the screen."""
    with Shown(home, *arguments) as screen:
        screen.until("SUCCESS")
    return seconds_of(home)


Measure = Callable[[Scale, Path], Measured]


def load_row(n: int) -> Measure:
    """Per cent of a core that the screen's thread uses while tasks end at a steady rate."""
    def measure(scale: Scale, home: Path) -> Measured:
        count, found, whole = scale.size(n), [], []
        for _ in range(_few(scale)):
            with Shown(home, "FLOWS:pace", "-p", f"n={count}", "-p", f"rate={RATE}") as screen:
                screen.until("paced")
                began, mine, all_of_it = time.monotonic(), screen.used(), screen.used(whole=True)
                screen.watch(count / RATE * 0.8)
                took = time.monotonic() - began
                found.append(max(0.01, screen.used() - mine) / took * 100)
                whole.append((screen.used(whole=True) - all_of_it) / took * 100)
                screen.until("SUCCESS")
        return Measured(found, found, f"the whole process {median(whole):.0f} %")
    return measure


def idle_row(scale: Scale, home: Path) -> Measured:
    """Per cent of a core of the whole process, when the run is over and nobody does anything."""
    found = []
    for _ in range(_few(scale)):
        with Shown(home, "FLOWS:fan", "-p", "n=1000") as screen:
            screen.until("SUCCESS")
            screen.watch(1.0)
            seconds = max(1.0, _IDLE / scale.divisor)
            before = screen.used(whole=True)
            screen.watch(seconds)
            found.append(max(0.001, screen.used(whole=True) - before) / seconds * 100)
    return Measured(found, found)


def key_row(scale: Scale, home: Path) -> Measured:
    """Milliseconds from a key to what it paints, 95th percentile; every core has a worker busy."""
    found = []
    for _ in range(_few(scale)):
        keys = scale.size(_KEYS, 19)
        tasks = int((10 + 0.3 * keys) * WORKERS / SPIN)
        with Shown(home, "FLOWS:keys", "--executor", "process", "-p", f"n={tasks}",
                   "-p", f"seconds={SPIN}") as screen:
            screen.until("spin")
            screen.watch(1.0)
            screen.press("\x1b[H")
            screen.watch(0.5)
            waits = list(_walk(screen, keys))
        found.append(sorted(waits)[int(0.95 * len(waits))] * 1e3)
    return Measured(found, found, f"{keys} keys, {WORKERS} processes busy")


def _walk(screen: Shown, keys: int) -> Iterator[float]:
    """Seconds until the row is painted that the cursor goes to, key by key."""
    at, step = 0, 1
    for _ in range(keys):
        at += step
        pressed = time.monotonic()
        screen.press("j" if step > 0 else "k")
        yield screen.until(f"row_{at:02}", 10.0) - pressed
        if at in (0, 19):
            step = -step
        screen.watch(0.05)


def engine_row(n: int, flow: str, *arguments: str) -> Measure:
    """How many times as long a run takes with the screen on as without."""
    def measure(scale: Scale, home: Path) -> Measured:
        given = (f"FLOWS:{flow}", "-p", f"n={scale.size(n)}", *arguments)
        with_screen, without = [], []
        for _ in range(_few(scale)):
            without.append(headless(home, *given))
            with_screen.append(shown(home, *given))
        bare = median(without)
        ratios = [seconds / bare for seconds in with_screen]
        return Measured(
            ratios, ratios, f"headless {bare / scale.size(n) * 1e6:.1f} µs a task")
    return measure


def paint_row(scale: Scale, home: Path) -> Measured:
    """Seconds from the start of the command until the screen is painted, its keys the last."""
    flow, mark = home.parent / "one_task.py", home.parent / "first"
    flow.write_text(FLOW)
    found = []
    os.environ["BENCH_MARK"] = str(mark)  # where the flow's task leaves its time
    for _ in range(1 + scale.repeats):
        with Shown(home, str(flow)) as screen:
            found.append(screen.until("quit") - screen.began)
            screen.until("SUCCESS")
    return _without_first(found, home)


def _few(scale: Scale) -> int:
    """Repeats of what takes half a minute each."""
    return min(3, scale.repeats)
