"""The options of `@task`, as a user writes them, checked and made into `TaskOptions`.

Rule 1: everything wrong is found where it is written, and the message says what would be
        right; nothing is quietly ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, NoReturn

from engine.core.handles import Handle
from engine.core.retry import RetryPolicy
from engine.core.rules import RULES
from engine.core.tasks import TaskOptions
from engine.dsl.suggest import nearest, unknown_option
from engine.errors import DefinitionError

EXECUTORS = ("sequential", "thread", "process", "dask")


def wrong(option: str, value: object, wanted: str) -> NoReturn:
    """Raise DefinitionError for an option's value."""
    raise DefinitionError(f"{option}={value!r} is not possible: it must be {wanted}")


def seconds(option: str, value: Any) -> float:
    """A duration: a number of seconds, or a timedelta; not negative."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if (isinstance(value, bool) or not isinstance(value, (int, float))
            or not 0 <= value < float("inf")):
        wrong(option, value, "a number of seconds, 0 or more (or a timedelta)")
    return float(value)


def positive_seconds(option: str, value: Any) -> float:
    """A duration above zero."""
    number = seconds(option, value)
    if not number:
        wrong(option, value, "more than 0 seconds")
    return number


def whole(option: str, value: Any, least: int = 0) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        wrong(option, value, f"a whole number, {least} or more")
    return value


def number(option: str, value: Any, least: float = float("-inf")) -> float:
    """A number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
        bound = f", {least:g} or more" if least > float("-inf") else ""
        wrong(option, value, f"a number{bound}")
    return float(value)


def truth(option: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        wrong(option, value, "True or False")
    return value


def text(option: str, value: Any) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        wrong(option, value, "a string that is not empty")
    return value


def one_of(option: str, value: Any, known: Iterable[str]) -> str:
    """One of the known words."""
    known = list(known)
    if value not in known:
        close = nearest(value, known) if isinstance(value, str) else None
        hint = f" (did you mean {close!r}?)" if close else ""
        wrong(option, value, f"one of {', '.join(known)}{hint}")
    return str(value)


def executor(option: str, value: Any) -> str:
    """The name of an executor, or the address of a Dask scheduler."""
    if isinstance(value, str) and value.startswith("dask://"):
        return value
    return one_of(option, value, EXECUTORS)


def tokens(option: str, value: Any) -> Mapping[str, int]:
    """Limit → how many: `{"gpu": 1}`."""
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        wrong(option, value, 'a dict of names and numbers, as in {"gpu": 1}')
    return {k: whole(f"{option}[{k!r}]", v, 1) for k, v in value.items()}


def _delay(option: str, value: Any) -> Any:
    if callable(value):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(seconds(option, v) for v in value)
    return seconds(option, value)


def _retry_on(option: str, value: Any) -> Any:
    kinds = tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    if all(isinstance(k, type) and issubclass(k, BaseException) for k in kinds):
        return kinds
    if callable(value) and not isinstance(value, type):
        return value
    wrong(option, value, "an exception type, several of them, or a function of the exception")


def _outputs(option: str, value: Any) -> int:
    return whole(option, value, 1)


def _version(option: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        wrong(option, value, "a string or a number")
    return str(value)


def _tags(option: str, value: Any) -> tuple[str, ...]:
    tags = (value,) if isinstance(value, str) else value
    if not isinstance(tags, (list, tuple, set, frozenset)):
        wrong(option, value, "a list of strings")
    return tuple(text(option, tag) for tag in tags)


def _cache(option: str, value: Any) -> bool | float:
    return value if isinstance(value, bool) else positive_seconds(option, value)


def _cache_key(option: str, value: Any) -> Any:
    if not callable(value) and not (isinstance(value, str) and value):
        wrong(option, value, "a string, or a function of the arguments that returns one")
    return value


def _rule(option: str, value: Any) -> str:
    return one_of(option, value, RULES)


def _interrupt(option: str, value: Any) -> str:
    return one_of(option, value, ("retry", "fail"))


def condition(option: str, value: Any) -> Any:
    """What decides whether the task runs: a result to come, or True or False."""
    if value is None or value is True:
        return None
    if value is not False and type(value) is not Handle:
        wrong(option, value, "the result of a task (call it), or True or False")
    return value


def _jitter(option: str, value: Any) -> float:
    if not number(option, value, 0.0) <= 1:
        wrong(option, value, "between 0 and 1: the part of the delay that is random")
    return float(value)


def _backoff(option: str, value: Any) -> float:
    return number(option, value, 1.0)


def _whole(option: str, value: Any) -> int:
    return whole(option, value)


def _number(option: str, value: Any) -> float:
    return number(option, value)


#: `RetryPolicy` field → (option, its check).
_RETRY: dict[str, tuple[str, Callable[[str, Any], Any]]] = {
    "retries": ("retries", _whole),
    "delay": ("retry_delay", _delay),
    "backoff": ("retry_backoff", _backoff),
    "jitter": ("retry_jitter", _jitter),
    "max_delay": ("max_retry_delay", seconds),
    "on": ("retry_on", _retry_on),
}

#: Option (and `TaskOptions` field) → its check.
_PLAIN: dict[str, Callable[[str, Any], Any]] = {
    "timeout": positive_seconds,
    "deadline": positive_seconds,
    "executor": executor,
    "limits": tokens,
    "priority": _number,
    "trigger_rule": _rule,
    "persist": truth,
    "outputs": _outputs,
    "on_interrupt": _interrupt,
    "version": _version,
    "cache": _cache,
    "cache_key": _cache_key,
    "tags": _tags,
}

#: Options where None says "not set", as leaving them out does.
_OPTIONAL = frozenset({
    "timeout", "deadline", "executor", "priority", "outputs", "version", "cache", "cache_key",
    "max_retry_delay", "retry_on", "when", "name",
})

TASK_OPTIONS = frozenset({option for option, _ in _RETRY.values()} | set(_PLAIN)
                         | {"name", "when"})


def check_names(given: Mapping[str, Any], of: str = "@task") -> dict[str, Any]:
    """The options that are set. Raises UnknownOptionError for one that does not exist."""
    for name in given:
        if name not in TASK_OPTIONS:
            raise unknown_option(name, TASK_OPTIONS, of)
    return {k: v for k, v in given.items() if v is not None or k not in _OPTIONAL}


#: Most tasks set nothing; they share one object.
_DEFAULTS = TaskOptions()


def task_options(given: Mapping[str, Any]) -> TaskOptions:
    """Checked options. Raises DefinitionError for a value that cannot be."""
    if not given:
        return _DEFAULTS
    retry = {f: check(o, given[o]) for f, (o, check) in _RETRY.items() if o in given}
    plain = {o: check(o, given[o]) for o, check in _PLAIN.items() if o in given}
    if plain.get("on_interrupt") == "fail" and not plain.get("persist", True):
        raise DefinitionError(
            'on_interrupt="fail" forbids to repeat the task, and persist=False has a resume repeat '
            "it where its result is needed; leave one of them out")
    return TaskOptions(retry=RetryPolicy(**retry) if retry else _DEFAULTS.retry, **plain)
