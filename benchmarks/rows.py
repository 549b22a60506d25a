"""The table's rows: every workload with its target and the raw baseline that it is held to."""

from __future__ import annotations

from benchmarks.measured import Row, Target
from benchmarks.memory import finish_row, memory_row
from benchmarks.metg import metg_row
from benchmarks.replay import bound_row, fifo_row
from benchmarks.resume import resume_row
from benchmarks.screen import SPIN, engine_row, idle_row, key_row, load_row, paint_row
from benchmarks.startup import first_task_row, help_row
from benchmarks.workloads import (
    chain_row,
    fan_calls,
    fan_row,
    growth_row,
    layers_row,
    sleep_row,
    talk_row,
)

_FAN = Target(times=0.4)
_FAN_POOL = Target(times=0.1)
_FINISHES = Target(text="finishes")
_BYTES = "bytes a task"

ROWS: tuple[Row, ...] = (
    Row("w1", "W1 map 10,000, threads", fan_row(10_000), _FAN, "threads"),
    Row("w1", "W1 map 10,000, threads, full", fan_row(10_000, durability="full"), base="threads"),
    Row("w1", "W1 map 100,000, threads", fan_row(100_000), _FAN, "threads"),
    Row("w1", "W1 map 100,000, threads, full", fan_row(100_000, durability="full"), base="threads"),
    Row("w1", "W1 calls 10,000, threads", fan_row(10_000, fan_calls), _FAN, "threads"),
    Row("w1", "W1 calls 10,000, threads, full", fan_row(10_000, fan_calls, durability="full"),
        base="threads"),
    Row("w1", "W1 map 10,000, processes", fan_row(10_000, executor="process"), _FAN_POOL, "pool"),
    Row("w1", "W1 map 10,000, processes, full",
        fan_row(10_000, executor="process", durability="full"), base="pool"),
    Row("w1", "W1 map 100,000, processes", fan_row(100_000, executor="process"), _FAN_POOL,
        "pool"),
    Row("w2", "W2 chain 1,000, threads", chain_row(1_000), Target(times=1.5), "thread chain"),
    Row("w2", "W2 chain 1,000, threads, full", chain_row(1_000, durability="full"),
        Target(times=1.3), "commit"),
    Row("w2", "W2 chain 1,000, processes", chain_row(1_000, executor="process"),
        Target(times=1.0), "pool chain"),
    Row("w2", "W2 chain 1,000, processes, full",
        chain_row(1_000, executor="process", durability="full"),
        Target(times=1.3, plus_raw="pipe"), "commit"),
    Row("w3", "W3 20 × 500, threads", layers_row(20, 500), Target(times=0.7), "threads"),
    Row("w3", "W3 20 × 500, threads, full", layers_row(20, 500, durability="full"), base="threads"),
    Row("w3", "W3 20 × 500, processes", layers_row(20, 500, executor="process"),
        Target(times=0.3), "pool layers"),
    Row("w4", "W4 map 100,000, threads", memory_row(100_000), Target(plus=600), unit=_BYTES),
    Row("w4", "W4 map 1,000,000, threads", memory_row(1_000_000), Target(plus=600), unit=_BYTES),
    Row("w4", "W4 map 100,000, processes, without workers",
        memory_row(100_000, executor="process"), Target(plus=600), unit=_BYTES),
    Row("w4", "W4 calls 100,000, threads", memory_row(100_000, "fan_calls"), unit=_BYTES),
    Row("w5", "W5 METG(50 %), threads", metg_row("thread"), Target(plus=60), "metg threads", "µs"),
    Row("w5", "W5 METG(50 %), processes", metg_row("process"), Target(plus=150), "metg pool",
        "µs"),
    Row("w6", "W6 replayed, makespan / bound", bound_row, Target(plus=1.05), unit="×"),
    Row("w6", "W6 replayed, known / FIFO, the worst", fifo_row, Target(plus=1.02), unit="×"),
    Row("growth", "growth map 10,000 → 1,000,000, threads", growth_row(10_000, 1_000_000),
        Target(plus=1.2), unit="×"),
    Row("growth", "growth map 10,000 → 1,000,000, processes",
        growth_row(10_000, 1_000_000, executor="process"), Target(plus=1.2), unit="×"),
    Row("async", "async 10,000 sleeps of 1 s", sleep_row(10_000), Target(plus=2.0), "sleeps", "s"),
    Row("resume", "resume 100,000 mapped, to first task", resume_row(100_000, "mapped"),
        Target(plus=1.0), unit="s"),
    Row("resume", "resume 100,000 by calls, to first task", resume_row(100_000, "calls"),
        Target(plus=2.0), unit="s"),
    Row("startup", "flowforge --help", help_row, Target(plus=0.12), "interpreter", "s"),
    Row("startup", "flowforge run, to first task", first_task_row, Target(plus=0.3),
        "interpreter", "s"),
    Row("logs", "log capture, threads", talk_row(50_000), Target(times=1, plus=5.0), "write",
        "µs a line"),
    Row("logs", "log capture, processes", talk_row(50_000, executor="process"),
        Target(times=1, plus=5.0), "write", "µs a line"),
    Row("w7", "W7 screen, 5,000 tasks/s of 100,000", load_row(100_000), Target(plus=10),
        unit="% of a core"),
    Row("w7", "W7 screen, idle", idle_row, Target(plus=0.5), unit="% of a core"),
    Row("w7", "W7 key to paint, p95, processes busy", key_row, Target(plus=50), unit="ms"),
    Row("w7", "W7 engine, screen / headless, 5,000 tasks/s",
        engine_row(50_000, "busy", "-p", f"seconds={SPIN}", "--executor", "process"),
        Target(plus=1 / 0.9), unit="×"),
    Row("w7", "W7 engine, screen / headless, W1 100,000", engine_row(100_000, "fan"),
        Target(plus=1 / 0.7), unit="×"),
    Row("w7", "W7 start to first paint", paint_row, Target(plus=0.5), "interpreter", "s"),
    Row("finish", "chain 100,000 by calls", finish_row(100_000, "chain"), _FINISHES),
    Row("finish", "map 1,000,000", finish_row(1_000_000, "fan"), _FINISHES),
)

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(row.group for row in ROWS))
