"""What the machine can do without an engine: the raw figures that the rows are held against.

    python -m benchmarks.baseline NAME SCALE DIRECTORY      prints one figure, in the row's unit

Rule 1: standard library only, in a fresh interpreter: neither threads nor objects of an
        engine disturb a figure.
Rule 2: the median of five. The fan-out over threads alone moves between 8 and 23 µs with how
        its two workers meet the GIL.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

from benchmarks.measured import SCALES, Scale
from benchmarks.metg import raw_metg
from benchmarks.raw_graph import Graph, run_graph
from benchmarks.shapes import (
    LINE,
    WORKERS,
    above,
    check,
    check_sum,
    fan_answer,
    inc,
    join3,
    layers_answer,
    median,
    noop,
)

REPEATS = 5

def threads() -> Executor:
    """The pool of threads that everybody has."""
    return ThreadPoolExecutor(WORKERS)


def processes() -> Executor:
    """The pool of processes that everybody has, its workers started."""
    way = "fork" if sys.platform == "linux" else None
    pool = ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context(way))
    for future in [pool.submit(noop, 1) for _ in range(2 * WORKERS)]:
        future.result()
    return pool


# == graphs ================================================================================


def fan(pool: Executor, scale: Scale) -> float:
    """Submit no-ops and collect their results."""
    n = scale.size(10_000)
    began = time.perf_counter()
    total = sum(f.result() for f in [pool.submit(noop, i) for i in range(n)])
    seconds = time.perf_counter() - began
    check(total, fan_answer(n), "raw fan-out")
    return seconds / n * 1e6


def chain(pool: Executor, scale: Scale) -> float:
    """Each task is submitted with the result of the one before."""
    n = scale.size(1_000)
    began = time.perf_counter()
    x = 0
    for _ in range(n):
        x = pool.submit(inc, x).result()
    seconds = time.perf_counter() - began
    check(x, n, "raw chain")
    return seconds / n * 1e6


def layered(pool: Executor, scale: Scale) -> float:
    """Twenty layers of 500, by the smallest dependency counter there is."""
    layers, width = 20, scale.size(500)
    began = time.perf_counter()
    out = run_graph(pool, layers_graph(layers, width))
    seconds = time.perf_counter() - began
    last = [out[layers - 1, i] for i in range(width)]
    check_sum(last, layers_answer(layers, width), "raw layers")
    return seconds / (layers * width) * 1e6


def layers_graph(layers: int, width: int) -> Graph:
    """W3 as a table."""
    graph: Graph = {(0, i): (noop, (), (i,)) for i in range(width)}
    for row in range(1, layers):
        for i in range(width):
            graph[row, i] = (join3, tuple((row - 1, j) for j in above(i, width)), ())
    return graph


def on(make: Callable[[], Executor], work: Callable[[Executor, Scale], float]
       ) -> Callable[[Scale, Path], float]:
    """The work on a pool of its own."""
    def run(scale: Scale, _directory: Path) -> float:
        with make() as pool:
            return work(pool, scale)
    return run


# == disk, pipe, console, event loop, interpreter ===========================================


def commit(scale: Scale, directory: Path) -> float:
    """One row in SQLite, each in a transaction that is on the disk before the next; µs."""
    n = scale.size(200)
    path = directory / f"commit-{os.getpid()}-{time.monotonic_ns()}.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE journal (seq INTEGER PRIMARY KEY, data BLOB)")
    began = time.perf_counter()
    for _ in range(n):
        connection.execute("INSERT INTO journal (data) VALUES (?)", (b"x" * 40,))
    seconds = time.perf_counter() - began
    check(connection.execute("SELECT count(*) FROM journal").fetchone(), (n,), "raw commits")
    connection.close()
    return seconds / n * 1e6


def pipe(scale: Scale, _directory: Path) -> float:
    """There and back through pipes to another process; µs."""
    n = scale.size(2_000)
    child = subprocess.Popen(
        [sys.executable, "-c", _ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(b"x" * 32)
    child.stdout.read(32)
    began = time.perf_counter()
    for _ in range(n):
        child.stdin.write(b"x" * 32)
        child.stdout.read(32)
    seconds = time.perf_counter() - began
    child.stdin.close()
    child.wait()
    child.stdout.close()
    return seconds / n * 1e6


_ECHO = "import os\nwhile data := os.read(0, 32):\n    os.write(1, data)"


def write_lines(scale: Scale, directory: Path) -> float:
    """A `write` a line, to a file; µs."""
    n, line = scale.size(50_000), LINE.encode()
    path = directory / f"lines-{os.getpid()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    began = time.perf_counter()
    for _ in range(n):
        os.write(fd, line)
    seconds = time.perf_counter() - began
    os.close(fd)
    check(path.stat().st_size, n * len(line), "raw lines")
    path.unlink()
    return seconds / n * 1e6


def sleeps(scale: Scale, _directory: Path) -> float:
    """As many sleeps at once on one event loop; seconds in all."""
    async def gathered() -> None:
        await asyncio.gather(*(asyncio.sleep(scale.seconds) for _ in range(scale.size(10_000))))

    began = time.perf_counter()
    asyncio.run(gathered())
    return time.perf_counter() - began


def interpreter(_scale: Scale, _directory: Path) -> float:
    """A Python that does nothing, from start to end; seconds."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def stencil_threads(scale: Scale, _directory: Path) -> float:
    """METG(50 %) of the raw pool of threads; µs."""
    return raw_metg(threads, scale)


def stencil_processes(scale: Scale, _directory: Path) -> float:
    """METG(50 %) of the raw pool of processes; µs."""
    return raw_metg(processes, scale)


BASELINES: dict[str, Callable[[Scale, Path], float]] = {
    "threads": on(threads, fan),
    "pool": on(processes, fan),
    "thread chain": on(threads, chain),
    "pool chain": on(processes, chain),
    "pool layers": on(processes, layered),
    "commit": commit,
    "pipe": pipe,
    "write": write_lines,
    "sleeps": sleeps,
    "interpreter": interpreter,
    "metg threads": stencil_threads,
    "metg pool": stencil_processes,
}

#: These repeat within themselves, or take long and hardly move.
ONCE = {"metg threads", "metg pool", "sleeps"}


def figure(name: str, scale: Scale, directory: Path) -> float:
    """The median of a baseline, measured in this process."""
    repeats = 1 if name in ONCE or scale.repeats == 1 else REPEATS
    return median([BASELINES[name](scale, directory) for _ in range(repeats)])


if __name__ == "__main__":
    print(figure(sys.argv[1], SCALES[sys.argv[2]], Path(sys.argv[3])))
