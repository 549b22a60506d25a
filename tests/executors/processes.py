"""Waiting for other processes: for what they write, and for their end."""

from __future__ import annotations

import time
from pathlib import Path

import psutil


def text_in(path: Path) -> str:
    """The file's content, once there is some."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.002)
    raise AssertionError(f"{path} was never written")


def is_dead(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def assert_dies(process: int, within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not is_dead(process):
        assert time.monotonic() < deadline, f"{process} is alive after {within} s"
        time.sleep(0.005)
