"""Whether a call fits a function, told quickly, and in words where it does not.

Rule 1: a call that fits costs two comparisons where all arguments are positional.
        `inspect.Signature.bind` would take as long as three task calls.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from engine.errors import DefinitionError
from engine.worker.resources import ResourceDef
from engine.worker.signatures import signature_of

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Signature:
    """The parameters of a task's function, prepared for checking calls."""

    __slots__ = (
        "any_name", "least", "most", "needed", "place", "positional", "required", "resources",
        "text",
    )

    def __init__(self, fn: Callable[..., Any], *, skip_self: bool = False) -> None:
        try:
            signature = signature_of(fn)
        except (ValueError, TypeError):
            # Some builtins do not tell: let every call through, Python checks it in the task.
            self._open()
            return
        parameters = list(signature.parameters.values())[1 if skip_self else 0 :]
        self.text = str(signature.replace(parameters=parameters, return_annotation=signature.empty))
        self._read(parameters)

    def _open(self) -> None:
        self.text = "(...)"
        self.positional: tuple[str, ...] = ()
        self.place: dict[str, float] = {}
        """Parameters that can be given by name → their position."""
        self.required: tuple[str, ...] = ()
        self.needed: tuple[tuple[str, float], ...] = ()
        """The required ones with their position; infinite where only the name will do."""
        self.resources: dict[str, ResourceDef] = {}
        """Parameters whose default is a resource."""
        self.any_name = True
        self.least = 0
        self.most: float = float("inf")

    def _read(self, parameters: list[inspect.Parameter]) -> None:
        kinds = {p.kind for p in parameters}
        self.positional = tuple(p.name for p in parameters if p.kind in _POSITIONAL)
        self.place = {
            p.name: i if p.kind in _POSITIONAL else float("inf")
            for i, p in enumerate(parameters) if p.kind in _KEYWORD
        }
        named = [p for p in parameters if p.kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)]
        self.required = tuple(p.name for p in named if p.default is p.empty)
        order = {name: i for i, name in enumerate(self.positional)}
        self.needed = tuple((n, order.get(n, float("inf"))) for n in self.required)
        self.resources = {p.name: p.default for p in named if isinstance(p.default, ResourceDef)}
        self.any_name = inspect.Parameter.VAR_KEYWORD in kinds
        rest = inspect.Parameter.VAR_POSITIONAL in kinds
        self.most = float("inf") if rest else len(self.positional)
        # A keyword-only parameter without default rules out every purely positional call.
        needs_keyword = any(name not in self.positional for name in self.required)
        self.least = 1 << 62 if needs_keyword else len(self.required)

    def fits(self, count: int, names: Collection[str]) -> bool:
        """True if a call with `count` positional arguments and these keywords is complete."""
        if not names:
            return self.least <= count <= self.most
        place = self.place
        for name in names:
            if place.get(name, -1) < count:
                return not self.complaint(count, names)
        for name, position in self.needed:
            if position >= count and name not in names:
                return False
        return count <= self.most

    def complaint(self, count: int, names: Collection[str]) -> str:
        """What is wrong with such a call; empty if nothing is."""
        taken = set(self.positional[:count])
        twice = [n for n in names if n in taken and n in self.place]
        strange = [n for n in names if n not in self.place]
        given = taken | {n for n in names if n in self.place}
        missing = [n for n in self.required if n not in given]
        if count > self.most:
            return f"takes {len(self.positional)} positional arguments and was given {count}"
        if twice:
            return f"was given {_quoted(twice)} twice"
        if strange and not self.any_name:
            return f"has no parameter {_quoted(strange)}"
        if missing:
            return f"is missing its argument{'s' if len(missing) > 1 else ''} {_quoted(missing)}"
        return ""

    def check(self, name: str, count: int, names: Collection[str]) -> None:
        """Raise DefinitionError if a call of task `name` does not fit."""
        if not self.fits(count, names):
            complaint = self.complaint(count, names)
            raise DefinitionError(f"task {name!r} {complaint}; it is {name}{self.text}")


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names))
