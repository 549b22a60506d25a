"""What tasks write, in whole runs: floods, odd bytes, C code, children, the user's own logging."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.telemetry.tasklog import LogReader
from tests.cli.flows import Place

HEAD = """
import ctypes, logging, os, subprocess, sys, threading
from engine import current, shell, task, workflow

MEGABYTE = 1 << 20

def peak():
    # Not getrusage: its figure begins with what the process had that started this one.
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10
"""

MAIN = """
if __name__ == "__main__":
    run = flow.options(executor=sys.argv[1], workers=2, output="silent").run()
    run.raise_for_failure()
    print("peak", peak())
"""


def run(place: Place, flow: str, executor: str) -> subprocess.CompletedProcess[str]:
    place.write("flow.py", HEAD + flow + MAIN)
    done = subprocess.run([sys.executable, "flow.py", executor], cwd=place.path, env=place.env,
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def lines_of(place: Place, task: str) -> list[str]:
    text = place.do("logs", "latest", task, "--json").stdout
    return [json.loads(line)["text"] for line in text.splitlines()]


def disk(place: Place) -> int:
    logs = next((place.path / ".flowforge" / "runs").iterdir()) / "logs"
    return sum(p.stat().st_size for p in logs.iterdir())


# -- floods ------------------------------------------------------------------------------------

ONE_LINE: dict[str, str] = {
    "print": 'chunk = "x" * MEGABYTE\n    for _ in range(size): print(chunk, end="")',
    "write": "chunk = b'x' * MEGABYTE\n    for _ in range(size): sys.stdout.buffer.write(chunk)",
    "one": 'print("x" * (size * MEGABYTE))',
    "child": 'subprocess.run(["head", "-c", f"{size}M", "/dev/zero"], check=True)',
    "shell": "",
}


@pytest.mark.fault(42)
@pytest.mark.parametrize(("how", "executor"), [
    ("print", "thread"), ("print", "process"), ("write", "thread"), ("one", "thread"),
    ("child", "process"), ("shell", "thread"),
])
def test_a_line_without_end_is_cut_and_marked_and_costs_no_memory(
    place: Place, how: str, executor: str
):
    """`FLOWFORGE_TEST_FLOOD=1000` makes it 1 GB."""
    size = int(os.environ.get("FLOWFORGE_TEST_FLOOD", "48"))
    body = f"""
@task
def flood(size):
    {ONE_LINE[how]}
    print()
    print("the end")
    return 1

@workflow
def flow():
    {f'shell("head -c {size}M /dev/zero; echo; echo the end", name="flood")' if how == "shell"
     else f"flood({size})"}
"""
    done = run(place, body, executor)
    told = lines_of(place, "flood")
    assert told[-1] == "the end"
    assert any("cut" in line for line in told), [line[-60:] for line in told]
    assert sum(map(len, told)) < 2 << 20 and disk(place) < 4 << 20
    bound = 150 + (3 * size if how == "one" else 0)  # the task's own text, and one copy
    assert int(done.stdout.split()[-1]) < bound, done.stdout


@pytest.mark.fault(42)
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_burst_of_a_hundred_thousand_lines_is_complete_and_in_order(
    place: Place, executor: str
):
    run(place, """
@task
def burst():
    for i in range(100_000):
        print(i)

@workflow
def flow():
    burst()
""", executor)
    logs = next((place.path / ".flowforge" / "runs").iterdir()) / "logs"
    assert [line.text for line in LogReader(logs).lines()] == [str(i) for i in range(100_000)]


# -- odd bytes ---------------------------------------------------------------------------------


@pytest.mark.fault(41)
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_odd_bytes_arrive_legibly_and_the_log_stays_readable(place: Place, executor: str):
    run(place, r"""
@task
def odd():
    print("nul \0 here", "lone \udc80", "esc \x1b[31m", "c1 \x9b31m", sep="|")
    out = sys.stdout.buffer
    out.write("split é".encode()[:-1]); out.write("é\n".encode()[1:])
    out.write(b"invalid \xff\xfe\n")
    out.write("😀".encode()[:3]); out.flush(); out.write("😀".encode()[3:] + b"\n")
    print("cr\rover\nafter")

