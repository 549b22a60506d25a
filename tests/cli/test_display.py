"""The live display on a terminal: a pty of ours stands in for it."""

from __future__ import annotations

import os
import re
import sys

import pytest

from tests.cli.flows import Place

pty = pytest.importorskip("pty")

#: What the display may use: colours, erasing in a line, moving up and down, the cursor's showing.
ALLOWED = re.compile(rb"\x1b\[[\d;]*[mKAB]|\x1b\[\?25[hl]")

EVIL = """
import time
from engine import task, workflow

EVIL = "\\x1b]52;c;aGk=\\x07\\x1b[2J[bold]x[/bold]"

@task(name="step" + EVIL)
def step(x):
    print("printed" + EVIL)
    time.sleep(0.05)
    if x == 3:
        raise ValueError("bad" + EVIL)
    return x

@workflow("flow" + EVIL)
def flow():
    step.map(list(range(12)))
"""


def on_a_terminal(place: Place, *args: str, **env: str) -> tuple[bytes, int]:
    """All that a command writes to a terminal, and its exit code."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(place.path)
        command = [sys.executable, "-m", "flowforge_tui", *args]
        os.execve(sys.executable, command, {**place.env, "TERM": "xterm-256color", **env})
    written = b""
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not data:
            break
        written += data
    os.close(fd)
    return written, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_display_moves_and_what_happened_stays(place: Place) -> None:
    place.write("broken", "")
    written, code = on_a_terminal(place, "run", "--headless", "pipe.py")
    assert code == 1
    text = re.sub(rb"\x1b\[[\d;?]*[A-Za-z]", b"", written).decode()
    assert "RUNNING" in text or "PENDING" in text
    assert "█" in text
    end = text.splitlines()[-4:]
    assert "FAILED in" in text and "check[3]: ValueError: bad row 6 (pipe.py:17)" in end[1] + end[2]
    assert "try again: flowforge retry" in end[-1]
    assert b"\x1b[1A" in written
    assert written.rfind(b"\x1b[?25h") > written.rfind(b"\x1b[?25l")  # the cursor shows


def test_nothing_from_a_task_drives_the_terminal(place: Place) -> None:
    place.write("evil.py", EVIL)
    written, code = on_a_terminal(place, "run", "--headless", "evil.py")
    assert code == 1
    assert b"\x1b" not in ALLOWED.sub(b"", written)
    assert b"bad[bold]x[/bold]" in ALLOWED.sub(b"", written)


def test_no_colour_where_none_is_wanted(place: Place) -> None:
    written, _ = on_a_terminal(place, "run", "--headless", "pipe.py", NO_COLOR="1")
    assert re.search(rb"\x1b\[[\d;]*38;", written) is None
    assert b"SUCCESS" in written
    shown, _ = on_a_terminal(place, "show", "latest", NO_COLOR="1")
    assert b"\x1b" not in shown


@pytest.mark.fault(48)
def test_a_dumb_terminal_gets_plain_lines(place: Place) -> None:
    written, code = on_a_terminal(place, "run", "--headless", "pipe.py", TERM="dumb")
    assert code == 0
    assert b"\x1b" not in written and b"SUCCESS in" in written


@pytest.mark.fault(48)
def test_a_terminal_of_one_character_is_survived(place: Place) -> None:
    written, code = on_a_terminal(place, "run", "--headless", "pipe.py", COLUMNS="1", LINES="1")
    assert code == 0
    assert written
