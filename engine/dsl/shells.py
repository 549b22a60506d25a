"""`shell("cmd", …)`: a command as a task."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from engine.core.handles import PLAIN, Handle, handles_in
from engine.core.tasks import TaskSpec
from engine.dsl.building import active
from engine.dsl.options import check_names, condition, seconds, task_options, text
from engine.dsl.tasks import TaskFunction
from engine.errors import DefinitionError, HandleError
from engine.worker.shell import ShellCommand


def shell(
    command: str | Sequence[Any],
    *,
    cwd: Any = None,
    env: Mapping[str, Any] | None = None,
    check: bool = True,
    grace: float = 5.0,
    **options: Any,
) -> Any:
    """A task that runs a command: in a workflow a handle on its `ShellResult`, else that result.

    A string goes through the shell; a list is started as it is, and may hold handles, as may
    `cwd` and `env` (variables on top of the engine's environment). `check`: an exit code other
    than 0 is a failure. `grace`: seconds between asking the command to end and killing it.
    The other options are those of `@task`.
    Raises DefinitionError; outside a workflow what the command raises.
    """
    given = check_names(options, "shell()")
    _check_command(command)
    kwargs: dict[str, Any] = {k: v for k, v in (("cwd", cwd), ("env", env)) if v is not None}
    runs = ShellCommand(check, seconds("grace", grace))
    builder = active()
    if builder is None:
        return runs(command, **kwargs)
    spec = TaskSpec(
        name=text("name", given["name"]) if "name" in given else _program(command),
        fn=runs,
        options=task_options(given),
        kind="shell",
        source=_written(command),
        named="name" in given,
    )
    when = condition("when", given.get("when"))
    refs = handles_in((command, kwargs, when))
    return builder.dag.add(
        spec, (command,), kwargs, refs, group=builder.group, when=when,
        name=spec.name if spec.named else None,
    ).handle


def _check_command(command: Any) -> None:
    if isinstance(command, (Handle, TaskFunction)):
        raise HandleError(
            "shell() was given a result as its command; write the command as a list with the "
            'result in it: shell(["cmd", handle])'
        )
    if isinstance(command, str):
        if not command.strip():
            raise DefinitionError('shell("") has no command')
    elif not isinstance(command, (list, tuple)) or not command:
        raise DefinitionError(
            f"shell() takes a string or a list of words, not {command!r}"
        )


def _program(command: str | Sequence[Any]) -> str:
    """The name of the program, without its folder."""
    first = command.split()[0] if isinstance(command, str) else command[0]
    if not isinstance(first, (str, os.PathLike)):
        return "shell"
    return PurePath(os.fsdecode(first)).name or "shell"


def _written(command: str | Sequence[Any]) -> str | list[str]:
    """The command as it stands in the workflow; `{}` where a result will be."""
    if isinstance(command, str):
        return command
    return [str(w) if type(w) in PLAIN or isinstance(w, os.PathLike) else "{}" for w in command]
