"""However the screen ends, the terminal is as it was. On a real pty."""

from __future__ import annotations

import signal

import pytest

from tests.screens.conftest import Open

pytestmark = pytest.mark.fault(46)


def test_quitting_restores_the_terminal(terminal: Open) -> None:
    screen = terminal()
    screen.wait("WORKFLOWS")
    screen.wait("pipe.py")
    screen.press("q")
    assert screen.end() == 0
    assert screen.restored


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
def test_a_signal_restores_the_terminal(terminal: Open, number: int) -> None:
    screen = terminal()
    screen.wait("pipe.py")
    screen.send(number)
    assert screen.end() == 128 + number
    if number != signal.SIGHUP:  # its terminal counts as gone: it writes nothing there any more
        assert screen.restored


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_guard_restores_what_a_killed_screen_left(terminal: Open, number: int) -> None:
    screen = terminal()
    screen.wait("pipe.py")
    screen.send(number)
    assert screen.end() == 128 + number
    screen.wait_restored()


@pytest.mark.fault(48)
def test_a_window_of_one_cell_and_back(terminal: Open) -> None:
    screen = terminal()
    screen.wait("pipe.py")
    screen.resize(1, 1)
    screen.wait(lambda text: "pipe" not in text)
    screen.resize(80, 24)
    screen.wait("pipe.py")
    screen.press("q")
    assert screen.end() == 0
