"""Waiting for other processes: for what they write, and for their end."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.waiting import wait_for


def text_in(path: Path) -> str:
    """The file's content, once there is some."""
    wait_for(lambda: path.exists() and path.stat().st_size, f"{path} to be written")
    return path.read_text()


def is_dead(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def assert_dies(process: int, within: float = 5.0) -> None:
    wait_for(lambda: is_dead(process), f"the end of {process}", within)
