"""Waiting for what another thread or process does: for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds that something on its way may take on a machine that does much else.
PATIENCE = 30.0


def wait_for(true: Callable[[], object], what: str = "what was waited for",
             within: float = PATIENCE) -> None:
    """Until `true()` is; fails when it is not `within` so many seconds."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"waited {within:g} s in vain for {what}"
        time.sleep(0.002)
