from __future__ import annotations

import math
import random
import subprocess
import sys
import time

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.dag import Dag
from engine.core.events import Attempt, ErrorInfo, Failed, Moved, Reset, Started, Succeeded
from engine.core.nodes import Node
from engine.core.states import FAILED, SKIPPED, UP_FOR_RETRY, UPSTREAM_FAILED
from engine.core.tasks import TaskSpec
from engine.telemetry.metrics import Metrics, Sample, Sampler
from engine.telemetry.series import Durations, Series
from tests.counting import counted


def nodes(*names: str) -> list[Node]:
    dag = Dag("d")
    return [dag.add(TaskSpec(name, print)) for name in names]


def ran(node: Node, start: float, end: float, tid: int = 0) -> Attempt:
    attempt = Attempt(tid, node, -1, 1, 0, None)
    attempt.start, attempt.end = start, end
    return attempt


# -- durations and series -------------------------------------------------------------------


@given(st.lists(st.floats(1e-7, 1e6), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 1.0]))
def test_percentiles_are_within_five_percent(seconds: list[float], q: float) -> None:
    durations = Durations()
    durations.add(seconds)
    exact = sorted(seconds)[math.ceil(q * len(seconds)) - 1]
    assert durations.percentile(q) == pytest.approx(exact, rel=0.05)


def test_durations_of_nothing_and_of_zero() -> None:
    durations = Durations()
    durations.add([])
    assert (durations.mean, durations.percentile(0.5), durations.longest) == (0.0, 0.0, 0.0)
    durations.add([0.0, 0.0])
    assert (durations.count, durations.mean, durations.percentile(0.5)) == (2, 0.0, 0.0)


def test_a_series_halves_its_resolution_and_loses_nothing() -> None:
    series = Series(most=8)
    for second in range(100):
        series.add(1_000.0 + second, 1.0)
    assert (series.start, series.width) == (1_000.0, 16.0)
    assert series.values == [16.0] * 6 + [4.0]


def test_a_series_with_a_gap_and_a_straggler() -> None:
    series = Series(max, most=8)
    for at, value in ((10.0, 5.0), (13.0, 7.0), (9.0, 6.0), (10_000.0, 1.0)):
        series.add(at, value)
    assert len(series.values) <= 8
    assert series.values[0] == 7.0 and series.values[-1] == 1.0


# -- the fold -------------------------------------------------------------------------------------


def test_successes_by_task() -> None:
    a, b = nodes("a", "b")
    metrics = Metrics()
    metrics([Succeeded([ran(a, 10.0, 11.0), ran(b, 11.0, 15.0), ran(a, 15.0, 18.0)])])
    metrics([Succeeded([])])
    tasks = {t.name: t for t in metrics.tasks.values()}
    assert (tasks["a"].durations.count, tasks["a"].used) == (2, 4.0)
    assert (tasks["b"].durations.count, tasks["b"].used) == (1, 4.0)
    assert metrics.wall == 8.0
    assert metrics.slot_use(2) == 0.5


def test_failures_retries_and_waits() -> None:
    (a,) = nodes("a")
    metrics = Metrics()
    failed = ran(a, 10.0, 12.0)
    failed.fail(ErrorInfo("E", "m"))
    metrics([Failed(failed, UP_FOR_RETRY, 17.0), Failed(failed, FAILED, 0.0)])
    never_ran = Attempt(1, a, -1, 1, 0, None)
    metrics([Failed(never_ran, FAILED, 0.0)])
    figures = metrics.tasks[a.spec]
    assert (figures.failures, figures.retries, figures.retry_wait) == (3, 1, 5.0)
    assert figures.used == 4.0
    assert figures.durations.count == 0
    assert (metrics.first, metrics.last) == (10.0, 12.0)


def test_moves_and_resets_are_counted() -> None:
    (a,) = nodes("a")
    metrics = Metrics()
    metrics([
        Moved([1, 2], UPSTREAM_FAILED, 0, ""), Moved([3], SKIPPED, 0, ""), Reset([1], [1], "rerun"),
        Started([ran(a, 5.0, 0.0)]),
    ])
    assert metrics.moved == {"UPSTREAM_FAILED": 2, "SKIPPED": 1}
    assert metrics.reset == 1
    assert metrics.first == 5.0
    assert metrics.wall == 0.0


