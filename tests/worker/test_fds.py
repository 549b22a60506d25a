"""Descriptors are the process's own, so every case runs in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

from engine.worker.lines import CUT, LINE_LIMIT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes are polled")

PROLOGUE = """
import ctypes, json, os, subprocess, sys, time
from engine.worker import secrets
from engine.worker.capture import redirect_fds
from tests.counting import counted
got = []
capture = redirect_fds(lambda stream, text: got.append((stream, text)))
def text(stream):
    return "".join(t for s, t in got if s == stream)
def report(**values):
    os.write(capture.saved[0], json.dumps(values).encode())
"""


def run(body: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + textwrap.dedent(body)],
        capture_output=True, timeout=30, check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_whatever_writes_is_delivered_by_the_time_settle_returns() -> None:
    got = run("""
        os.write(1, b"raw\\n")
        capture.settle()
        a = text("out")
        subprocess.run(["sh", "-c", "echo child; echo problem >&2"])
        print("python")
        capture.settle()
        report(first=a, out=text("out"), err=text("err"))
    """)
    assert got == {"first": "raw\n", "out": "raw\nchild\npython\n", "err": "problem\n"}


@pytest.mark.fault(43)
def test_c_code_is_delivered_line_by_line() -> None:
    got = run("""
        libc = ctypes.CDLL(None)
        deadline = time.monotonic() + 10
        while "from C" not in text("out") and time.monotonic() < deadline:
            libc.printf(b"from C\\n")
            capture.settle()
        report(out=text("out")[:7])
    """)
    assert got == {"out": "from C\n"}


def test_output_is_told_apart_between_attempts() -> None:
    got = run("""
        marks = []
        for i in range(300):
            os.write(1, b"%d without newline" % i)
            capture.settle()
            marks.append("".join(t for _, t in got)); got.clear()
        report(right=all(m == f"{i} without newline" for i, m in enumerate(marks)), n=len(marks))
    """)
    assert got == {"right": True, "n": 300}


def test_an_unfinished_line_is_delivered_without_settle() -> None:
    got = run("""
        os.write(1, b"Password: ")
        deadline = time.monotonic() + 10
        while not got and time.monotonic() < deadline:
            time.sleep(0.01)
        report(out=text("out"))
    """)
    assert got == {"out": "Password: "}


@pytest.mark.fault(42)
def test_a_hundred_megabytes_on_one_line_in_bounded_memory() -> None:
    got = run("""
        import resource
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        megabyte = b"x" * 1_000_000
        for _ in range(100):
            os.write(2, megabyte)
        os.write(2, b"\\nnext\\n")
        capture.settle()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        scale = 1 if sys.platform == "darwin" else 1024
        report(err=text("err"), grown=grown * scale)
    """)
    assert got["err"] == "x" * LINE_LIMIT + CUT + "\nnext\n"
    assert isinstance(got["grown"], int) and got["grown"] < 20_000_000


@pytest.mark.fault(42)
def test_a_burst_of_lines_is_complete_and_in_order() -> None:
    got = run("""
        for i in range(100_000):
            print(i)
        capture.settle()
        report(right=text("out") == "".join(f"{i}\\n" for i in range(100_000)))
    """)
    assert got == {"right": True}


@pytest.mark.fault(41)
def test_odd_bytes_and_split_characters() -> None:
    got = run("""
        for byte in "€é".encode() + b"\\xff\\0\\n":
            os.write(1, bytes([byte]))
        capture.settle()
        report(out=text("out"))
    """)
    assert got == {"out": "€é\\xff\0\n"}


@pytest.mark.fault(45)
def test_secrets_are_masked_even_across_reads() -> None:
    got = run("""
        secrets.remember("hunter22")
        for piece in (b"login hun", b"ter22 ok\\n"):
            os.write(1, piece)
        capture.settle()
        os.write(1, (b"y" * 65_530 + b" hunter22\\n"))
        capture.settle()
        report(out=text("out").replace("y", ""))
    """)
    assert got == {"out": "login *** ok\n ***\n"}


def test_a_task_that_closes_its_descriptors_harms_nobody() -> None:
    got = run("""
        os.close(1)
        capture.settle()
        os.dup2(2, 1)
        os.write(1, b"back\\n")
        capture.settle()
        report(err=text("err"))
    """)
    assert got == {"err": "back\n"}


def test_a_failing_receiver_does_not_block_the_writers() -> None:
    got = run("""
        def broken(stream, text):
            raise BrokenPipeError
        capture._deliver = broken
        os.write(1, b"z" * 1_000_000 + b"\\n")
        capture.settle()
        report(alive=True)
    """)
    assert got == {"alive": True}


def test_close_puts_everything_back_and_delivers_the_rest() -> None:
    got = run("""
        saved = os.dup(capture.saved[0])
        os.write(1, b"unfinished")
        print("python")
        capture.close()
        fds = len(os.listdir("/dev/fd"))
        again = redirect_fds(lambda s, t: None)
        again.close()
        print(json.dumps({"out": text("out"), "leaked": len(os.listdir("/dev/fd")) - fds}))
    """)
    assert got == {"out": "unfinishedpython\n", "leaked": 0}


def test_settling_when_nothing_was_written_is_cheap() -> None:
    got = run("""
        capture.settle()
        with counted() as calls:
            capture.settle()
        report(calls=calls.total())
    """)
    assert got["calls"] < 12, "with a few of the counting itself"
