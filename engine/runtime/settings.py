"""The settings of a run, gathered from everywhere and made definite.

Precedence, first wins: the command's flags, `.options(...)` and `workflow(...)`, `FLOWFORGE_*`
environment variables, `[tool.flowforge]` of the nearest pyproject.toml, the defaults.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

from engine.errors import ConfigError
from engine.runtime.options import RunOptions

OnCodeChange = Literal["rerun", "reuse", "fail"]
EXECUTORS = ("thread", "process", "sequential")
CHOICES: dict[str, tuple[str, ...]] = {
    "executor": EXECUTORS,
    "durability": ("full", "process", "none"),
    "on_failure": ("continue", "stop"),
    "on_code_change": ("rerun", "reuse", "fail"),
    "output": ("auto", "rich", "plain", "json", "silent"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, definite. See `RunOptions` for their meaning and units."""

    executor: str
    workers: int
    limits: Mapping[str, int]
    durability: str
    on_failure: str
    resume: bool
    insist: bool
    """Resume was asked for by name: it is an error if there is nothing to resume."""
    home: Path
    grace: float
    until: tuple[str, ...]
    only: tuple[str, ...]
    on_code_change: OnCodeChange
    output: str
    screen: bool | None
    """True: on a screen; False: on none; None: as whoever starts it sees fit."""


#: Threads or processes of one run, at most; a machine has some 32,000 threads in all.
MOST_WORKERS = 10_000


def usable_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def settle(options: RunOptions, flags: RunOptions) -> Settings:
    """Merge all sources. Raises ConfigError naming the source of a wrong value."""
    o = flags.over(options, from_environment(os.environ), from_pyproject(Path.cwd()))
    resume = o.resume if o.resume is not None else "auto"
    if o.workers and o.workers > MOST_WORKERS:
        raise ConfigError(f"workers={o.workers:,} is not possible: at most {MOST_WORKERS:,}; what "
                          "only waits can be `async def`, 10,000 at once on one thread")
    return Settings(
        executor=_chosen("executor", o.executor or "thread"),
        workers=o.workers or usable_cpus(),
        limits=dict(o.limits or {}),
        durability=_chosen("durability", o.durability or "full"),
        on_failure=_chosen("on_failure", o.on_failure or "continue"),
        resume=resume != "never" and not o.fresh,
        insist=resume is True,
        home=Path(o.home or os.environ.get("FLOWFORGE_HOME") or ".flowforge").absolute(),
        grace=5.0 if o.grace is None else o.grace,
        until=tuple(o.until or ()),
        only=tuple(o.only or ()),
        on_code_change=cast(
            OnCodeChange, _chosen("on_code_change", o.on_code_change or "rerun")),
        output=_chosen("output", o.output or "auto"),
        screen=o.screen,
    )


def _chosen(name: str, value: str) -> str:
    known = CHOICES[name]
    if value in known:
        return value
    if name == "executor" and value.startswith("dask"):
        raise ConfigError("the Dask executor is not part of this version; use thread or process")
    near = difflib.get_close_matches(value, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{name} cannot be {value!r}; it is one of {', '.join(known)}{hint}")


# -- sources ------------------------------------------------------------------------------------


def _whole(text: Any) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("it must be at least 1")
    return number


def _seconds(text: Any) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError("it must be a number of seconds, 0 or more")
    return number


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("it must be true or false")


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(n.strip() for n in value.split(",") if n.strip())
    return tuple(str(n) for n in value)


def _limits(value: Any) -> dict[str, int]:
    if isinstance(value, Mapping):
        return {str(k): _whole(v) for k, v in value.items()}
    pairs = (part.partition("=") for part in str(value).split(",") if part.strip())
    return {name.strip(): _whole(number) for name, _, number in pairs}


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "executor": str, "workers": _whole, "limits": _limits, "durability": str, "on_failure": str,
    "resume": lambda v: v if v in ("auto", "never") else _truth(v), "fresh": _truth, "home": str,
    "screen": _truth, "grace": _seconds, "until": _names, "only": _names,
    "on_code_change": str, "output": str,
}


#: Settings by the names that their flags have → the setting, and what the flag stands for.
_FLAGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "limit": ("limits", lambda value: value),
    "tui": ("screen", lambda value: value),
    "headless": ("screen", lambda value: not _truth(value)),
}
_NAMES = (*(f.name for f in fields(RunOptions)), *_FLAGS)

#: Of the screens, whatever they show: no setting of a run.
_ASCII = "ascii"


def _written(name: str, value: Any, source: str) -> tuple[str, Any]:
    """A setting written in the environment or a file, by its own name or by its flag's."""
    setting, meaning = _FLAGS.get(name, (name, lambda value: value))
    try:
        meant = meaning(value)
    except ValueError as error:
        raise ConfigError(f"{source}: {value!r} does not do: {error}") from None
    return setting, parse_option(setting, meant, source)


def parse_option(name: str, value: Any, source: str) -> Any:
    """A setting from text or TOML as its type. Raises ConfigError naming the source."""
    try:
        return _PARSERS[name](value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{source}: {value!r} does not do: {error}") from None


def from_environment(environ: Mapping[str, str]) -> RunOptions:
    """The settings in `FLOWFORGE_*`."""
    found = {}
    for name in _NAMES:
        variable = f"FLOWFORGE_{name.upper()}"
        value = environ.get(variable)
        if value is not None:
            setting, meant = _written(name, value, variable)
            found[setting] = meant
    return RunOptions(**found)


def from_pyproject(start: Path) -> RunOptions:
    """The settings in `[tool.flowforge]` of the nearest pyproject.toml upwards."""
    path, table = _pyproject(start)
    found = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name == _ASCII:
            continue
        if name not in _NAMES:
            near = difflib.get_close_matches(name, (*_NAMES, _ASCII), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{path}: [tool.flowforge] has no setting {key!r}{hint}")
        setting, meant = _written(name, value, f"{path}: [tool.flowforge] {key}")
        found[setting] = meant
    return RunOptions(**found)


def wants_ascii(environ: Mapping[str, str], start: Path) -> bool:
    """Whether screens are to show ASCII alone, by `FLOWFORGE_ASCII` (which the flag sets) or
    pyproject.toml. Raises ConfigError."""
    source, value = f"FLOWFORGE_{_ASCII.upper()}", environ.get(f"FLOWFORGE_{_ASCII.upper()}")
    if value is None:
        path, table = _pyproject(start)
        source, value = f"{path}: [tool.flowforge] {_ASCII}", table.get(_ASCII, False)
    try:
        return _truth(value)
    except ValueError as error:
        raise ConfigError(f"{source}: {value!r} does not do: {error}") from None


def _pyproject(start: Path) -> tuple[Path, Mapping[str, Any]]:
    """The nearest pyproject.toml upwards, and its `[tool.flowforge]`; empty if there is none."""
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            return path, _table_of(path)
    return start, {}


def _table_of(path: Path) -> Mapping[str, Any]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if "flowforge" not in text:
        return {}
    import tomllib

    try:
        table: Mapping[str, Any] = tomllib.loads(text).get("tool", {}).get("flowforge", {})
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return table
