"""W4, and what a run of a million takes: peak memory, each run in an interpreter of its own.

    python -m benchmarks.memory FLOW N EXECUTOR DIRECTORY     prints [bytes, seconds]

Rule 1: the peak is that of the process's own address space (VmHWM). `ru_maxrss` would hand
        down the peak of whoever started it.
Rule 2: the total is counted over an interpreter that does nothing, so the engine's own code
        is in it; the net figure, over a run of one task.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import fresh
from benchmarks.measured import Measured, Scale
from benchmarks.shapes import check, check_sum, fan_answer, median

BARE = "bare"


def peak() -> int:
    """Bytes of memory that this process had at most."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def one_run(flow: str, n: int, executor: str, home: Path) -> float:
    """Seconds of one run in this process."""
    from benchmarks import workloads

    seconds, result = workloads.timed(getattr(workloads, flow), home, n, executor=executor)
    if flow == "chain":
        check(result, n, flow)
    else:
        check_sum(result, fan_answer(n), flow)
    return seconds


def fresh_run(flow: str, n: int, executor: str, home: Path) -> tuple[int, float]:
    """Peak bytes and seconds of one run in a fresh interpreter; of none, if the flow is bare."""
    found = fresh.answer(
        ["-m", "benchmarks.memory", flow, str(n), executor, str(home)], home.parent)
    return found[0], found[1]


def memory_row(n: int, flow: str = "fan", executor: str = "thread"
               ) -> Callable[[Scale, Path], Measured]:
    """Peak bytes a task of the engine's process."""
    def measure(scale: Scale, home: Path) -> Measured:
        count = scale.size(n)
        bare = fresh_run(BARE, 0, executor, home)[0]
        one = fresh_run(flow, 1, executor, home)[0]
        peaks = [fresh_run(flow, count, executor, home)[0]
                 for _ in range(min(3, scale.repeats) if n <= 100_000 else 1)]
        return Measured(
            [(p - bare) / count for p in peaks],
            [(p - one) / count for p in peaks],
            f"peak {median(peaks) / 2**20:.0f} MiB; one task {one / 2**20:.0f}, "
            f"Python {bare / 2**20:.0f}",
        )
    return measure


def finish_row(n: int, flow: str) -> Callable[[Scale, Path], Measured]:
    """A run that large ends, and right; µs a task, with its peak memory in the note."""
    def measure(scale: Scale, home: Path) -> Measured:
        count = scale.size(n)
        start = fresh_run(flow, 1, "thread", home)[1]
        top, seconds = fresh_run(flow, count, "thread", home)
        return Measured(
            [seconds / count * 1e6], [max(0.0, seconds - start) / count * 1e6],
            f"{seconds:.1f} s, peak {top / 2**20:.0f} MiB",
        )
    return measure


def main(flow: str, n: str, executor: str, home: str) -> None:
    """One run, or none, and what it took."""
    seconds = 0.0 if flow == BARE else one_run(flow, int(n), executor, Path(home))
    print(json.dumps([peak(), seconds]))


if __name__ == "__main__":
    main(*sys.argv[1:])
