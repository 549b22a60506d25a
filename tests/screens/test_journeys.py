"""What a person does with the screen, from the first key to the last, in a real terminal.

Rule 1: keys and the screen's text alone: no test here reaches into the program.
Rule 2: each journey at the smallest size that it is made for, and at one with all panes.
"""

from __future__ import annotations

import re
import stat
import sys

import pytest

from tests.cli.flows import Place, until
from tests.screens.conftest import Open
from tests.screens.pty_terminal import PtyTerminal

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
    screen = terminal("run", "pipe.py", columns=size[0], rows=size[1])
    screen.wait(head("SUCCESS"))
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
    until(lambda: (place.path / "ran").exists(), "the rerun")
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
    screen = terminal("run", "pipe.py", columns=size[0], rows=size[1])
    screen.wait(head("SUCCESS"))
    screen.press("?")
    screen.wait("a line down")
    screen.press("end")
    screen.wait('retry = "ctrl+r,r"')
    screen.press("q")
    screen.wait("double")
    leave(screen)
