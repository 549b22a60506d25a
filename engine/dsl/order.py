"""`chain`: order without data, for many tasks at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from engine.core.handles import flatten
from engine.errors import DefinitionError


def chain(*steps: Any) -> Any:
    """Order tasks one after the other: `chain(a, [b, c], d)`. Returns the last step.

    A list stands for tasks side by side; between two lists the tasks are paired, first with
    first, so they must be of one length. Raises DefinitionError.
    """
    if not steps:
        raise DefinitionError("chain() needs at least one task")
    for before, after in pairwise(steps):
        for first, then in _pairs(before, after):
            then.node.wait_for(first.node)
    return steps[-1]


def _pairs(before: Any, after: Any) -> list[tuple[Any, Any]]:
    if _many(before) and _many(after):
        if len(before) != len(after):
            raise DefinitionError(
                f"chain() pairs neighbouring lists, but they have {len(before)} and {len(after)} "
                "tasks; put one task between them, or order them with >>"
            )
        return [(b, a) for b, a in zip(before, after, strict=True)]
    return [(b, a) for b in flatten([before]) for a in flatten([after])]


def _many(step: Any) -> bool:
    return isinstance(step, Sequence)
