from __future__ import annotations

import asyncio
import functools
import inspect
import io
import logging
import os
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from engine.worker import capture, secrets
from engine.worker.context import HERE, current
from engine.worker.lines import CUT
from tests.counting import counted
from tests.waiting import wait_for
from tests.worker.doubles import Recorder, inside, make_attempt


@contextmanager
def bare_root() -> Iterator[None]:
    """The root logger as a user's program finds it, without pytest's handlers."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def captured_terminal() -> Iterator[io.StringIO]:
    """Capture installed over streams of our own, which stand for the terminal."""
    terminal = io.StringIO()
    before = (logging.StreamHandler.emit, threading.Thread.start, ThreadPoolExecutor.submit)
    with redirect_stdout(terminal), redirect_stderr(terminal):
        with capture.captured():
            yield terminal
        assert sys.stdout is terminal and sys.stderr is terminal
    assert before == (logging.StreamHandler.emit, threading.Thread.start, ThreadPoolExecutor.submit)
    secrets.forget_all()


def on_terminal(test: Callable[..., None]) -> Callable[..., None]:
    """Gives a test its `console`. No fixture: pytest swaps the streams after those."""

    @functools.wraps(test)
    def wrapper(**fixtures: object) -> None:
        with bare_root(), captured_terminal() as console:
            test(console=console, **fixtures)

    signature = inspect.signature(test)
    rest = [p for name, p in signature.parameters.items() if name != "console"]
    wrapper.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return wrapper


@on_terminal
def test_print_goes_to_the_attempt_and_to_the_console_outside(console: io.StringIO) -> None:
    run = Recorder()
    with inside(make_attempt(run, 5)):
        print("in", 1)
        print("bad", file=sys.stderr)
    print("outside")
    assert run.text(5, "out") == "in 1\n"
    assert run.text(5, "err") == "bad\n"
    assert console.getvalue() == "outside\n"
    assert {level for _, s, level, _ in run.written if s == "err"} == {logging.WARNING}


@pytest.mark.fault(43)
@on_terminal
def test_two_threads_at_once_each_have_their_own(console: io.StringIO) -> None:
    run, gate = Recorder(), threading.Barrier(2)

    def task(tid: int) -> None:
        with inside(make_attempt(run, tid)):
            for i in range(200):
                if i % 50 == 0:
                    gate.wait(10)
                print(f"task {tid} line {i}")

    threads = [threading.Thread(target=task, args=(i,)) for i in (1, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for tid in (1, 2):
        assert run.text(tid) == "".join(f"task {tid} line {i}\n" for i in range(200))
    assert console.getvalue() == ""


@on_terminal
def test_async_tasks_have_their_own(console: io.StringIO) -> None:
    run = Recorder()

    async def task(tid: int) -> None:
        HERE.set(make_attempt(run, tid))
        for _ in range(3):
            print(tid)
            await asyncio.sleep(0)
        await asyncio.to_thread(print, "thread", tid)

    async def main() -> None:
        await asyncio.gather(*(asyncio.create_task(task(i)) for i in range(3)))

    asyncio.run(main())
    for tid in range(3):
        assert run.text(tid) == f"{tid}\n" * 3 + f"thread {tid}\n"


@on_terminal
def test_threads_that_a_task_starts_belong_to_it(console: io.StringIO) -> None:
    run = Recorder()
    with inside(make_attempt(run, 1)):
        t = threading.Thread(target=lambda: print("from a thread", current().task_id))
        t.start()
        t.join()
    assert run.text(1) == "from a thread double\n"


@on_terminal
def test_a_thread_that_dies_says_so_in_the_tasks_log(console: io.StringIO) -> None:
    run = Recorder()
    hook, threading.excepthook = threading.excepthook, threading.__excepthook__
    try:
        with inside(make_attempt(run, 1)):
            t = threading.Thread(target=lambda: 1 / 0)
            t.start()
            t.join()
    finally:
        threading.excepthook = hook
    assert "ZeroDivisionError" in run.text(1, "err")


@on_terminal
def test_jobs_of_a_shared_pool_belong_to_who_submitted_them(console: io.StringIO) -> None:
    run = Recorder()
    with ThreadPoolExecutor(1) as pool:
        with inside(make_attempt(run, 1)):
            pool.submit(print, "one").result()
        with inside(make_attempt(run, 2)):
            pool.submit(print, "two").result()
        pool.submit(print, "nobody").result()
    assert (run.text(1), run.text(2), console.getvalue()) == ("one\n", "two\n", "nobody\n")


@pytest.mark.fault(42)
@on_terminal
def test_a_giant_write_is_cut_and_marked(console: io.StringIO) -> None:
    run = Recorder()
    with inside(make_attempt(run, 1)):
        print("x" * 50_000_000)
    assert len(run.text(1)) < 100_000
    assert CUT in run.text(1)


@pytest.mark.fault(45)
@on_terminal
def test_secrets_are_masked(console: io.StringIO) -> None:
    run = Recorder()
    secrets.remember("hunter22")
    with inside(make_attempt(run, 1)):
        print("print hunter22")
        sys.stdout.buffer.write(b"bytes hunter22\n")
        logging.warning("log %s", "hunter22")
        current().log.info("own hunter22")
    assert run.text(1) == "print ***\nbytes ***\nWARNING:root:log ***\nown ***\n"


@pytest.mark.fault(41)
@on_terminal
def test_bytes_with_split_characters(console: io.StringIO) -> None:
    run = Recorder()
    a, b = make_attempt(run, 1), make_attempt(run, 2)
    euro = "€".encode()
    for i in range(3):
        with inside(a):
            assert sys.stdout.buffer.write(euro[i : i + 1]) == 1
        with inside(b):
            sys.stdout.buffer.write(b"b")
    capture.drain()
    assert (run.text(1), run.text(2)) == ("€", "bbb")


@on_terminal
def test_a_line_is_handed_on_whole(console: io.StringIO) -> None:
    run = Recorder()
    with inside(make_attempt(run, 1)):
        print("a", 1, None)
        print("prompt: ", end="")
        print("flushed", end="", flush=True)
    assert [text for *_, text in run.written] == ["a 1 None\n", "prompt: flushed"]


@on_terminal
def test_an_unfinished_line_comes_by_itself(console: io.StringIO) -> None:
    run = Recorder()
    for text in ("first", "second"):
        with inside(make_attempt(run, 1)):
            print(text, end="")
        wait_for(lambda text=text: run.text(1).endswith(text), "the line to be handed on")


def test_an_unfinished_line_comes_when_capture_ends() -> None:
    run = Recorder()
    with captured_terminal(), inside(make_attempt(run, 1)):
        print("last words", end="")
    assert run.text(1) == "last words"


@on_terminal
def test_an_endless_line_is_not_held(console: io.StringIO) -> None:
    run = Recorder()
    with inside(make_attempt(run, 1)):
        for _ in range(2_000):
            sys.stdout.write("0123456789")
        assert len(run.text(1)) >= 10_000
        sys.stdout.flush()
    assert run.text(1) == "0123456789" * 2_000


@on_terminal
def test_threads_of_one_attempt_lose_nothing(console: io.StringIO) -> None:
    run = Recorder()

    def work(mark: str) -> None:
        for i in range(3_000):
            sys.stdout.write(mark)
            if i % 10 == 9:
                sys.stdout.write("\n")
            if i % 100 == 0:
                capture.drain()

    with inside(make_attempt(run, 1)):
        threads = [threading.Thread(target=work, args=(m,)) for m in "abc"]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        sys.stdout.flush()
    assert [run.text(1).count(c) for c in "abc\n"] == [3_000, 3_000, 3_000, 900]


@pytest.mark.fault(41)
@on_terminal
def test_odd_text_is_kept(console: io.StringIO) -> None:
    run = Recorder()
    with inside(make_attempt(run, 1)):
        sys.stdout.write("nul\0 surrogate\udcff esc\x1b[31m\r\n")
        sys.stdout.writelines(["a", "b\n"])
        with pytest.raises(TypeError, match="must be str"):
            sys.stdout.write(b"bytes")  # type: ignore[arg-type]
    assert run.text(1) == "nul\0 surrogate\udcff esc\x1b[31m\r\nab\n"


def test_it_still_looks_like_the_stream_it_stands_for() -> None:
    real = sys.__stdout__
    assert real is not None
    router = capture.Router(real, "out")
    assert router.encoding == real.encoding
    assert router.fileno() == real.fileno()
    assert not router.closed
    with inside(make_attempt()):
        assert not router.isatty()
        router.close()
        router.flush()
    assert not real.closed


def test_a_process_without_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Recorder()
    with monkeypatch.context() as m:
        m.setattr(sys, "stdout", None)
        with capture.captured():
            print("nowhere")
            with inside(make_attempt(run, 1)):
                print("somewhere")
            assert capture.real("out") is None
        assert sys.stdout is None
    assert run.text(1) == "somewhere\n"


@on_terminal
def test_installing_is_counted(console: io.StringIO) -> None:
    capture.install()
    capture.uninstall()
    assert isinstance(sys.stdout, capture.Router)
    assert capture.real("out") is console


FORKS = """
import logging, os, sys
from engine.worker import capture
from tests.worker.doubles import Recorder, inside, make_attempt
run = Recorder()
with capture.captured(), inside(make_attempt(run, 1)):
    print("parent ", end="")
    if not os.fork():
        print("child")
        logging.warning("child's log")
        sys.stdout.buffer.write(b"bytes\\n")
        sys.stdout.flush()
        os._exit(0)
    os.wait()
    print("only")
