"""Takes the README's picture from the real program: `python docs/screenshot.py`.

Runs the census on a pseudo-terminal, kills it half way, runs it again to its end, and draws
what an emulator of the terminal then shows. Nothing in the picture is made by hand.
"""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyte
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

HERE = Path(__file__).resolve().parent
FLOW = HERE.parent / "sample_flows" / "census.py"
COLUMNS, ROWS = 92, 30
HEX = re.compile("[0-9a-f]{6}")


class Terminal:
    """A terminal without a window, and one program at a time in it."""

    def __init__(self, folder: str) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.folder = folder
        self._stream = pyte.ByteStream(self.screen)

    def type(self, line: str) -> None:
        """Show a command as a shell would."""
        self._stream.feed(f"\x1b[1m$ {line}\x1b[0m\r\n".encode())

    def run(self, arguments: list[str], *, kill_at: str = "") -> None:
        """Run the flowforge command; kill it, engine and all, once the screen shows `kill_at`."""
        parent, child = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor",
                       "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
        process = subprocess.Popen(
            [sys.executable, "-m", "flowforge_tui", *arguments], cwd=self.folder,
            stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True,
        )
        os.close(child)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self._read(parent):
            if kill_at and any(kill_at in line for line in self.screen.display):
                process.send_signal(signal.SIGKILL)
                process.wait()
                self._stream.feed(b"\r\nKilled\r\n")
                break
        os.close(parent)
        process.wait()

    def _read(self, parent: int) -> bool:
        if select.select([parent], [], [], 0.5)[0]:
            try:
                data = os.read(parent, 65536)
            except OSError:
                return False
            self._stream.feed(data)
            return bool(data)
        return True

    def text(self) -> Text:
        """The screen with its colours, as far down as anything is on it."""
        shown = Text()
        last = max((y for y, line in enumerate(self.screen.display) if line.strip()), default=0)
        for y in range(last + 1):
            for x in range(COLUMNS):
                cell = self.screen.buffer[y][x]
                shown.append(cell.data, style=_style(cell))
            shown.rstrip()
            shown.append("\n")
        return shown


def _style(cell: pyte.screens.Char) -> str:
    words = ["bold"] if cell.bold else []
    if cell.fg != "default":
        words.append(f"#{cell.fg}" if HEX.fullmatch(cell.fg) else cell.fg)
    return " ".join(words)


def main() -> int:
    """Write docs/census.svg."""
    with tempfile.TemporaryDirectory() as folder:
        terminal = Terminal(folder)
        terminal.type("flowforge run sample_flows/census.py")
        terminal.run(["run", str(FLOW)], kill_at="█" * 33)
        terminal.type("flowforge run sample_flows/census.py")
        terminal.run(["run", str(FLOW)])
        console = Console(record=True, width=COLUMNS, file=io.StringIO())
        console.print(terminal.text(), end="")
        svg = console.export_svg(title="flowforge", theme=DIMMED_MONOKAI)
    # Fonts from the net have no place in a picture of ours: the reader's own will do.
    svg = re.sub(r"@font-face {.*?}\s*", "", svg, flags=re.S)
    (HERE / "census.svg").write_text(svg, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
