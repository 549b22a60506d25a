"""The settings of a run, each None until somebody sets it.

Precedence, first wins: the command's flags, `.options(...)`, `workflow(...)`, `FLOWFORGE_*`
environment variables, `[tool.flowforge]` of pyproject.toml, the defaults below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class RunOptions:
    """Settings of one run. All times in seconds."""

    executor: str | None = None
    """sequential, thread or process. Default: thread."""
    workers: int | None = None
    """Default: the CPUs this process may use."""
    limits: Mapping[str, int] | None = None
    durability: str | None = None
    """full, process or none. Default: full."""
    on_failure: str | None = None
    """continue or stop. Default: continue."""
    resume: str | bool | None = None
    """auto, never, or True. Default: auto."""
    fresh: bool | None = None
    home: str | Path | None = None
    """The state directory. Default: .flowforge in the working directory."""
    screen: bool | None = None
    grace: float | None = None
    """Between asking a task to stop and making it. Default: 5."""
    until: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    on_code_change: str | None = None
    """rerun, reuse or fail. Default: rerun."""
    output: str | None = None
    """auto, rich, plain, json or silent. Default: auto."""

    def over(self, *others: RunOptions) -> RunOptions:
        """These settings, the gaps filled from the others in turn."""
        merged: dict[str, Any] = {}
        for f in fields(self):
            chain = (getattr(o, f.name) for o in (self, *others))
            merged[f.name] = next((v for v in chain if v is not None), None)
        return RunOptions(**merged)


#: Flags that hold for a run as long as it lives: a resume of it needs no repeating of them. What
#: to run of it (`until`, `only`) is not among them: a resume is there to do the rest.
_LASTING = ("executor", "workers", "limits", "durability", "on_failure", "grace")


def lasting_flags(flags: RunOptions) -> dict[str, Any]:
    """The flags that a run is started with and a resume takes over, as plain data."""
    found = {name: getattr(flags, name) for name in _LASTING}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items() if v is not None}


def options_from(data: Mapping[str, Any]) -> RunOptions:
    """The inverse of `lasting_flags`; what this version does not know is left out."""
    options = RunOptions()
    for name in _LASTING:
        value = data.get(name)
        setattr(options, name, tuple(value) if isinstance(value, list) else value)
    return options
