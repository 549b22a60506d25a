"""Keeping Python's garbage collector out of the way of large graphs.

A graph is many small objects that all live to the end of the run. Left alone, the collector
walks them again and again while they are made (a third of the time it takes to build 10,000
nodes) and in every full collection of the run.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """No collection starts inside; for work that only makes what stays."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            _grow_old()
            gc.enable()


def _grow_old() -> None:
    """Count all that there is as looked at. Otherwise the next object that is made has all of it
    walked at once: a tenth of the time of a run of 100,000."""
    if not gc.get_freeze_count():  # else they are somebody else's, and would be let go
        gc.freeze()
        gc.unfreeze()


@contextmanager
def set_aside() -> Iterator[None]:
    """What exists on entry is not walked by collections inside: the graph, and the list of a
    million results, for which each full collection took a tenth of a second."""
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
