"""What becomes of the engine in a child that a task forks off: nothing.

Rule 1: a fork has the engine's files, locks and half-done work, and one thread. Where that comes
        back from the user's code into the engine it ends, with exit code 0: it must not report,
        record, or run what its parent runs.
Rule 2: what ends there is marked at the fork, and not asked for at each task: a mark costs nothing.

Process workers see to it by themselves: their children's output is still to arrive.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forked(Protocol):
    """Something that has no place in a child."""

    def forked(self) -> None:
        """This process is a child. Called in its only thread; locks may be held for ever."""


_WATCHED: WeakSet[Forked] = WeakSet()


def watch(thing: Forked) -> None:
    """Have `thing.forked()` called in every child from now on, for as long as it lives."""
    _WATCHED.add(thing)


def _in_child() -> None:
    for thing in list(_WATCHED):
        thing.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
