"""Secrets: values that are read where they are used, stored as references, and never shown.

Rule 1: a `Secret` is a name. Its value is read when asked for, and is in no pickle, no
        journal row and no repr.
Rule 2: from the moment a `Secret` is made, or its value read, `mask` hides the value from
        everything that this process logs, stores or shows as text.
Rule 3: data is not masked, which would change it: a result that holds a secret's value is
        refused instead of stored.
Rule 4: a run without secrets pays one truth test for all that.
"""

from __future__ import annotations

import os
from typing import NoReturn

from engine.errors import ConfigError, UnserialisableError

MASK = "***"

#: A shorter value would blot out innocent text ("no", "42") and is not masked.
SHORTEST = 4
#: A shorter value may well stand in a result by chance, and does not keep it from being stored.
SHORTEST_REFUSED = 8

#: What `mask` looks for, longest first, so that no secret that contains another survives in part.
_hidden: list[str] = []
#: The values themselves, and what they are called.
_known: dict[str, str] = {}


class Secret:
    """A reference to a value kept outside the flow: `Secret.env("API_KEY")`.

    Pass it to a task as an argument and call `get()` inside the task.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name
        """The environment variable that holds the value."""
        value = os.environ.get(name)
        if value is not None:
            remember(value, name)

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
        remember(value, self.name)
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


def remember(value: str, name: str = "") -> None:
    """Mask `value` from now on, in the forms in which it turns up in logs and tracebacks."""
    global _hidden
    if len(value) < SHORTEST or value in _known:
        return
    _known[value] = name
    # A new list, not a change of the old one: other threads may be masking with it.
    _hidden = sorted({*_hidden, *_forms(value)}, key=len, reverse=True)


def _forms(value: str) -> list[str]:
    from base64 import b64encode
    from json import dumps
    from urllib.parse import quote, quote_plus

    data = value.encode("utf-8", "surrogateescape")
    forms = {
        value, repr(value)[1:-1], dumps(value)[1:-1], dumps(value, ensure_ascii=False)[1:-1],
        repr(data)[2:-1], b64encode(data).decode(), b64encode(data, b"-_").decode(),
        quote(data), quote_plus(data), value.replace("'", "'\"'\"'"),
    }
    # A key of several lines is often printed line by line.
    forms |= {line for line in value.splitlines() if len(line) >= SHORTEST_REFUSED}
    return [form for form in forms if len(form) >= SHORTEST]


def mask(text: str) -> str:
    """`text` with every revealed secret's value replaced by `***`."""
    if not _hidden:
        return text
    for value in _hidden:
        if value in text:
            text = text.replace(value, MASK)
    return text


def holds_secret(error: BaseException) -> bool:
    """True if a traceback of this exception would show a secret."""
    from traceback import format_exception

    if not _hidden:
        return False
    try:
        text = "".join(format_exception(error))
    except Exception:  # whatever its own methods raise
        return True
    return mask(text) != text


def refuse(stored: object, what: str = "result") -> None:
    """Raise UnserialisableError if something about to be stored holds a secret's value."""
    for value, name in _known.items():
        if len(value) < SHORTEST_REFUSED:
            continue
        if (value in stored if isinstance(stored, str) else
                isinstance(stored, bytes) and value.encode("utf-8", "surrogatepass") in stored):
            raise UnserialisableError(
                what, f"it holds the value of the secret {name}, which must not be stored; hand "
                "the Secret itself on and call .get() where it is needed, or use "
                "@task(persist=False)"
            )


def longest() -> int:
    """Characters of the longest text that is masked; 0 if nothing is."""
    return len(_hidden[0]) if _hidden else 0


def hiding() -> bool:
    """True if any secret is known in this process."""
    return bool(_hidden)


def forget_all() -> None:
    """Mask nothing any more. For tests, which reveal secrets that the next test must not know."""
    global _hidden
    _hidden = []
    _known.clear()
