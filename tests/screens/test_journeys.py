"""What a person does with the screen, from the first key to the last, in a real terminal.

Rule 1: keys and the screen's text alone: no test here reaches into the program.
Rule 2: each journey at the smallest size that it is made for, and at one with all panes.
"""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys

import pytest

from tests.cli.flows import Place
from tests.screens.conftest import Open
from tests.screens.pty_terminal import PtyTerminal
from tests.waiting import wait_for

SIZES = pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
Size = tuple[int, int]

#: One item of a map fails until its code is mended.
ETL = """
from engine import task, workflow

@task
def find(n: int):
    return list(range(n))

@task
def extract(i):
    print("extracting", i)
    if i == 3:
        raise ValueError(f"bad row {i}")
    return i

@task
def total(xs):
    return sum(xs)

@workflow
def etl(n: int = 6):
    return total(extract.map(find(n)))
"""

#: Several items fail in two ways until the file `mended` is there.
CAUSES = """
from pathlib import Path
from engine import task, workflow

@task
def fetch(i):
    if i % 3 == 0 and not Path("mended").exists():
        raise ConnectionError(f"host {i} is down")
    if i == 4:
        raise KeyError("ts")
    return i

@workflow
def causes(n: int = 12):
    return fetch.map(list(range(n)))
"""

#: Prints in ways that Python knows nothing of, and then waits for the file `go`.
STRAY = """
import ctypes, os, subprocess, time
from pathlib import Path
from engine import current, task, workflow

@task
def wait():
    while not Path("go").exists() and not current().cancelled():
        time.sleep(0.01)

@task
def noisy():
    os.write(1, b"STRAY from write\\n")
    os.write(2, b"STRAY from write to stderr\\n")
    subprocess.run(["echo", "STRAY from a child"], check=True)
    libc = ctypes.CDLL(None)
    libc.puts(b"STRAY from C")
    libc.fflush(None)

@workflow
def stray():
    return wait(), noisy()
"""

#: Does not hear that it is to stop, until the file `go` is there.
DEAF = """
import time
from pathlib import Path
from engine import task, workflow

@task
def deaf():
    Path("waiting").touch()
    while not Path("go").exists():
        time.sleep(0.01)

@workflow
def obstinate():
    return deaf()
"""

#: Stands for a person in an editor: notes how it was called, and mends the file.
EDITOR = """#!{python}
import sys
from pathlib import Path
Path("called").write_text(" ".join(sys.argv[1:]))
file = Path(sys.argv[-1])
file.write_text(file.read_text().replace("i == 3", "i == 333"))
"""


def cursor_line(text: str) -> str:
    """The row of the tree under the cursor."""
    return next((line for line in text.splitlines() if line.startswith("›")), "")


def on(name: str) -> object:
    """True once the cursor is on a row."""
    return lambda text: name in cursor_line(text)


def head(state: str) -> object:
    """True once the first line tells this state of the run."""
    return lambda text: re.search(rf"\b{state}\b", text.splitlines()[0])


def editor(place: Place) -> dict[str, str]:
    """The environment in which `e` opens EDITOR."""
    file = place.write("editor", EDITOR.format(python=sys.executable))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return {"EDITOR": str(file), "VISUAL": ""}


def done(terminal: Open, **size: int) -> PtyTerminal:
    """A screen on a run of pipe.py that has succeeded."""
    screen = terminal("run", "pipe.py", **size)
    screen.wait(head("SUCCESS"))
    return screen


def failed(place: Place, *, mended: bool = False) -> None:
    """A run of pipe.py has failed, without a screen; `mended`: it would not any more."""
    (place.path / "broken").touch()
    place.do("run", "pipe.py", code=1)
    assert len(place.ran()) == 10
    if mended:
        (place.path / "broken").unlink()


def at_the_gate(terminal: Open, place: Place, *flags: str, **size: int) -> PtyTerminal:
    """A screen on a run of gate.py whose second task waits for `open_gate`."""
    screen = terminal("run", "gate.py", *flags, **size)
    place.wait_for("waiting")
    return screen


