"""The engine's clock: seconds since the epoch that never run backwards.

Read once against the wall clock when the process starts, then advanced by the monotonic
clock. Setting the wall clock in mid-run therefore changes no duration and no timeout.
On Linux the monotonic clock is one for all processes, so their times compare.
"""

from __future__ import annotations

import os
import time

ENV = "FLOWFORGE_CLOCK"
#: Worker processes take over the engine's offset, so that both stamp alike.
OFFSET = float(os.environ.get(ENV) or time.time() - time.monotonic())


def now(monotonic=time.monotonic, offset=OFFSET) -> float:  # type: ignore[no-untyped-def]
    """Seconds since the epoch, monotonic. The defaults are bound once: this is a hot call."""
    return monotonic() + offset  # type: ignore[no-any-return]
