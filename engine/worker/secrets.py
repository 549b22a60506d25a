"""Secrets: values that are read where they are used, stored as references, and never shown.

Rule 1: a `Secret` is a name. Its value is read when asked for, and is in no pickle, no
        journal row and no repr.
Rule 2: from the moment a value is revealed, `mask` hides it from everything that this
        process logs, stores or shows as text.
Rule 3: a run without secrets pays one truth test for all that.
"""

from __future__ import annotations

import os
from typing import NoReturn

from engine.errors import ConfigError

MASK = "***"

#: A shorter value would blot out innocent text ("no", "42") and is not masked.
SHORTEST = 4

#: What `mask` looks for, longest first, so that no secret that contains another survives in part.
_hidden: list[str] = []


class Secret:
    """A reference to a value kept outside the flow: `Secret.env("API_KEY")`.

    Pass it to a task as an argument and call `get()` inside the task.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name
        """The environment variable that holds the value."""

    @classmethod
    def env(cls, name: str) -> Secret:
        """The secret in the environment variable `name`, read when `get()` is called."""
        return cls(name)

    @property
    def reference(self) -> str:
        """What is stored in place of the value; `from_reference` is the way back."""
        return f"env:{self.name}"

    @classmethod
    def from_reference(cls, reference: str) -> Secret:
        """The secret that `reference` stands for. Raises ConfigError on an unknown kind."""
        kind, _, name = reference.partition(":")
        if kind != "env" or not name:
            raise ConfigError(
                f"{reference!r} is no reference to a secret that this version knows; "
                "it reads env:NAME"
            )
        return cls(name)

    def get(self) -> str:
        """The value, as it is now; masked in all output from here on. Raises ConfigError."""
        value = os.environ.get(self.name)
        if value is None:
            raise ConfigError(
                f"the secret {self.name} is not set; export {self.name}=… in the environment "
                "that starts the run, then resume it"
            )
        remember(value)
        return value

    @property
    def value(self) -> str:
        """The same as `get()`."""
        return self.get()

    def __repr__(self) -> str:
        return f"Secret.env({self.name!r})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.name == self.name

    def __hash__(self) -> int:
        return hash((Secret, self.name))

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (self.name,)

    def __add__(self, other: object) -> NoReturn:
        raise TypeError(
            f"the secret {self.name} is only a reference here; call .get() where its value is "
            "needed, inside a task"
        )

    __radd__ = __add__


def remember(value: str) -> None:
    """Mask `value` from now on, in the forms in which it turns up in logs and tracebacks."""
    global _hidden
    if len(value) < SHORTEST:
        return
    new = [form for form in _forms(value) if form not in _hidden]
    if new:
        # A new list, not a change of the old one: other threads may be masking with it.
        _hidden = sorted({*_hidden, *new}, key=len, reverse=True)


def _forms(value: str) -> list[str]:
    from json import dumps
    from urllib.parse import quote, quote_plus

    escaped = (repr(value)[1:-1], dumps(value)[1:-1], quote(value), quote_plus(value))
    return [value, *(form for form in escaped if form != value)]


def mask(text: str) -> str:
    """`text` with every revealed secret's value replaced by `***`."""
    if not _hidden:
        return text
    for value in _hidden:
        if value in text:
            text = text.replace(value, MASK)
    return text


def hiding() -> bool:
    """True if any secret was revealed in this process."""
    return bool(_hidden)


def forget_all() -> None:
    """Mask nothing any more. For tests, which reveal secrets that the next test must not know."""
    global _hidden
    _hidden = []