def test_the_summary_is_plain_data() -> None:
    a, b = nodes("cheap", "costly")
    metrics = Metrics()
    metrics([Succeeded([ran(a, 0.5, 1.0), ran(b, 1.0, 3.5)])])
    summary = metrics.summary(slots=3)
    assert msgpack.unpackb(msgpack.packb(summary)) == summary
    assert (summary["successes"], summary["wall"], summary["slot_use"]) == (2, 3.0, 3.0 / 9.0)
    tasks = summary["tasks"]
    assert isinstance(tasks, list)
    assert [t["name"] for t in tasks] == ["costly", "cheap"]
    assert tasks[0]["max"] == 2.5
    assert tasks[0]["p50"] == pytest.approx(2.5, rel=0.05)


def test_the_summary_of_nothing() -> None:
    summary = Metrics().summary(slots=4)
    assert (summary["wall"], summary["per_second"], summary["slot_use"]) == (0.0, 0.0, 0.0)


def test_folding_is_cheap() -> None:
    (a,) = nodes("a")
    rng = random.Random(1)
    batch = [ran(a, 1.0, 1.0 + rng.random() / 100) for _ in range(256)]
    metrics = Metrics()
    metrics([Succeeded(batch)])
    with counted() as calls:
        metrics([Succeeded(batch)])
    assert calls.total() < 3 * 256, f"{calls} for 256 tasks"


# -- the sampler -----------------------------------------------------------------------------


def test_the_engine_is_sampled() -> None:
    sampler = Sampler(list)
    first = sampler.sample()
    spun = time.process_time()
    while time.process_time() < spun + 0.05:
        pass
    second = sampler.sample()
    assert (first.cpu, first.processes) == (0.0, 1)
    assert second.cpu > 0.05
    assert second.memory > 5_000_000
    assert sampler.latest is second


def test_workers_come_and_go() -> None:
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pids: list[int] = [worker.pid]
    sampler = Sampler(lambda: pids)
    with_worker = sampler.sample()
    worker.communicate(b"\n")
    pids.append(2**22 + 1)  # above the largest pid of Linux
    without = sampler.sample()
    assert (with_worker.processes, without.processes) == (2, 1)
    assert with_worker.memory > without.memory * 0.9
    summary = sampler.summary()
    assert msgpack.unpackb(msgpack.packb(summary)) == summary


def test_it_looks_once_an_interval_however_often_it_is_polled() -> None:
    got: list[Sample] = []

    def listener(sample: Sample) -> None:
        got.append(sample)
        raise RuntimeError("a bad listener")

    eager = Sampler(list, interval=0.0, on_sample=listener)
    for _ in range(3):
        eager.poll()
    eager.close()
    assert len(got) == 4
    assert [s.at for s in got] == sorted(s.at for s in got)

    patient = Sampler(list, interval=3600.0, on_sample=listener)
    patient.poll()
    patient.close()
    assert len(got) == 4, "a run shorter than the interval is not looked at"



@given(st.lists(st.floats(0, 1e5)), st.lists(st.floats(0, 1e5)))
def test_merging_is_the_same_as_counting_all(some: list[float], others: list[float]) -> None:
    whole, merged, other = Durations(), Durations(), Durations()
    whole.add(some)
    whole.add(others)
    merged.add(some)
    other.add(others)
    merged.merge(other)

    assert merged.buckets() == whole.buckets()
    assert (merged.count, merged.longest) == (whole.count, whole.longest)
    assert merged.total == pytest.approx(whole.total)


@given(st.lists(st.floats(1e-8, 1e5), min_size=1, max_size=5_000))
def test_each_duration_is_in_the_bucket_that_spans_it(seconds: list[float]) -> None:
    durations = Durations()
    durations.add(seconds)

    for low, high, number in durations.buckets():
        inside = sum(low * (1 + 1e-12) < s < high * (1 - 1e-12) for s in seconds)
        at_most = sum(low * (1 - 1e-12) <= s <= high * (1 + 1e-12) for s in seconds)
        assert inside <= number <= at_most
