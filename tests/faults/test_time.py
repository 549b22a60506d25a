"""Clocks that are set, engines that are stopped and go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine import task, workflow
from engine.runtime.stored import open_stored
from tests.cli.flows import Place
from tests.runtime.harness import Bench, note, until_told
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc, LD_PRELOAD")

#: Moves the wall clock by the number of seconds in the file $CLOCK_STEP; the monotonic one stays.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long step(void) {
    const char *name = getenv("CLOCK_STEP");
    FILE *f = name ? fopen(name, "r") : NULL;
    long n = 0;
    if (f) { if (fscanf(f, "%ld", &n) != 1) n = 0; fclose(f); }
    return n;
}
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(id, t);
    if (r == 0 && id == CLOCK_REALTIME) t->tv_sec += step();
    return r;
}
int gettimeofday(struct timeval *t, void *z) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = dlsym(RTLD_NEXT, "gettimeofday");
    int r = real(t, z);
    if (r == 0) t->tv_sec += step();
    return r;
}
time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}
"""

CLOCKS = """
import os
import time
from pathlib import Path
from engine import task, workflow

@task
def step(seconds):
    before = time.time()
    Path(os.environ["CLOCK_STEP"]).write_text(str(seconds))
    moved = time.time() - before
    assert abs(moved - seconds) < 60 or seconds == 0, moved
    return seconds

@task(timeout=3600)
def long(x):
    time.sleep(0.3)
    return x

@task(retries=1, retry_delay=0.2)
def shaky(x, folder):
    try:
        Path(folder, "failed").open("x").close()
    except FileExistsError:
        return x
    raise ValueError("the first time")

@workflow
def clocks(seconds: int, folder: str):
    return shaky(long(step(seconds)), folder)
"""


@pytest.fixture
def shim(tmp_path: Path) -> str:
    source, library = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM)
    try:
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"],
                       check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no library can be made: {error}")
    return str(library)


@pytest.mark.fault(34)
@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize("seconds", [-3600, 86400])
def test_the_wall_clock_is_set_in_mid_run(place: Place, shim: str, executor: str, seconds: int):
    place.write("clocks.py", CLOCKS)
    place.env |= {"LD_PRELOAD": shim, "CLOCK_STEP": str(place.path / "step")}
    place.write("step", "0")
    begun = time.monotonic()
    place.do("run", "clocks.py", "-p", f"seconds={seconds}", "-p", f"folder={place.path}",
             "--executor", executor)
    took = time.monotonic() - begun
    stored = open_stored(place.path / ".flowforge", "latest")
    record = stored.record
    assert stored.state == "SUCCESS"
    for tid in record.live_ids():
        assert 0 <= record.end[tid] - record.start[tid] < took, stored.name_of(tid)
    assert record.end[1] - record.start[1] >= 0.29
    assert 0 <= record.ended - record.began < took


@pytest.mark.fault(34)
@pytest.mark.parametrize("seconds", [-3600, 86400])
def test_the_wall_clock_was_set_between_two_sessions(place: Place, shim: str, seconds: int):
    """A retry that was due is due after its delay, not in an hour; ages are not negative."""
    place.write("gap.py", """
import os
from pathlib import Path
from engine import task, workflow

@task(retries=1, retry_delay=1.0)
def shaky(folder):
    try:
        Path(folder, "failed").open("x").close()
    except FileExistsError:
        return "good"
    raise ValueError("the first time")

@task
def die(folder):
    while not Path(folder, "failed").exists():
        pass
    os.kill(os.getpid(), 2)

@workflow
def gap(folder: str):
    shaky(folder)
    die(folder)
""")
    place.env |= {"LD_PRELOAD": shim, "CLOCK_STEP": str(place.path / "step")}
    place.write("step", "0")
    place.do("run", "gap.py", "-p", f"folder={place.path}", "--executor", "thread", code=130)
    place.write("step", str(seconds))
    begun = time.monotonic()
    resumed = place.do("resume")
    assert time.monotonic() - begun < 20
    assert "-" not in resumed.stderr.partition("from ")[2].partition(" ago")[0]
    place.do("runs")
    assert open_stored(place.path / ".flowforge", "latest").state == "SUCCESS"


@pytest.mark.fault(35, 47)
@pytest.mark.parametrize(
    ("executor", "stop"), [("thread", signal.SIGSTOP), ("process", signal.SIGTSTP)],
    ids=["SIGSTOP", "Ctrl-Z"])
def test_an_engine_stopped_for_longer_than_the_timeouts_ends_nothing_early(
    bench: Bench, executor: str, stop: signal.Signals
):
    @task(timeout=3.0)
    def step(i: int, folder: str):
        note(f"step{i}")
        until_told(folder)
        return i

    @workflow
    def flow(folder: str):
        return step.partial(folder=folder).map(i=range(2))

    session = bench.start(flow, executor=executor, parameters={"folder": str(bench.folder)})
    # In a group of its own, as a shell has it: the kernel stops no orphaned group on Ctrl-Z, and
    # that of the tests may be one.
    os.setpgid(session.pid, session.pid)
    bench.ledger.until("step0", "step1")
    session.signal(stop)
    wait_for(lambda: _state(session.pid) == "T", "the engine to stop")
    stopped = time.monotonic()
    # Longer than the timeout and what counts as a suspension: this is the fault itself.
    wait_for(lambda: time.monotonic() - stopped > 5.5, "the time to pass")
    session.signal(signal.SIGCONT)
    before = _switches(session.pid)
    wait_for(lambda: _switches(session.pid) > before + 100, "the engine to look at its attempts")
    (bench.folder / "go").touch()
    assert session.ended() == 0, session.text()
    assert sorted(bench.ledger.all()) == ["step0", "step1"]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _switches(pid: int) -> int:
    """How often its threads have gone to sleep so far: each look of the ticker is one."""
    return sum(
        int(line.split()[1]) for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt")
    )
