"""Restores the terminal of a screen that was killed: a small process beside it.

Rule 1: started as a script of its own, with the standard library alone: it takes 15 ms, beside
        a screen that takes 300 to start.
Rule 2: in a session of its own, so that nothing sent to the terminal's processes reaches it,
        and so that it may set a terminal which is not its own.
Rule 3: a pipe tells it: a byte is a goodbye, its end without one means that nobody restored
        anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

#: Undoes all that a Textual application asks of a terminal, in the order in which it does:
#: keyboard protocol, mouse (four modes), paste, focus, in-band resize, line wrap, the other
#: screen, cursor, colours.
RESTORE = (
    "\x1b[<u\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?2004l\x1b[?1004l\x1b[?2048l"
    "\x1b[?7h\x1b[?1049l\x1b[?25h\x1b[0m\r\n"
)


class Guard:
    """Watches over a terminal from now until `release`."""

    def __init__(self, terminal: int) -> None:
        """`terminal`: a descriptor of it, in the state that is to be restored."""
        read_end, self._pipe = os.pipe()
        # Asked here: by the time the guard runs, the screen may have changed them.
        modes = _modes(terminal)
        try:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(terminal), str(read_end), modes],
                pass_fds=(terminal, read_end), start_new_session=True, close_fds=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        except OSError:  # no more processes: the screen works without it
            self._process = None
        finally:
            os.close(read_end)

    def release(self) -> None:
        """The terminal is as it was: nothing is left to do."""
        try:
            os.write(self._pipe, b"x")
        except OSError:
            pass
        os.close(self._pipe)
        if self._process is not None:
            self._process.wait()


def _modes(terminal: int) -> str:
    """The terminal's modes as JSON; empty if it is none."""
    import termios

    try:
        *flags, characters = termios.tcgetattr(terminal)
    except termios.error:
        return ""
    return json.dumps([*flags, [c if isinstance(c, int) else c[0] for c in characters]])


def watch(terminal: int, pipe: int, modes: str) -> None:
    """Wait for the goodbye; without one, restore the terminal."""
    import termios

    if os.read(pipe, 1):
        return
    if modes:
        *flags, characters = json.loads(modes)
        before = [*flags, [bytes([c]) for c in characters]]
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
    os.write(terminal, RESTORE.encode())


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