def watched(terminal: Open, place: Place) -> tuple[subprocess.Popen[str], PtyTerminal]:
    """The same in a process of its own, and a screen that is attached to it."""
    running = place.start("run", "gate.py", "--headless")
    place.wait_for("waiting")
    screen = terminal("attach")
    screen.wait("●1")
    return running, screen


def shown_state(place: Place) -> str:
    """The state of the latest run, as it is recorded."""
    return str(json.loads(place.do("show", "latest", "--json").stdout)["state"])


def generation(place: Place, task: str) -> int:
    """Of one of its tasks."""
    return int(json.loads(place.do("show", "latest", task, "--json").stdout)["generation"])


def open_gate(place: Place) -> None:
    """Let the task that waits go on."""
    (place.path / "go").touch()


def leave(screen: PtyTerminal, code: int = 0) -> str:
    """Quit; what the ordinary screen shows then."""
    screen.press("q")
    assert screen.end() == code, screen.text
    assert screen.restored
    return screen.outside


# -- 1: failure to fixed -----------------------------------------------------------------


@SIZES
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_failure_is_fixed_in_four_keys(
    terminal: Open, place: Place, size: Size, executor: str
) -> None:
    place.write("etl.py", ETL)
    screen = terminal("run", "etl.py", "--executor", executor, columns=size[0], rows=size[1],
                      **editor(place))
    screen.wait(head("FAILED"))
    screen.press("n")
    screen.wait("ERROR extract[3]")
    screen.wait('raise ValueError(f"bad row {i}")')
    screen.press("e")
    screen.wait("saved; r runs it again")
    assert (place.path / "called").read_text() == f"+12 {place.path / 'etl.py'}"
    screen.press("r")
    screen.wait(head("SUCCESS"))
    screen.wait(on("extract[3]"))
    screen.press("l")
    screen.wait(lambda text: re.search(r"try 2", text))
    assert "result: 15" in leave(screen)


# -- 2: a subtree again -------------------------------------------------------------------


@SIZES
def test_a_subtree_is_run_again_after_its_plan_is_shown(
    terminal: Open, place: Place, size: Size
) -> None:
    screen = done(terminal, columns=size[0], rows=size[1])
    assert len(place.ran()) == 10
    screen.press("/", *"double[2]", "enter")
    screen.wait("double[2]")
    screen.press("j", "j")
    screen.wait(on("double[2]"))
    screen.press("R")
    shown = screen.wait("Rerun 1 task run and everything downstream?")
    assert "results thrown away: 3" in shown
    screen.press("enter")  # the answer that is given without thinking is no
    screen.wait_gone("everything downstream?")
    screen.press("R")
    screen.wait("everything downstream?")
    screen.press("y")
    screen.wait_gone("everything downstream?")
    # The first line said SUCCESS all along, as far as anybody can see.
    wait_for(lambda: shown_state(place) == "SUCCESS" and generation(place, "total") == 2,
             "the end of the rerun")
    screen.wait(head("SUCCESS"))
    assert "result: 20" in leave(screen)
    assert place.ran() == ["check 4", "double 2"]


# -- 3: many failures, one cause -----------------------------------------------------------------


@SIZES
def test_all_with_the_same_error_are_marked_and_tried_again(
    terminal: Open, place: Place, size: Size
) -> None:
    place.write("causes.py", CAUSES)
    screen = terminal("run", "causes.py", columns=size[0], rows=size[1])
    screen.wait(head("FAILED"))
    screen.wait("✗5")
    screen.press("n")
    screen.wait(on("fetch[0]"))
    (place.path / "mended").touch()
    screen.press("E")
    screen.wait("4 marked")
    screen.press("r")
    screen.wait("✗1")
    screen.wait(head("FAILED"))
    screen.wait_gone("marked")
    shown = leave(screen, code=1)
    assert "fetch[4]: KeyError" in shown
    assert "fetch[0]" not in shown
    assert re.search(r"flowforge retry \S+", shown)


# -- the help ----------------------------------------------------------------------------------


@SIZES
def test_help_tells_every_key_and_closes(terminal: Open, size: Size) -> None:
    screen = done(terminal, columns=size[0], rows=size[1])
    screen.press("?")
    screen.wait("a line down")
    screen.press("end")
    screen.wait('retry = "ctrl+r,r"')
    screen.press("q")
    screen.wait("double")
    leave(screen)


