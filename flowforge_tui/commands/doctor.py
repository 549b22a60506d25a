"""`flowforge doctor`: is everything here that a run needs?"""

from __future__ import annotations

import platform
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import click

_PACKAGES = ("msgpack", "cloudpickle", "msgspec", "psutil", "click", "rich")

#: Bytes of free disk below which a run will soon have to wait.
LITTLE_ROOM = 100 << 20


class _Finding(NamedTuple):
    good: bool
    what: str
    told: str


@click.command()
def doctor() -> None:
    """Check the installation and the state directory. Exit code 3 if something is wrong."""
    from engine import TaskState
    from flowforge_tui.exits import ENGINE_FAILED
    from flowforge_tui.tables import columns, shown, task_state, write

    found = [*_installation(), *_state_directory()]
    write(columns([
        (task_state(TaskState.SUCCESS, "ok") if f.good else task_state(TaskState.FAILED, "wrong"),
         f.what, shown(f.told, 200)) for f in found
    ]))
    if not all(f.good for f in found):
        sys.exit(ENGINE_FAILED)


def _installation() -> Iterator[_Finding]:
    from engine import __version__

    yield _Finding(True, "FlowForge", __version__)
    yield _Finding(sys.version_info >= (3, 11), "Python",
                   f"{platform.python_version()} on {platform.system()}; 3.11 or later is needed")
    yield _Finding(sqlite3.sqlite_version_info >= (3, 35), "SQLite",
                   f"{sqlite3.sqlite_version}; 3.35 or later is needed")
    for name in _PACKAGES:
        try:
            yield _Finding(True, name, version(name))
        except PackageNotFoundError:
            yield _Finding(False, name, f"is not installed; run: pip install {name}")


def _state_directory() -> Iterator[_Finding]:
    from engine.errors import FlowForgeError
    from engine.front import Home, state_directory, wording

    try:
        path = state_directory()
        home = Home(path, create=False)
        number = len(home.run_ids())
    except FlowForgeError as error:
        yield _Finding(False, "state", str(error))
        return
    there = wording.amount(number, "run") if path.exists() else "is made by the first run"
    yield _Finding(True, "state", f"{path}: {there}")
    kind = home.network_filesystem()
    yield _Finding(kind is None, "filesystem", "local" if kind is None else
                   f"{kind}: locks may not hold there; set FLOWFORGE_HOME to a local directory")
    free = shutil.disk_usage(_existing(path)).free
    yield _Finding(free >= LITTLE_ROOM, "disk", f"{free / 1e9:.1f} GB free")


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())
