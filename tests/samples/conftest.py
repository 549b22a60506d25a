"""Every sample runs in a directory of its own, where it leaves its state and its files."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_flows"

#: Seconds after which a sample is stuck. Twenty times what the slowest takes.
STUCK = 120

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def environment() -> dict[str, str]:
    """As a user has it: nothing set for FlowForge; this checkout importable."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FLOWFORGE_")}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "dumb"}


@pytest.fixture
def python() -> Command:
    """Run this Python with some arguments, as a user would."""

    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)], capture_output=True, text=True,
            timeout=STUCK, env=environment(), stdin=subprocess.DEVNULL,
        )

    return command