# -- 4: the plan of what is carried on ----------------------------------------------------------


@SIZES
def test_a_plan_is_shown_and_changed_before_a_run_is_carried_on(
    terminal: Open, place: Place, size: Size
) -> None:
    failed(place, mended=True)
    screen = terminal("run", "pipe.py", columns=size[0], rows=size[1])
    screen.wait("CARRY ON pipe")
    shown = screen.wait("keep")
    assert "1/5" in next(line for line in shown.splitlines() if "check" in line)
    screen.press(" ")  # `double`, which would be kept, shall run again
    screen.wait(lambda text: re.search(r"◆ . run +double", text))
    screen.press("enter")
    screen.wait(head("SUCCESS"))
    assert "result: 20" in leave(screen)
    assert len(place.ran()) == 10


def test_a_plan_that_is_refused_leaves_the_run_as_it_is(terminal: Open, place: Place) -> None:
    failed(place)
    screen = terminal("run", "pipe.py")
    screen.wait("CARRY ON pipe")
    screen.press("q")
    screen.end()
    assert "nothing was run: the run is as it was" in screen.outside
    assert screen.restored
    assert place.ran() == []
    assert "FAILED" in place.do("runs").stdout


# -- 5: time -------------------------------------------------------------------------------------


@SIZES
def test_a_run_is_looked_at_as_it_was(terminal: Open, place: Place, size: Size) -> None:
    failed(place)
    screen = terminal("attach", columns=size[0], rows=size[1])
    screen.wait(head("FAILED"))
    screen.wait("✗1")
    screen.press("t")
    screen.press("0")
    screen.wait(lambda text: "✗1" not in text.splitlines()[0])
    screen.press("r")
    screen.wait("this is the past")
    screen.press("9", ">", ">", ">")
    screen.wait(lambda text: "✗1" in text.splitlines()[0])
    screen.press("t")
    screen.wait(head("FAILED"))
    shown = leave(screen)
    assert "check[3]: ValueError: bad row 6" in shown
    assert re.search(r"flowforge retry \S+", shown)


def test_a_finished_run_is_tried_again_from_where_it_is_looked_at(
    terminal: Open, place: Place
) -> None:
    failed(place, mended=True)
    screen = terminal("attach")
    screen.wait(head("FAILED"))
    screen.press("n")
    screen.wait(on("check[3]"))
    screen.press("r")
    screen.wait("CARRY ON pipe")
    screen.press("enter")
    screen.wait(head("SUCCESS"))
    assert "result: 20" in leave(screen)
    assert place.ran() == ["check 6"]


# -- 6: leaving, and coming back -----------------------------------------------------------------


@SIZES
def test_a_detached_run_is_left_and_come_back_to(
    terminal: Open, place: Place, size: Size
) -> None:
    first = at_the_gate(terminal, place, "--detach", columns=size[0], rows=size[1])
    first.wait(head("RUNNING"))
    first.wait("●1")
    first.press("D")
    assert first.end() == 0
    command = re.search(r"flowforge attach (\S+)", first.outside)
    assert command is not None, first.outside
    second = terminal("attach", command[1], columns=size[0], rows=size[1])
    second.wait("●1")
    open_gate(place)
    second.wait(head("SUCCESS"))
    leave(second)
    assert place.ran() == ["first"]


def test_a_run_of_another_process_is_steered(terminal: Open, place: Place) -> None:
    running, screen = watched(terminal, place)
    screen.press("p")
    screen.wait(head("PAUSED"))
    screen.press("u")
    screen.wait(head("RUNNING"))
    screen.press("x")
    screen.wait("Cancel?")
    screen.press("r")
    screen.wait(head("CANCELLED"))
    leave(screen)
    assert running.wait() == 1


@pytest.mark.fault(50)
def test_a_screen_that_is_killed_while_attached_is_nothing_to_the_run(
    terminal: Open, place: Place
) -> None:
    running, screen = watched(terminal, place)
    screen.send(signal.SIGKILL)
    screen.end()
    screen.wait_restored()
    open_gate(place)
    assert running.wait() == 0


