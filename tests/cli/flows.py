"""Flow files for the tests of the command line, and a way to run commands on them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]

#: A map whose fourth item fails while the file `broken` is there; each item notes that it ran.
PIPE = """
from pathlib import Path
from engine import task, workflow

@task
def double(x):
    print("doubling", x)
    with Path("ran").open("a") as ran:
        ran.write(f"double {x}\\n")
    return 2 * x

@task
def check(x):
    with Path("ran").open("a") as ran:
        ran.write(f"check {x}\\n")
    if x == 6 and Path("broken").exists():
        raise ValueError("bad row 6")
    return x

@task
def total(xs):
    return sum(xs)

@workflow
def pipe(n: int = 5):
    return total(check.map(double.map(list(range(n)))))
"""

#: Waits for the file `go` in its middle, having made `waiting`.
GATE = """
import time
from pathlib import Path
from engine import current, task, workflow

@task
def first():
    Path("ran").open("a").write("first\\n")
    return 1

@task
def gate(x):
    Path("waiting").touch()
    while not Path("go").exists():
        if current().cancelled():
            raise InterruptedError
        time.sleep(0.01)
    return x

@task
def last(x):
    return x + 1

@workflow
def gated():
    return last(gate(first()))
"""


class Place:
    """A directory of its own to run commands in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("FLOWFORGE_")},
            "PYTHONPATH": str(ROOT), "FLOWFORGE_KEY_FILE": str(path / "key"),
            "COLUMNS": "200",
        }

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.write_text(text, encoding="utf-8")
        return file

    def start(self, *args: str, **more: object) -> subprocess.Popen[str]:
        """A command in the background."""
        return subprocess.Popen(
            [sys.executable, "-m", "flowforge_tui", *args], cwd=self.path, env=self.env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", **more,
        )

    def do(self, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """A command to its end, which must be this exit code."""
        process = self.start(*args)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, f"{args} → {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def wait_for(self, name: str) -> None:
        wait_for((self.path / name).exists, f"the file {name}")

    def ran(self) -> list[str]:
        """What the tasks noted so far, then forgotten."""
        file = self.path / "ran"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return sorted(lines)
