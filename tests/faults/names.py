"""What the oracle has to know of `kill_flow.py`, without running it."""

from __future__ import annotations

from typing import Any

WIDTH = 60
PAYMENTS = 12
ROWS = 30


def above(width: int = WIDTH) -> dict[str, list[str]]:
    """Name of a task run → the names of those that it waits for."""
    found: dict[str, list[str]] = {}
    for i in range(width):
        found[f"square[{i}]"] = ["numbers"]
        found[f"shaky[{i}]"] = [f"square[{i}]"]
        found[f"shift[{i}]"] = [f"shaky[{i}]", "options"]
    for i in range(ROWS):
        found[f"measure[{i}]"] = ["rows"]
        found[f"double[{i}]"] = [f"measure[{i}]"]
    found["total"] = [
        *(f"double[{i}]" for i in range(ROWS)),
        *(f"shift[{i}]" for i in range(width)), *(f"later[{i}]" for i in range(40)),
        *(f"shell{i}" for i in range(8)), *(f"child[{i}]" for i in range(10)),
        *(f"large{i}" for i in range(4)),
    ]
    return found


def total_of(ended: Any) -> Any:
    """The part of the result that no kill may change."""
    return ended["result"]["total"]