# -- steering ------------------------------------------------------------------------------------


def test_pausing_workers_and_undo_by_key(terminal: Open, place: Place) -> None:
    screen = at_the_gate(terminal, place, "-j", "2", columns=120, rows=40)
    screen.press("p")
    screen.wait(head("PAUSED"))
    open_gate(place)
    screen.wait("✓2")
    screen.press("p")
    screen.wait(head("SUCCESS"))
    leave(screen)


def test_more_and_fewer_workers_by_key(terminal: Open, place: Place) -> None:
    screen = at_the_gate(terminal, place, "-j", "2", columns=120, rows=40)
    screen.press(")")
    screen.wait("1/3")
    screen.press("(", "(")
    screen.wait("1/1")
    open_gate(place)
    screen.wait(head("SUCCESS"))
    leave(screen)


def test_one_task_is_cancelled_by_key_and_tried_again(terminal: Open, place: Place) -> None:
    screen = terminal("run", "gate.py")
    screen.wait("●1")
    screen.press("j")
    screen.wait(on("gate"))
    screen.press("x")
    screen.wait("1 task run")
    screen.press("y")
    screen.wait(lambda text: "cancelled" in cursor_line(text))
    open_gate(place)
    screen.press("r")
    screen.wait(head("SUCCESS"))
    leave(screen)


def test_a_filter_stays_in_sight_and_goes_with_escape(terminal: Open) -> None:
    screen = done(terminal)
    screen.press("/", *"check[3]")
    screen.wait_gone("total")
    screen.press("enter")
    screen.wait(lambda text: text.splitlines()[-1].startswith(" /check[3]"))
    screen.press("escape")
    screen.wait("total")
    screen.press("/", *"state:nonsense", "enter")
    screen.wait("nonsense")
    leave(screen)


# -- leaving a run that is not over -------------------------------------------------------------


def test_quitting_stops_the_run_to_be_resumed(terminal: Open, place: Place) -> None:
    screen = at_the_gate(terminal, place)
    screen.press("q")
    screen.wait("Leave it?")
    screen.press("s")
    assert screen.end() == 130
    assert re.search(r"flowforge resume \S+", screen.outside)
    assert "INTERRUPTED" in place.do("runs").stdout
    open_gate(place)
    place.do("resume", "--headless")
    assert place.ran() == ["first"]


def test_quitting_cancels_the_run(terminal: Open, place: Place) -> None:
    screen = at_the_gate(terminal, place)
    screen.press("q")
    screen.wait("Leave it?")
    screen.press("c")
    assert screen.end() == 1
    assert "CANCELLED" in place.do("runs").stdout


def test_no_answer_is_to_stay(terminal: Open, place: Place) -> None:
    screen = at_the_gate(terminal, place)
    screen.press("q")
    screen.wait("Leave it?")
    screen.press("enter")
    screen.wait_gone("Leave it?")
    open_gate(place)
    screen.wait(head("SUCCESS"))
    leave(screen)


CTRL_C = "\x03"


@pytest.mark.fault(47)
def test_one_ctrl_c_lets_what_runs_end_and_starts_nothing(terminal: Open, place: Place) -> None:
    screen = at_the_gate(terminal, place)
    screen.press(CTRL_C)
    screen.wait("no new task starts")
    open_gate(place)
    assert screen.end() == 130
    assert "INTERRUPTED" in screen.outside
    assert "2 succeeded, 1 not run yet" in screen.outside
    assert place.do("resume", "--headless").returncode == 0


@pytest.mark.fault(47)
def test_a_second_ctrl_c_stops_what_runs(terminal: Open, place: Place) -> None:
    screen = at_the_gate(terminal, place)
    screen.press(CTRL_C)
    screen.wait("no new task starts")
    screen.press(CTRL_C)
    assert screen.end() == 130
    assert "INTERRUPTED" in place.do("runs").stdout


