"""Fresh interpreters: every row and every baseline has one to itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

#: Seconds after which a measurement is stuck. Ten times what the longest takes.
STUCK = 900


class BenchmarkFailed(Exception):
    """A fresh interpreter ended badly; the text is the last of what it had to say."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This checkout importable, compiled once, and none of the user's settings for FlowForge."""
    kept = {k: v for k, v in os.environ.items()
            if not k.startswith("FLOWFORGE_") and k != "PYTHONDONTWRITEBYTECODE"}
    path = os.pathsep.join(p for p in (str(ROOT), kept.get("PYTHONPATH", "")) if p)
    return {**kept, "PYTHONPATH": path, **(extra or {})}


def run(arguments: list[str], directory: Path, extra: Mapping[str, str] | None = None, *,
        code: int = 0) -> str:
    """Run this Python with arguments; returns what it printed. Raises BenchmarkFailed."""
    try:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=directory, env=environment(extra), timeout=STUCK,
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkFailed(f"stuck: no end after {STUCK} s") from error
    if done.returncode != code:
        told = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()
        raise BenchmarkFailed(f"exit code {done.returncode}: {told[-1]}")
    return done.stdout


def answer(arguments: list[str], directory: Path, extra: Mapping[str, str] | None = None) -> Any:
    """As `run`; the last line it printed, which is JSON."""
    return json.loads(run(arguments, directory, extra).splitlines()[-1])


def until_mark(arguments: list[str], directory: Path, mark: Path,
               extra: Mapping[str, str] | None = None) -> tuple[float, str]:
    """Seconds from the start of a Python to the time in the file that it leaves, and the rest.

    The file holds a time of `time.monotonic()`, which all processes share, and a word.
    """
    mark.unlink(missing_ok=True)
    began = time.monotonic()
    run(arguments, directory, extra)
    at, _, word = mark.read_text().partition(" ")
    return float(at) - began, word
