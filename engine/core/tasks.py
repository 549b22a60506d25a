"""What a task is, once declared: a function and the options it runs under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.core.retry import RetryPolicy

Kind = Literal["sync", "async", "shell"]


@dataclass(frozen=True, slots=True, eq=False)
class TaskOptions:
    """The options of `@task` that the engine reads. Times in seconds."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout: float | None = None
    """Longest time one attempt may take."""
    deadline: float | None = None
    """Longest time from the first attempt's start to the last one's end."""
    executor: str | None = None
    """sequential, thread or process; None: the run's own. Async tasks have a loop of their own."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Tokens that an attempt holds of each named limit."""
    priority: float | None = None
    """Higher goes first; None: the longest path below it decides."""
    trigger_rule: str = "all_success"
    persist: bool = True
    """False: the result lives in memory only, and is computed again if a resume needs it."""
    outputs: int | None = None
    """How many values the task returns as a tuple, so that `a, b = f()` can be written."""
    on_interrupt: Literal["retry", "fail"] = "retry"
    """What becomes of an attempt that was running when the engine died."""
    version: str | None = None
    """Part of the fingerprint; change it to have the task run again."""
    cache: bool | float | None = None
    cache_key: Callable[..., str] | str | None = None
    tags: tuple[str, ...] = ()

    @property
    def solo(self) -> bool:
        """True if its attempts are dispatched one by one, not in batches."""
        return bool(self.limits) or self.on_interrupt == "fail"


@dataclass(frozen=True, slots=True, eq=False)
class TaskSpec:
    """A declared task. One spec serves every node made from it; compared by identity."""

    name: str
    """The name its first node gets."""
    fn: Callable[..., Any]
    """What a worker calls: the bare function, never the decorated object."""
    options: TaskOptions = field(default_factory=TaskOptions)
    kind: Kind = "sync"
    source: Any = None
    """What the fingerprint reads (the function, the class, or the command); None: `fn`."""
    resources: Mapping[str, Any] = field(default_factory=dict)
    """Parameter name → resource that is opened for an attempt and closed after it."""
    named: bool = False
    """True if the name was given by `name=`, and not taken from the function."""

    @property
    def code(self) -> Any:
        """The object whose source is the task's code."""
        return self.fn if self.source is None else self.source