assert run.text(1) == "parent only\\n", run.written
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_uses_the_real_streams() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        # From 3.12 on, Python warns of a fork beside threads.
        [sys.executable, "-W", "ignore", "-c", FORKS],
        capture_output=True, text=True, cwd=root, timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, "child\nbytes\n"), done.stderr
    assert done.stderr == "WARNING:root:child's log\n"


# -- logging ------------------------------------------------------------------------------------


@pytest.mark.fault(44)
def test_console_handlers_made_before_and_after() -> None:
    terminal, run = io.StringIO(), Recorder()
    with bare_root(), redirect_stderr(terminal):
        early_and_late_handlers(run)
    assert run.written == [
        (1, "log", logging.INFO, "INFO|flow|early handler\n"),
        (1, "log", logging.ERROR, "late handler\n"),
    ]
    assert terminal.getvalue() == "INFO|flow|outside\nINFO|flow|after\n"


def early_and_late_handlers(run: Recorder) -> None:
    logging.basicConfig(format="%(levelname)s|%(name)s|%(message)s", level=logging.INFO)
    other = logging.getLogger("flow.other")
    other.propagate = False
    with capture.captured():
        other.addHandler(logging.StreamHandler())
        with inside(make_attempt(run, 1)):
            logging.getLogger("flow").info("early handler")
            logging.getLogger("flow").debug("below the level")
            other.error("late handler")
        logging.getLogger("flow").info("outside")
    logging.getLogger("flow").info("after")
    other.handlers.clear()
    other.propagate = True


