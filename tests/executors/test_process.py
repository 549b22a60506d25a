"""Process workers: work, failures, deaths, stops, output. Everything with real processes."""

from __future__ import annotations

import dataclasses
import enum
import os
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine import errors
from engine.core.retry import RetryPolicy
from engine.core.states import CANCELLED, FAILED, QUEUED, SKIPPED, SUCCESS, FailureReason
from engine.worker import classes
from engine.worker.codec import ABSENT
from engine.worker.context import current
from engine.worker.resources import resource
from tests.executors.processes import assert_dies, is_dead, text_in
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process workers need POSIX")


def add(a: int, b: int = 1) -> int:
    return a + b


def pid() -> int:
    return os.getpid()


def wait_for_file(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.002)
    return "seen"


def touch_and_hang(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


# -- work ------------------------------------------------------------------------------------


def test_many_attempts_over_two_workers(pool: Any) -> None:
    p = pool(workers=2)
    attempts = [p.hub.attempt(add, i, b=i) for i in range(500)]
    p.hub.give(*attempts)
    p.hub.wait(*attempts)
    assert [p.hub.value(a) for a in attempts] == [2 * i for i in range(500)]
    assert all(0 < a.start <= a.end for a in attempts)
    assert len(p.executor.pids()) == p.executor.workers == 2


def test_values_come_back_equal_and_of_their_type(pool: Any) -> None:
    p = pool()
    values = [None, (1, (2,)), {3, 4}, 2**100, b"\x00" * 2000, "ü" * 3000, {"a": [1.5, None]}]
    attempts = [p.hub.attempt(lambda x: x, v) for v in values]
    p.hub.give(*attempts)
    p.hub.wait(*attempts)
    for attempt, value in zip(attempts, values, strict=True):
        back = p.hub.value(attempt)
        assert back == value and type(back) is type(value)


def test_closures_and_functions_of_a_script(pool: Any) -> None:
    script = types.ModuleType("__main__")
    exec("FACTOR = 3\ndef times(x): return helper(x)\ndef helper(x): return x * FACTOR",
         script.__dict__)
    offset = 10
    p = pool()
    a = p.hub.attempt(lambda x: x + offset, 1)
    b = p.hub.attempt(script.times, 4)
    p.hub.give(a, b)
    p.hub.wait(a, b)
    assert (p.hub.value(a), p.hub.value(b)) == (11, 12)


def test_classes_of_a_flow_arrive_as_themselves(pool: Any) -> None:
    @dataclasses.dataclass
    class Row:
        name: str

    class Colour(enum.Enum):
        RED = 1

    for cls in (Row, Colour):
        classes.register(cls)

    def same(row: Any, colour: Any) -> Any:
        return [isinstance(row, Row), colour is Colour.RED, Row(row.name + "!"), Colour.RED]

    p = pool()
    a = p.hub.attempt(same, Row("x"), Colour.RED)
    p.hub.give(a)
    p.hub.wait(a)
    assert p.hub.value(a) == [True, True, Row("x!"), Colour.RED]
    assert p.hub.value(a)[3] is Colour.RED

    @dataclasses.dataclass
    class Later:
        n: int

    classes.register(Later)
    b = p.hub.attempt(lambda later: Later(later.n + 1), Later(1))
    p.hub.give(b)
    p.hub.wait(b)
    assert p.hub.value(b) == Later(2)


def test_fifty_megabytes_both_ways(pool: Any) -> None:
    p = pool()
    data = os.urandom(1 << 20) * 50
    big, small = p.hub.attempt(lambda d: d[::-1], data), p.hub.attempt(add, 1)
    p.hub.give(big, small)  # more than one message takes: the second follows the first
    p.hub.wait(big, small)
    assert p.hub.value(big) == data[::-1] and p.hub.value(small) == 2


def test_a_worker_sees_the_engines_path_directory_and_run(pool: Any) -> None:
    p = pool()

    def surroundings() -> Any:
        here = current()
        return [sys.path, os.getcwd(), os.environ["FLOWFORGE_RUN"], here.run_id, here.task_id,
                here.attempt, here.generation]

    a = p.hub.attempt(surroundings)
    p.hub.give(a)
    p.hub.wait(a)
    assert p.hub.value(a) == [
        sys.path, os.getcwd(), "test-run", "test-run", "surroundings", 1, 1
    ]


def test_items_of_a_map_know_their_names(pool: Any) -> None:
    p = pool()
    attempts = [p.hub.attempt(lambda: current().task_id) for _ in range(3)]
    for i, a in enumerate(attempts):
        a.index = i
    p.hub.give(*attempts)
    p.hub.wait(*attempts)
    assert [p.hub.value(a) for a in attempts] == [
        f"{a.node.name}[{i}]" for i, a in enumerate(attempts)
    ]


def test_a_result_that_is_not_kept_travels_all_the_same(pool: Any) -> None:
    p = pool()
    a = p.hub.attempt(add, 1, persist=False)
    p.hub.give(a)
    p.hub.wait(a)
    assert a.value == 2 and a.payload is ABSENT


def test_resources_are_opened_in_the_worker_and_closed(pool: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def note(text: str) -> None:
        with log.open("a") as file:
            file.write(f"{text} ")

    @resource
    def each() -> Any:
        note("open")
        yield "each"
        note("close")

    @resource(scope="worker")
    def once() -> Any:
        note("OPEN")
        yield "once"
        note("CLOSE")

    p = pool()
    attempts = [
        p.hub.attempt(lambda a, b: (a, b), resources={"a": each, "b": once}) for _ in range(2)
    ]
    p.hub.give(*attempts)
    p.hub.wait(*attempts)
    assert [p.hub.value(a) for a in attempts] == [("each", "once")] * 2
    p.hub.finish()
    p.executor.close()
    assert log.read_text().split() == ["open", "OPEN", "close", "open", "close", "CLOSE"]


# -- failures -----------------------------------------------------------------------------------


def test_an_exception_arrives_with_its_traceback(pool: Any) -> None:
    def fails() -> None:
        raise KeyError("gone")

    p = pool()
    a = p.hub.attempt(fails)
    p.hub.give(a)
    p.hub.wait(a)
    assert a.status is FAILED and a.reason == FailureReason.ERROR
    assert a.error.type == "KeyError" and 'raise KeyError("gone")' in a.error.traceback
    assert a.error.file == __file__ and "process_worker" not in a.error.traceback
    assert isinstance(a.exception, KeyError) and a.exception.args == ("gone",)


@pytest.mark.fault(7)
def test_an_exception_that_cannot_be_pickled_arrives_as_text(pool: Any) -> None:
    class Awkward(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("awkward as can be")
            self.hook = lambda: one + two

        def __reduce__(self) -> Any:
            raise TypeError("not me")

    def fails() -> None:
        raise Awkward(1, 2)

    p = pool()
    a = p.hub.attempt(fails)
    p.hub.give(a)
    p.hub.wait(a)
    assert a.status is FAILED and a.exception is None
    assert (a.error.type, a.error.message) == ("Awkward", "awkward as can be")


@pytest.mark.fault(6)
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_leaving_python_is_that_tasks_failure(pool: Any, kind: type[BaseException]) -> None:
    def leaves() -> None:
        raise kind("bye")

    p = pool()
    before, a, after = p.hub.attempt(pid), p.hub.attempt(leaves), p.hub.attempt(pid)
    p.hub.give(before, a, after)
    p.hub.wait(before, a, after)
    assert a.status is FAILED and a.error.type == kind.__name__
    assert p.hub.value(before) == p.hub.value(after)


@pytest.mark.fault(9)
def test_a_result_that_cannot_be_stored_fails_at_the_task(pool: Any) -> None:
    import threading

    p = pool()
    a = p.hub.attempt(lambda: {"client": {"lock": threading.Lock()}})
    after = p.hub.attempt(add, 1)
    p.hub.give(a, after)
    p.hub.wait(a, after)
    assert a.status is FAILED and a.reason == FailureReason.UNSERIALISABLE and not a.retryable
    assert "lock" in a.error.message
    assert p.hub.value(after) == 2


class BadlyBack:
    """Pickles well, and raises when unpickled."""

    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> None:
    raise RuntimeError("cannot be made again")


@pytest.mark.fault(8)
def test_a_result_that_reads_back_badly_fails_at_the_task(pool: Any) -> None:
    p = pool()
    a, after = p.hub.attempt(BadlyBack), p.hub.attempt(add, 1)
    p.hub.give(a, after)
    p.hub.wait(a, after)
    assert a.reason == FailureReason.UNSERIALISABLE
    assert "cannot be made again" in a.error.message
    assert p.hub.value(after) == 2


def test_an_argument_or_function_that_cannot_be_sent_fails_alone(pool: Any) -> None:
    import threading

    lock = threading.Lock()
    p = pool()
    bad_argument = p.hub.attempt(add, {"lock": lock})
    bad_function = p.hub.attempt(lambda: lock)
    good = p.hub.attempt(add, 1)
    p.hub.give(bad_argument, bad_function, good)
    p.hub.wait(bad_argument, bad_function, good)
    assert p.hub.value(good) == 2
    assert bad_argument.error.message.startswith("args[0]")
    assert 'executor="thread"' in bad_function.error.message
    assert {bad_argument.reason, bad_function.reason} == {FailureReason.UNSERIALISABLE}


def test_retry_options_are_answered_where_the_exception_is(pool: Any) -> None:
    def fails(kind: str) -> None:
        raise {"value": ValueError, "key": KeyError}[kind](kind)

    p = pool()
    by_type = RetryPolicy(retries=3, on=(ValueError,), delay=lambda attempt: 0.25 * attempt)
    by_predicate = RetryPolicy(retries=3, on=lambda exc: exc.args == ("key",))
    attempts = [
        p.hub.attempt(fails, kind, retry=policy)
        for policy in (by_type, by_predicate) for kind in ("value", "key")
    ]
    p.hub.give(*attempts)
    p.hub.wait(*attempts)
    assert [a.retryable for a in attempts] == [True, False, False, True]
    assert attempts[0].delay == 0.25


def test_skip_is_no_failure(pool: Any) -> None:
    def skips() -> None:
        raise errors.Skip("nothing new")

    p = pool()
    a = p.hub.attempt(skips)
    p.hub.give(a)
    p.hub.wait(a)
    assert a.status is SKIPPED and a.reason == "nothing new"


@pytest.mark.fault(12)
def test_out_of_memory_is_named(pool: Any) -> None:
    def hungry() -> int:
        import resource as limits

        used = psutil.Process().memory_info().vms
        limits.setrlimit(limits.RLIMIT_AS, (used + (64 << 20), limits.RLIM_INFINITY))
        return len(bytearray(1 << 30))

    p = pool()
    a = p.hub.attempt(hungry)
    p.hub.give(a)
    p.hub.wait(a)
    assert a.status is FAILED and "probably out of memory" in a.error.message


# -- deaths ----------------------------------------------------------------------------------------


@pytest.mark.fault(1)
def test_a_killed_worker_costs_the_attempt_in_hand_alone(pool: Any, tmp_path: Path) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    p = pool(workers=2, batch=4)
    victim = p.hub.attempt(touch_and_hang, str(started))
    neighbours = [p.hub.attempt(add, i) for i in range(12)]
    busy = p.hub.attempt(wait_for_file, str(go))
    p.hub.give(*neighbours[:2], victim, *neighbours[2:], busy)
    worker = int(text_in(started))
    os.kill(worker, signal.SIGKILL)
    p.hub.wait(victim)
    go.touch()
    p.hub.wait(*neighbours, busy)
    assert victim.status is FAILED and victim.reason == FailureReason.CRASHED
    assert "signal 9 (SIGKILL)" in victim.error.message
    assert "probably out of memory" in victim.error.message
    assert 0 < victim.start <= victim.end
    assert [p.hub.value(a) for a in neighbours] == list(range(1, 13))
    assert worker not in p.executor.pids()


@pytest.mark.fault(13)
def test_a_poison_task_never_takes_another_with_it(pool: Any) -> None:
    def poison() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    p = pool(workers=2, batch=8)
    poisons = [p.hub.attempt(poison) for _ in range(3)]
    others = [p.hub.attempt(add, i) for i in range(60)]
    p.hub.give(*others[:20], poisons[0], *others[20:40], poisons[1], poisons[2], *others[40:])
    p.hub.wait(*poisons, *others)
    assert {a.reason for a in poisons} == {FailureReason.CRASHED}
    assert [p.hub.value(a) for a in others] == list(range(1, 61))


@pytest.mark.fault(4)
@pytest.mark.parametrize("code", [0, 3])
def test_leaving_by_os_exit_is_a_crash(pool: Any, code: int) -> None:
    p = pool()
    a, after = p.hub.attempt(os._exit, code), p.hub.attempt(add, 1)
    p.hub.give(a, after)
    p.hub.wait(a, after)
    assert a.reason == FailureReason.CRASHED and f"exit code {code}" in a.error.message
    assert p.hub.value(after) == 2


def test_what_was_printed_before_a_crash_is_not_lost(pool: Any) -> None:
    def last_words() -> None:
        print("about to go")
        os.write(2, b"from the depths\n")
        os._exit(1)

    p = pool()
    a = p.hub.attempt(last_words)
    p.hub.give(a)
    p.hub.wait(a)
    assert "about to go\n" in p.hub.run.text_of(a, "out")
    if sys.platform == "linux":
        assert p.hub.run.text_of(a, "err").count("from the depths") == 1


@pytest.mark.fault(5)
def test_a_segfault_leaves_its_stack_in_the_log(pool: Any) -> None:
    def falls() -> None:
        import ctypes

        ctypes.string_at(0)

    p = pool()
    a, after = p.hub.attempt(falls), p.hub.attempt(add, 1)
    p.hub.give(a, after)
    p.hub.wait(a, after)
    assert a.reason == FailureReason.CRASHED and "signal 11 (SIGSEGV)" in a.error.message
    assert "in falls" in p.hub.run.text_of(a, "err")
    assert "out of memory" not in a.error.message
    assert p.hub.value(after) == 2


@pytest.mark.fault(3)
def test_children_of_a_dead_worker_die_detached_ones_too(pool: Any, tmp_path: Path) -> None:
    def parent(path: str) -> None:
        import subprocess

        children = [
            subprocess.Popen(["sleep", "60"], start_new_session=detached)
            for detached in (False, True)
        ]
        Path(path).write_text(" ".join(str(c.pid) for c in children))
        os.kill(os.getpid(), signal.SIGKILL)

    p = pool()
    a = p.hub.attempt(parent, str(tmp_path / "pids"))
    p.hub.give(a)
    p.hub.wait(a)
    children = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(children) == 2
    for child in children:
        assert_dies(child)


def test_children_left_behind_end_with_the_run(pool: Any) -> None:
    def leaves_one() -> int:
        import subprocess

        return subprocess.Popen(["sleep", "60"]).pid

    p = pool()
    a = p.hub.attempt(leaves_one)
    p.hub.give(a)
    p.hub.wait(a)
    child = p.hub.value(a)
    assert not is_dead(child)
    p.hub.finish()
    p.executor.close()
    assert_dies(child)


def test_a_worker_that_dies_idle_costs_nothing(pool: Any) -> None:
    p = pool()
    first = p.hub.attempt(pid)
    p.hub.give(first)
    p.hub.wait(first)
    os.kill(p.hub.value(first), signal.SIGKILL)
    assert_dies(p.hub.value(first))
    second = p.hub.attempt(pid)
    p.hub.give(second)
    p.hub.wait(second)
    assert p.hub.value(second) != p.hub.value(first)
    assert any("starting another" in note for note in p.hub.notes)


def test_a_task_that_forks_and_returns_in_the_child(pool: Any) -> None:
    def forks() -> str:
        child = os.fork()
        print("child" if child == 0 else "parent")
        if child:
            os.waitpid(child, 0)
        return "done"

    p = pool()
    a, after = p.hub.attempt(forks), p.hub.attempt(add, 1)
    p.hub.give(a, after)
    p.hub.wait(a, after)
    assert (p.hub.value(a), p.hub.value(after)) == ("done", 2)
    assert sorted(p.hub.run.text_of(a).split()) == ["child", "parent"]


def test_workers_that_cannot_start_are_given_up(pool: Any, monkeypatch: Any) -> None:
    p = pool()
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    a = p.hub.attempt(add, 1)
    p.hub.give(a)
    p.hub.wait(a)
    assert a.reason == FailureReason.CRASHED and "before it began" in a.error.message
    monkeypatch.delenv("PYTHONHOME")
    b = p.hub.attempt(add, 1)
    p.hub.give(b)
    p.hub.wait(b)
    assert p.hub.value(b) == 2


@pytest.mark.fault(15)
def test_without_descriptors_it_waits_and_says_so(pool: Any) -> None:
    import resource as limits

    p = pool()
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    limits.setrlimit(limits.RLIMIT_NOFILE, (3, hard))
    try:
        a = p.hub.attempt(add, 1)
        p.hub.give(a)
        p.hub.until(lambda: any("trying again" in note for note in p.hub.notes))
    finally:
        limits.setrlimit(limits.RLIMIT_NOFILE, (soft, hard))
    p.hub.wait(a)
    assert p.hub.value(a) == 2


# -- stops ------------------------------------------------------------------------


def in_hand(p: Any, attempt: Any) -> None:
    wait_for(lambda: attempt in p.executor.in_hand(), "the attempt to begin")


def test_a_sleeping_task_ends_at_its_timeout_and_its_worker_lives(pool: Any) -> None:
    p = pool()
    first = p.hub.attempt(pid)
    slow, after = p.hub.attempt(time.sleep, 60, timeout=0.1), p.hub.attempt(pid)
    p.hub.give(first, slow, after)
    in_hand(p, slow)
    assert slow.start > 0
    p.executor.stop(slow, "timeout")
    p.hub.wait(slow, after, first)
    assert slow.status is FAILED and slow.reason == FailureReason.TIMEOUT
    assert "timeout of 0.1 s" in slow.error.message
    assert p.hub.value(first) == p.hub.value(after)


def test_cleaning_up_runs_when_a_task_is_cancelled(pool: Any, tmp_path: Path) -> None:
    started, cleaned = tmp_path / "started", tmp_path / "cleaned"

    def careful() -> None:
        try:
            touch_and_hang(str(started))
        finally:
            cleaned.touch()

    p = pool()
    a = p.hub.attempt(careful)
    p.hub.give(a)
    text_in(started)
    p.executor.stop(a, "cancel")
    p.hub.wait(a)
    assert a.status is CANCELLED and a.cancelled
    assert cleaned.exists()


@pytest.mark.fault(10)
def test_a_task_hung_in_c_is_killed_after_the_grace(pool: Any, tmp_path: Path) -> None:
    def hangs_in_c(path: str) -> None:
        from collections import deque
        from itertools import repeat

        Path(path).write_text(str(os.getpid()))
        deque(repeat(None), maxlen=0)

    p = pool(grace=0.1)
    a, after = p.hub.attempt(hangs_in_c, str(tmp_path / "pid"), timeout=0.1), p.hub.attempt(pid)
    p.hub.give(a, after)
    worker = int(text_in(tmp_path / "pid"))
    p.executor.stop(a, "timeout")
    p.hub.wait(a, after)
    assert a.reason == FailureReason.TIMEOUT and "was killed" in a.error.message
    assert p.hub.value(after) != worker
    assert "out of memory" not in a.error.message


def test_a_task_can_see_that_it_was_cancelled(pool: Any, tmp_path: Path) -> None:
    started = tmp_path / "started"

    def looks() -> str:
        before = current().cancelled()
        try:
            touch_and_hang(str(started))
        except errors.AttemptStopped:
            return f"{before}, then {current().cancelled()}"
        return "was not told"

    p = pool()
    a = p.hub.attempt(looks)
    p.hub.give(a)
    text_in(started)
    p.executor.stop(a, "cancel")
    p.hub.wait(a)
    assert a.status is SUCCESS and p.hub.value(a) == "False, then True"


def test_one_that_has_not_begun_is_cancelled_without_running(pool: Any, tmp_path: Path) -> None:
    started, go, ran = tmp_path / "started", tmp_path / "go", tmp_path / "ran"

    def first() -> None:
        started.write_text("yes")
        wait_for_file(str(go))

    p = pool()
    a, b, c = p.hub.attempt(first), p.hub.attempt(ran.touch), p.hub.attempt(add, 1)
    p.hub.give(a, b, c)
    text_in(started)
    p.executor.stop(b, "cancel")
    p.hub.wait(b)
    assert b.status is CANCELLED
    go.touch()
    p.hub.wait(a, c)
    assert p.hub.value(c) == 2 and not ran.exists()


def test_a_sigterm_from_outside_is_a_crash(pool: Any, tmp_path: Path) -> None:
    p = pool()
    a = p.hub.attempt(touch_and_hang, str(tmp_path / "pid"))
    p.hub.give(a)
    os.kill(int(text_in(tmp_path / "pid")), signal.SIGTERM)
    p.hub.wait(a)
    assert a.reason == FailureReason.CRASHED and "SIGTERM" in a.error.message


# -- sharing a batch ------------------------------------------------------------------------


def test_outcomes_do_not_wait_behind_a_slow_attempt(pool: Any, tmp_path: Path) -> None:
    go = tmp_path / "go"
    p = pool()
    quick, slow = p.hub.attempt(add, 1), p.hub.attempt(wait_for_file, str(go))
    p.hub.give(quick, slow)
    p.hub.wait(quick)
    assert slow not in p.hub.ended
    go.touch()
    p.hub.wait(slow)


def test_what_lies_behind_a_slow_attempt_is_given_back(pool: Any, tmp_path: Path) -> None:
    started, go = tmp_path / "started", tmp_path / "go"

    def first() -> str:
        started.write_text("yes")
        return wait_for_file(str(go))

    p = pool(workers=1)  # the other one comes once all is in the first one's hands
    slow = p.hub.attempt(first)
    behind = [p.hub.attempt(add, i) for i in range(10)]
    p.hub.give(slow, *behind)
    text_in(started)
    p.executor.rebalance()
    assert not p.hub.put_back, "given back though nobody could take it"
    p.executor.resize(2)
    wait_for(lambda: p.executor.rebalance() or p.hub.put_back, "something to be given back")
    assert p.hub.put_back == behind
    p.hub.wait(*behind)
    assert slow not in p.hub.ended
    go.touch()
    p.hub.wait(slow)
    assert [p.hub.value(a) for a in behind] == list(range(1, 11))
    assert p.hub.put_back == behind


def test_giving_back_while_work_goes_on_runs_everything_once(pool: Any, tmp_path: Path) -> None:
    def mark(path: str, n: int) -> None:
        time.sleep(0.006 if n % 10 == 0 else 0)
        with open(path, "a") as file:
            file.write(f"{n}\n")

    p = pool(workers=2, batch=300)  # one worker gets all of it, and the other asks for some
    log = tmp_path / "log"
    attempts = [p.hub.attempt(mark, str(log), n) for n in range(300)]
    p.hub.give(*attempts)
    deadline = time.monotonic() + PATIENCE
    while len(p.hub.ended) < 300:
        p.executor.rebalance()
        p.executor.in_hand()
        assert not any(a.status is QUEUED for a in attempts)
        assert time.monotonic() < deadline, "not all of it was done"
    assert sorted(int(line) for line in log.read_text().split()) == list(range(300))
    assert p.hub.put_back


def test_fewer_workers(pool: Any) -> None:
    p = pool(workers=2)
    attempts = [p.hub.attempt(pid) for _ in range(200)]
    p.hub.give(*attempts)
    p.hub.wait(*attempts)
    p.executor.resize(1)
    assert p.executor.workers == 1
    wait_for(lambda: len(p.executor.pids()) == 1, "the other worker to end")
    more = [p.hub.attempt(pid) for _ in range(200)]
    p.hub.give(*more)
    p.hub.wait(*more)
    assert {p.hub.value(a) for a in more} == set(p.executor.pids())


# -- output ------------------------------------------------------------------------


def test_output_of_every_kind_is_the_attempts_own(pool: Any) -> None:
    def talks(n: int) -> None:
        import logging
        import subprocess

        print(f"printed {n}")
        print(f"warned {n}", file=sys.stderr)
        os.write(1, f"raw {n}\n".encode())
        subprocess.run(["echo", f"child {n}"], check=True)
        logging.getLogger("mine").warning("logged %s", n)
        current().log.info("own %s", n)

    p = pool()
    attempts = [p.hub.attempt(talks, n) for n in range(3)]
    p.hub.give(*attempts)
    p.hub.wait(*attempts)
    for n, a in enumerate(attempts):
        assert a.status is SUCCESS
        out = p.hub.run.text_of(a, "out")
        for line in (f"printed {n}\n", f"raw {n}\n", f"child {n}\n"):
            assert out.count(line) == 1
        assert p.hub.run.text_of(a, "err").count(f"warned {n}\n") == 1
        log = p.hub.run.text_of(a, "log")
        assert f"logged {n}" in log and f"own {n}" in log


def test_output_and_progress_arrive_while_the_task_runs(pool: Any, tmp_path: Path) -> None:
    go = tmp_path / "go"

    def works() -> None:
        print("half way")
        current().progress(1, 2)
        wait_for_file(str(go))

    p = pool()
    a = p.hub.attempt(works)
    p.hub.give(a)
    with p.hub.run.changed:
        assert p.hub.run.changed.wait_for(lambda: p.hub.run.lines and p.hub.run.news, 20)
    assert p.hub.run.text_of(a) == "half way\n" and p.hub.run.news == [(a, 1, 2)]
    go.touch()
    p.hub.wait(a)


def test_a_flood_of_output_is_neither_lost_nor_kept_in_memory(pool: Any) -> None:
    def floods() -> int:
        before = psutil.Process().memory_info().rss
        for i in range(40_000):
            print(f"line {i} of a great many, each of them of some length")
        return int(psutil.Process().memory_info().rss - before)

    p = pool()
    a = p.hub.attempt(floods)
    p.hub.give(a)
    p.hub.wait(a)
    assert p.hub.run.text_of(a).count("\n") == 40_000
    assert p.hub.value(a) < 20_000_000


def test_bytes_that_are_no_text(pool: Any) -> None:
    p = pool()
    a = p.hub.attempt(os.write, 1, b"\x00\xff caf\xc3\xa9\n")
    p.hub.give(a)
    p.hub.wait(a)
    assert p.hub.run.text_of(a) == "\x00\\xff café\n"


def test_a_huge_line_is_cut(pool: Any) -> None:
    p = pool()
    a = p.hub.attempt(lambda: print("x" * 5_000_000))
    p.hub.give(a)
    p.hub.wait(a)
    assert len(p.hub.run.text_of(a)) < 100_000 and "cut" in p.hub.run.text_of(a)
