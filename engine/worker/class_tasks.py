"""Tasks written as a class: a fresh instance for each attempt, so that tries share nothing."""

from __future__ import annotations

from typing import Any


class ClassTask:
    """What a worker calls for a class with `run()`."""

    __slots__ = ("cls",)

    def __init__(self, cls: type) -> None:
        self.cls: Any = cls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.cls().run(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task class {self.cls.__qualname__}>"
