"""Nothing that a task, a name, an error or a file says drives the terminal. On a real pty.

Rule 1: the whole output is read, not what an emulator makes of it: each control sequence in it
        has to be one of those that the screen itself uses.
Rule 2: an attack leaves what no sequence of the screen's own has: its places are out of reach
        (77;77), its colours are never used (38;5;201), its words say PWNED.
"""

from __future__ import annotations

import re
import unicodedata

import pytest

from tests.cli.flows import Place
from tests.screens.conftest import Open
from tests.screens.pty_terminal import PtyTerminal

pytestmark = pytest.mark.fault(49)

ATTACKS = (
    "\x1b]52;c;UFdORUQ=\x07", "\x1b]52;c;UFdORUQ=\x1b\\", "\x1b]0;PWNED\x07", "\x1b]2;PWNED",
    "\x1b]8;;http://PWNED\x1b\\link\x1b]8;;\x1b\\", "\x1b[2J\x1b[77;77H", "\x1b[38;5;201m",
    "\x1b[?1337h", "\x1b[6n\x1b[21t", "\x1bP+q5057\x1b\\", "\x1b_GPWNED\x1b\\", "\x1b^PWNED\x1b\\",
    "\x1bXPWNED\x1b\\", "\x1bc", "\x1b#8", "\x1b(0", "\x1b7\x1b8", "\x9b77;77H", "\x9d0;PWNED\x9c",
    "\x90+q50\x9c", "\x85\x84\x8d", "\x00\x05\x07\x08\x0b\x0c\x0e\x0f\x7f", "\r", "\r\n", "\t",
    "\u202e\u2066\u200f\u061c", "\u2028\u2029\ufeff", "\ud800\udfff", "[bold red]PWNED[/]",
    "[@click=app.quit]PWNED[/]", "[link=http://PWNED]", "[/]", "[", "\\[", "{{PWNED}}", "$PWNED",
    "漢字かな", "e\u0301\u0301\u0301", "\u200b\u200d\u2060", "👩‍👩‍👧‍👦🇨🇭",
)
ALL = "".join(ATTACKS)

#: Of a name: half characters are refused in one.
NAME = "".join(a for a in ATTACKS if "\ud800" not in a)

#: Every field that a flow can fill. `mended`: what failed then succeeds.
FLOW = """
import logging
from pathlib import Path
from engine import Skip, current, task, workflow

EVIL = {evil!r}
NAME = {name!r}
LONG = "L" * 10_000 + EVIL
LONG_NAME = NAME + "N" * 10_000

@task(name="fine")
def fine():
    for line in ATTACKS:
        print(line)
    print(LONG)
    logging.getLogger(EVIL).warning(EVIL)
    current().log.error(EVIL)
    return {{EVIL: [EVIL, EVIL.encode("utf-8", "surrogatepass")], "long": LONG}}

@task(name="task" + NAME, tags=[NAME])
def named(x, y):
    return y

@task
def failing(value):
    raise_error(value)

exec(compile('''
def raise_error(value):
    evil_local = value
    raise type("Error" + NAME.replace(chr(0), ""), (Exception,), {{}})(LONG)
''', "file" + NAME.replace(chr(0), ""), "exec"))

@task
def skipped():
    raise Skip(EVIL)

@task
def wait():
    import time
    Path("waiting").touch()
    while not Path("go").exists() and not current().cancelled():
        current().progress(1, 2)
        time.sleep(0.01)

ATTACKS = {attacks!r}
KEYS = [a for a in ATTACKS if "\\ud800" not in a]

@workflow(name="flow" + NAME)
def evil(text: str = "x"):
    first = fine()
    items = named.partial(y=LONG).map(x=[*KEYS, LONG_NAME], key=lambda x: x)
    return first, items, failing(text), skipped(), wait()
"""

#: What the screen itself sends: colours, places, erasing, modes, questions, the mouse's shape.
_OWN = re.compile(
    r"\x1b\[(?:"
    r"[0-9;]*m|\d+;\d+H|H|\??[0-3]?[JK]|>?[0-9;]*[cqu]|[<=?][0-9;]*u|>4;?\d?m"
    r"|\?(?:25|7|1000|1002|1003|1004|1006|1015|1016|1049|2004|2026|2027|2031|2048|1)[hl]"
    r"|\?\d+(?:;\d+)?\$p|\?6n|6n|1[46]t|\?9001[hl])"
    r"|\x1b[=>78]|\x1b\]22;[a-z-]+\x07"
)
#: Of what only an attack has, the sequences above would let pass.
_SIGNS = re.compile(r"\x1b\[(?:77;77|[0-9;]*38;5;201|\?1337|6n\x1b\[21t)")


