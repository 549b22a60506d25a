"""The settings of a run, as given to `workflow(...)` and `.options(...)`, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from engine.dsl.options import executor, one_of, seconds, text, tokens, truth, whole, wrong
from engine.dsl.suggest import unknown_option
from engine.errors import DefinitionError
from engine.runtime.options import RunOptions

#: The original design's names.
ALIASES = {"executor_type": "executor", "max_workers": "workers"}


def _workers(option: str, value: Any) -> int:
    return whole(option, value, 1)


def _words(*known: str) -> Callable[[str, Any], str]:
    return lambda option, value: one_of(option, value, known)


def _resume(option: str, value: Any) -> str | bool:
    if isinstance(value, bool):
        return value if value else "never"
    return one_of(option, value, ("auto", "never"))


def _home(option: str, value: Any) -> str | Path:
    if not isinstance(value, (str, Path)) or not str(value):
        wrong(option, value, "a path")
    return value


def _names(option: str, value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)):
        wrong(option, value, "a task's name, or several")
    return tuple(text(option, name) for name in names)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "executor": executor,
    "workers": _workers,
    "limits": tokens,
    "durability": _words("full", "process", "none"),
    "on_failure": _words("continue", "stop"),
    "resume": _resume,
    "fresh": truth,
    "home": _home,
    "screen": truth,
    "grace": seconds,
    "until": _names,
    "only": _names,
    "on_code_change": _words("rerun", "reuse", "fail"),
    "output": _words("auto", "rich", "plain", "json", "silent"),
}


def run_options(given: Mapping[str, Any], of: str, base: RunOptions | None = None) -> RunOptions:
    """Checked settings over `base`. None leaves a setting open.

    Raises UnknownOptionError, DefinitionError.
    """
    known = {f.name for f in fields(RunOptions)}
    changes: dict[str, Any] = {}
    for name, value in given.items():
        option = ALIASES.get(name, name)
        if option not in known:
            raise unknown_option(name, {*known, *ALIASES}, of)
        if option in changes:
            raise DefinitionError(f"{of}: {name} and {option} are one option; give one of them")
        check = _CHECKS.get(option)
        changes[option] = check(name, value) if check and value is not None else value
    return replace(base or RunOptions(), **changes)