@task
def child():
    subprocess.run(["printf", r"child \\303"], check=True)
    subprocess.run(["printf", r"\\251 \\377\n"], check=True)

@workflow
def flow():
    odd()
    if sys.argv[1] == "process":  # a thread's child has the program's own descriptors
        child()
""".replace("\\\\", "\\"), executor)
    told = lines_of(place, "odd")
    assert "split é" in told and "😀" in told and "after" in told, told
    assert any("nul" in line and "here" in line and "lone" in line for line in told)
    assert any(line.startswith("invalid") for line in told)
    shown = place.do("logs", "latest").stdout
    assert "\x1b" not in shown and "\0" not in shown and "\x9b" not in shown
    if executor == "process":
        assert lines_of(place, "child")[0].startswith("child é")


# -- whose is it -------------------------------------------------------------------------------


@pytest.mark.fault(43)
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_two_tasks_at_once_write_each_to_its_own_log(place: Place, executor: str):
    run(place, """
@task
def talk(who):
    for i in range(3000):
        print(who, i)
        if i % 100 == 0:
            print(who, "err", file=sys.stderr)
            logging.getLogger("x").warning("%s logs", who)

@workflow
def flow():
    talk.map(["a", "b", "c"])
""", executor)
    for i, who in enumerate("abc"):
        told = lines_of(place, f"talk[{i}]")
        assert [x for x in told if x[2:].isdigit()] == [f"{who} {n}" for n in range(3000)]
        assert all(f"{who} " in x for x in told)


@pytest.mark.fault(43)
def test_output_of_c_code_and_of_children_goes_to_the_log_of_its_task(place: Place):
    done = run(place, """
@task
def deep(i):
    libc = ctypes.CDLL(None)
    libc.printf(b"from C %d\\n", ctypes.c_int(i)); libc.fflush(None)
    os.write(1, b"by the descriptor\\n")
    subprocess.run(["echo", "by a child"], check=True)
    subprocess.run("echo by a child on stderr >&2", shell=True, check=True)
    os.system("echo by the shell")

@workflow
def flow():
    deep.map([0, 1])
""", "process")
    for i in (0, 1):
        assert sorted(lines_of(place, f"deep[{i}]")) == sorted([
            f"from C {i}", "by the descriptor", "by a child", "by a child on stderr",
            "by the shell"])
    assert "from C" not in done.stdout + done.stderr and "child" not in done.stdout + done.stderr


LOGGING: dict[str, str] = {
    "basicConfig": 'logging.basicConfig(level=logging.DEBUG, format="%(levelname)s:%(message)s")',
    "force": "logging.basicConfig(level=logging.DEBUG, force=True)",
    "dictConfig": """
import logging.config
logging.config.dictConfig({"version": 1, "disable_existing_loggers": True,
    "handlers": {"h": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
    "root": {"level": "DEBUG", "handlers": ["h"]}})""",
    "file": 'logging.basicConfig(filename="own.log", level=logging.DEBUG)',
    "none": "",
}


@pytest.mark.fault(44)
@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize("how", LOGGING)
def test_logging_configured_by_the_users_file_keeps_working(
    place: Place, how: str, executor: str
):
    """Outside tasks as it was; inside, what went to the console goes to the task's log."""
    done = run(place, LOGGING[how] + """
LOG = logging.getLogger("mine")
LOG.warning("before the run")

@task
def work():
    logging.getLogger("mine").warning("in a task")
    current().log.info("by the task's own")

@workflow
def flow():
    work()
""", executor)
    told = lines_of(place, "work")
    assert any("by the task's own" in line for line in told)
    assert "in a task" not in done.stdout + done.stderr, "on the console"
    if how == "file":
        assert "before the run" in Path(place.path, "own.log").read_text()
        if executor == "thread":
            assert "in a task" in Path(place.path, "own.log").read_text()
    else:
        assert sum("in a task" in line for line in told) == 1, told
        assert "before the run" in done.stdout + done.stderr


def test_the_reader_finds_what_was_written(place: Place):
    place.do("run", "pipe.py")
    logs = next((place.path / ".flowforge" / "runs").iterdir()) / "logs"
    assert any("doubling" in line.text for line in LogReader(logs).lines())