def check(screen: PtyTerminal) -> None:
    """Fail if anything but the screen's own sequences was written so far."""
    screen.wait(lambda text: True)
    text = screen.written.decode("utf-8")
    # The last read may have ended in the middle of a sequence.
    text = re.sub(r"\x1b[^a-zA-Z]*\Z", "", text)
    assert not _SIGNS.search(text)
    rest = _OWN.sub("", text)
    found = {c for c in rest if unicodedata.category(c) in ("Cc", "Cs") and c not in "\r\n\x0f"}
    around = [rest[max(0, rest.index(c) - 40): rest.index(c) + 40] for c in found]
    assert not found, around
    bidi = {c for c in rest if c in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
            "\u2066\u2067\u2068\u2069\u2028\u2029"}
    assert not bidi, bidi


@pytest.fixture
def flow(place: Place) -> Place:
    """A place with a flow that attacks in each of its fields."""
    place.write("evil.py", FLOW.format(evil=ALL, name=NAME, attacks=ATTACKS))
    for name in ("\x1b]0;PWNED\x07", "\x1b[77;77H", "\x9d0;PWNED\x9c", "[bold]x[", "\u202egnp"):
        place.write(f"a{name}.py", "from engine import workflow\n@workflow\ndef w(): pass\n")
    return place


def open_it(terminal: Open, *arguments: str, **more: int) -> PtyTerminal:
    screen = terminal(*arguments, **more)
    screen.wait("flow")
    return screen


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)], ids=str)
def test_a_live_run(terminal: Open, flow: Place, size: tuple[int, int]) -> None:
    screen = open_it(terminal, "run", "evil.py", "-p", f"text=p{NAME}".replace("\x00", ""),
                     columns=size[0], rows=size[1])
    screen.wait("✗1")
    screen.wait("⊘1")
    for keys, shown in (
        ("n", "ERROR"), ("2", "LOG"), ("3", "DATA"), ("4", "waits for"), ("5", "ATTEMPTS"),
        ("6", "CODE"), ("?", "a line down"),
    ):
        screen.press(keys)
        screen.wait(lambda text, shown=shown: shown in text)
        check(screen)
    screen.press("escape")
    screen.wait_gone("a line down")
    _through_all_rows(screen)
    screen.press("n", "y")
    screen.wait("Copy what?")
    check(screen)
    screen.press("escape")
    screen.wait_gone("Copy what?")
    screen.press("x")
    screen.wait("Cancel?")
    screen.press("escape")
    screen.wait_gone("Cancel?")
    screen.press("n", "R")
    screen.wait("downstream?")
    screen.press("y")
    screen.wait_gone("downstream?")
    screen.press(":")
    screen.wait("Search for commands")
    screen.press("escape")
    screen.wait_gone("Search for commands")
    screen.press("g", "g", "G", "G", "t", "0", "t")
    check(screen)
    (flow.path / "go").touch()
    screen.wait("FAILED")
    screen.press("q")
    screen.end()
    assert "retry" in screen.outside
    check(screen)


def _through_all_rows(screen: PtyTerminal) -> None:
    """Have each row of the tree, and its log, under the cursor once."""
    screen.press("*", "\x1b[H")  # Home
    for side in ("l", "1"):
        screen.press(side)
        for _ in range(12):
            screen.press("j")
        screen.wait(lambda text: "›" in text)
        check(screen)
    screen.press("/", *"PWNED", "enter")
    screen.wait(lambda text: text.splitlines()[-1].startswith(" /PWNED"))
    check(screen)
    screen.press("escape")  # alone: with what follows at once it would be one key
    screen.wait_gone("/PWNED")


def test_what_is_stored(terminal: Open, flow: Place) -> None:
    (flow.path / "go").touch()
    flow.do("run", "evil.py", code=1)
    launcher = terminal(columns=120, rows=40)
    launcher.wait(lambda text: "evil.py" in text and "FAILED" in text)
    launcher.press("tab", "enter")
    launcher.wait("✗1")
    _through_all_rows(launcher)
    launcher.press("q")
    launcher.wait("WORKFLOWS HERE")
    launcher.press("q")
    launcher.end()
    check(launcher)


def test_the_plan(terminal: Open, flow: Place) -> None:
    (flow.path / "go").touch()
    flow.do("run", "evil.py", code=1)
    screen = terminal("run", "evil.py", columns=120, rows=40)
    screen.wait("CARRY ON")
    check(screen)
    screen.press("j", " ", "j", " ", "f")
    screen.press("enter")
    screen.wait("FAILED")
    screen.press("q")
    screen.end()
    check(screen)
