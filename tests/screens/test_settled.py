"""When a run is over, every pane shows its end, however seldom it is drawn."""

from __future__ import annotations

import os
from pathlib import Path

from tests.screens.pty_terminal import PtyTerminal

FLOW = '''
import time
from engine import task, workflow

@task
def work(i: int) -> int:
    time.sleep(0.002)
    return i

@workflow
def many():
    return work.map(range(700))
'''


def test_the_last_figures_are_those_of_the_end(tmp_path: Path) -> None:
    terminal = shown(tmp_path)
    try:
        terminal.wait("SUCCESS")
        text = terminal.wait(lambda s: "700 succeeded" in s and "queue    0" in s)
        assert "ETA" not in text
        assert "running 0" in text
    finally:
        terminal.close()


def test_all_panes_go_along_through_time(tmp_path: Path) -> None:
    terminal = shown(tmp_path)
    try:
        terminal.wait("SUCCESS")
        terminal.press("t")
        terminal.wait("PAST")
        terminal.press("5")
        terminal.wait(lambda s: " ETA " in _metrics(s) and "700/700" not in s)
        terminal.press("t")
        terminal.wait(lambda s: "PAST" not in s and "ETA" not in s and "700/700" in s)
    finally:
        terminal.close()


def _metrics(text: str) -> str:
    """The figures' part of the screen."""
    return "\n".join(line[60:] for line in text.splitlines()[2:])


def shown(tmp_path: Path) -> PtyTerminal:
    (tmp_path / "many.py").write_text(FLOW)
    env = {**os.environ, "FLOWFORGE_HOME": str(tmp_path / "home")}
    return PtyTerminal(["run", "many.py", "--fresh", "--tui", "-j", "2"],
                       cwd=tmp_path, env=env, columns=120, rows=40)
