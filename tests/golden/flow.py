"""The flow of the golden runs. It must never be edited: its code is in their fingerprints."""

from __future__ import annotations

import datetime as dt
import enum
import os
import signal
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from engine import Missing, task, workflow


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float


@task
def values() -> dict[str, Any]:
    """One of every kind that is stored without a pickle."""
    _note("values")
    return {
        "int": 2**70, "tuple": (1, "two", b"3"), "set": {1, 2}, "date": dt.date(2026, 1, 2),
        "time": dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC), "decimal": Decimal("1.10"),
        "point": Point(1, 2.5), "colour": Colour.RED, "path": Path("a/b"), "none": None,
        "text": "ü\udc80", "nested": [{"a": [1.5, float("inf")]}],
    }


@task
def square(x: int) -> int:
    _note(f"square {x}")
    return x * x


@task
def large() -> bytes:
    _note("large")
    return b"golden" * 50_000


@task(retries=1, retry_delay=0)
def shaky() -> str:
    _note("shaky")
    if _is_there("broken"):
        raise ValueError("golden failure")
    return "mended"


@task(persist=False)
def unkept() -> int:
    _note("unkept")
    return 7


@task
def add(xs: list[int], seven: int) -> int:
    _note("add")
    if _is_there("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    return sum(xs) + seven


@task(trigger_rule="all_done")
def report(found: dict[str, Any], added: int, data: bytes, told: Any) -> list[Any]:
    _note("report")
    return [found, added, len(data), "missing" if isinstance(told, Missing) else told]


@task
def tell(told: str) -> str:
    _note("tell")
    return told.upper()


@workflow
def golden(width: int = 4):
    added = add(square.map(list(range(width))), unkept())
    return report(values(), added, large(), tell(shaky()))


def _note(line: str) -> None:
    with Path(os.environ["GOLDEN"], "ran").open("a") as ran:
        ran.write(f"{line}\n")


def _is_there(name: str) -> bool:
    return Path(os.environ["GOLDEN"], name).exists()