@on_terminal
def test_unconfigured_logging_warns_in_the_tasks_log(console: io.StringIO) -> None:
    run = Recorder()
    with inside(make_attempt(run, 1)):
        logging.getLogger("lib").warning("careful")
    assert run.written == [(1, "log", logging.WARNING, "careful\n")]
    assert console.getvalue() == ""


@pytest.mark.fault(44)
@on_terminal
def test_basic_config_inside_a_task_works(console: io.StringIO) -> None:
    run = Recorder()
    with inside(make_attempt(run, 1)):
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(message)s")
        logging.debug("now heard")
    assert run.written == [(1, "log", logging.DEBUG, "DEBUG now heard\n")]


@pytest.mark.fault(44)
@on_terminal
def test_handlers_that_write_elsewhere_are_left_alone(console: io.StringIO) -> None:
    run, elsewhere = Recorder(), io.StringIO()
    handler = logging.StreamHandler(elsewhere)
    logging.getLogger().addHandler(handler)
    with inside(make_attempt(run, 1)):
        logging.warning("to the file")
        current().log.warning("to both")
    assert elsewhere.getvalue() == "to the file\nto both\n"
    assert run.text(1) == "to both\n"


@on_terminal
def test_the_tasks_own_logger_keeps_every_level_once(console: io.StringIO) -> None:
    run = Recorder()
    logging.basicConfig()
    with inside(make_attempt(run, 1)):
        current().log.debug("fine %s", "detail")
        try:
            raise ValueError("x")
        except ValueError:
            current().log.exception("it failed")
    assert run.written[0] == (1, "log", logging.DEBUG, "fine detail\n")
    assert "it failed\nTraceback" in run.text(1) and "ValueError: x" in run.text(1)
    assert len(run.written) == 2
    assert console.getvalue() == ""


@on_terminal
def test_a_bad_record_is_reported_in_the_tasks_log(console: io.StringIO) -> None:
    run = Recorder()
    with inside(make_attempt(run, 1)):
        logging.warning("%d", "not a number")
    assert "TypeError" in run.text(1, "err")
    assert console.getvalue() == ""


@on_terminal
def test_warnings_and_tracebacks_reach_the_task(console: io.StringIO) -> None:
    run = Recorder()
    with inside(make_attempt(run, 1)), warnings.catch_warnings():
        warnings.simplefilter("always")
        # pytest replaces showwarning; what a program has is the original's way to stderr
        sys.stderr.write(warnings.formatwarning("old", DeprecationWarning, "f.py", 1))
        try:
            raise KeyError("k")
        except KeyError:
            traceback.print_exc()
    assert "DeprecationWarning: old" in run.text(1, "err")
    assert "KeyError: 'k'" in run.text(1, "err")


@on_terminal
def test_somebody_else_wrapping_logging_is_not_undone(console: io.StringIO) -> None:
    ours = logging.StreamHandler.emit

    def theirs(self: object, record: logging.LogRecord) -> None:
        ours(self, record)  # type: ignore[arg-type]

    logging.StreamHandler.emit = theirs  # type: ignore[method-assign,assignment]
    try:
        capture.uninstall()
        assert logging.StreamHandler.emit is theirs
        stream = io.StringIO()
        logging.StreamHandler(stream).emit(
            logging.LogRecord("n", logging.INFO, "f", 1, "lives", None, None)
        )
        assert stream.getvalue() == "lives\n"
    finally:
        capture.install()
        logging.StreamHandler.emit = ours  # type: ignore[method-assign]


# -- cost -----------------------------------------------------------------------------------------


@on_terminal
def test_a_line_costs_a_handful_of_calls(console: io.StringIO) -> None:
    """What that takes on a machine is measured by the benchmarks' row for printed lines."""
    with inside(make_attempt(run := Recorder(), 1)):
        print("the first one opens what the others use")
        with counted() as calls:
            for _ in range(100):
                print("line")
    assert run.text(1).count("line\n") == 100
    assert calls["call"] < 6 * 100 and calls.total() < 16 * 100, calls


def test_importing_the_context_loads_nothing_heavy() -> None:
    code = (
        "import sys; import engine.worker.context; "
        "print([m for m in ('logging', 'asyncio', 'concurrent.futures') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