@pytest.mark.fault(47)
def test_a_third_ctrl_c_leaves_at_once(terminal: Open, place: Place) -> None:
    place.write("deaf.py", DEAF)
    screen = terminal("run", "deaf.py", "--grace", "3600")
    place.wait_for("waiting")
    screen.press(CTRL_C)
    screen.wait("no new task starts")
    screen.press(CTRL_C)
    screen.wait("leave at once")
    screen.press(CTRL_C)
    assert screen.end() == 130
    assert screen.restored
    open_gate(place)
    assert place.do("resume", "--headless").returncode == 0


def test_a_run_whose_screen_was_killed_is_carried_on(terminal: Open, place: Place) -> None:
    screen = at_the_gate(terminal, place)
    screen.wait("●1")
    screen.send(signal.SIGKILL)
    screen.end()
    screen.wait_restored()
    open_gate(place)
    again = terminal("run", "gate.py")
    again.wait("CARRY ON gated")
    again.press("?")
    again.wait("keep, or run again")
    again.press("q")
    again.wait_gone("keep, or run again")
    again.press("enter")
    again.wait(head("SUCCESS"))
    leave(again)
    assert place.ran() == ["first"]


# -- what tasks print ----------------------------------------------------------------------------


@pytest.mark.fault(43)
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_what_is_printed_past_python_is_in_the_log_and_not_over_the_screen(
    terminal: Open, place: Place, executor: str
) -> None:
    place.write("stray.py", STRAY)
    screen = terminal("run", "stray.py", "--executor", executor, "-j", "2")
    screen.wait("✓1")
    assert b"STRAY" not in screen.written
    open_gate(place)
    screen.wait(head("SUCCESS"))
    leave(screen)
    logged = place.do("logs", "latest").stdout
    for words in ("STRAY from write\n", "to stderr", "STRAY from a child", "STRAY from C"):
        assert words in logged


# -- the launcher --------------------------------------------------------------------------------


@SIZES
def test_the_launcher_runs_a_workflow_lists_it_and_tries_it_again(
    terminal: Open, place: Place, size: Size
) -> None:
    (place.path / "broken").touch()
    screen = terminal(columns=size[0], rows=size[1])
    screen.wait("pipe.py")
    screen.wait("no runs yet")
    screen.press("j")
    screen.wait(lambda text: re.search(r"› pipe", text))
    screen.press("enter")
    screen.wait(r"pipe  n: int = ")
    screen.press(*"n=4", "enter")
    screen.wait(head("FAILED"))
    screen.press("q")
    screen.wait("WORKFLOWS HERE")
    screen.wait(lambda text: re.search(r"FAILED +pipe", text))
    (place.path / "broken").unlink()
    screen.press("tab", "r")
    screen.wait("CARRY ON pipe")
    screen.press("enter")
    screen.wait(head("SUCCESS"))
    screen.press("q")
    screen.wait(lambda text: re.search(r"SUCCESS +pipe", text))
    leave(screen)


def test_the_launcher_says_what_is_wrong_with_parameters(terminal: Open) -> None:
    screen = terminal()
    screen.wait("pipe.py")
    screen.press("j", "enter", *"n=many", "enter")
    screen.wait("That was not run")
    screen.wait("many")
    screen.press("q")
    screen.wait_gone("That was not run")
    leave(screen)


@pytest.mark.parametrize("how", ["flag", "file"])
def test_ascii_alone_by_a_flag(terminal: Open, place: Place, how: str) -> None:
    if how == "file":
        place.write("pyproject.toml", "[tool.flowforge]\nascii = true\n")
    flags = ("--ascii",) if how == "flag" else ()
    screen = terminal("run", "pipe.py", *flags, columns=120, rows=40)
    screen.wait(head("SUCCESS"))
    assert screen.text.isascii()
    screen.press("?")
    screen.wait("a line down")
    assert screen.text.isascii()
    screen.press("q")
    screen.wait_gone("a line down")
    leave(screen)


def test_keys_of_a_burst_reach_what_those_before_them_opened(terminal: Open) -> None:
    screen = done(terminal)
    screen.wait(on("double"))
    screen.press("R", "n", "?", "q", "j")
    screen.wait(on("check"))
    screen.press("/", *"tot", "enter", "j")
    screen.wait(lambda text: "/tot" in text.splitlines()[-1] and "double" not in text)
    leave(screen)
