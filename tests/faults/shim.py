"""Failing, slow and last writes, made real: `shim.c`, compiled once and preloaded into a process.

What it can do, and the names of its settings, stand at the top of `shim.c`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shim.c")


@cache
def _compiled() -> Path | None:
    """The library; None where none can be made."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        return None
    library = Path(tempfile.mkdtemp(prefix="flowforge-shim-")) / "shim.so"
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"],
        capture_output=True, check=False,
    )
    return library if made.returncode == 0 else None


def shim(**settings: object) -> dict[str, str]:
    """The environment of a process under the shim: `shim(needle="run.db", calls="s", …)`."""
    library = _compiled()
    if library is None:
        pytest.skip("needs Linux and a C compiler")
    named = {f"FAULT_{name.upper()}": str(value) for name, value in settings.items()}
    return {**os.environ, **named, "LD_PRELOAD": str(library)}
