"""FlowForge: durable workflows in plain Python.

Names are imported when they are first used, so that `import engine` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.core.handles import Handle as Handle
    from engine.core.handles import Missing as Missing
    from engine.core.handles import quote as quote
    from engine.core.notices import Notice as Notice
    from engine.core.notices import RunEnded as RunEnded
    from engine.core.notices import RunStarted as RunStarted
    from engine.core.notices import TaskCancelled as TaskCancelled
    from engine.core.notices import TaskFailed as TaskFailed
    from engine.core.notices import TaskRetrying as TaskRetrying
    from engine.core.notices import TaskSkipped as TaskSkipped
    from engine.core.notices import TaskStarted as TaskStarted
    from engine.core.notices import TaskSucceeded as TaskSucceeded
    from engine.core.states import RunState as RunState
    from engine.core.states import TaskState as TaskState
    from engine.dsl.classic import Dag as Dag
    from engine.dsl.classic import Scheduler as Scheduler
    from engine.dsl.classic import Task as Task
    from engine.dsl.listeners import bus as bus
    from engine.dsl.order import chain as chain
    from engine.dsl.shells import shell as shell
    from engine.dsl.tasks import TaskFunction as TaskFunction
    from engine.dsl.tasks import task as task
    from engine.dsl.workflows import Workflow as Workflow
    from engine.dsl.workflows import workflow as workflow
    from engine.errors import DefinitionError as DefinitionError
    from engine.errors import FlowForgeError as FlowForgeError
    from engine.errors import RunFailed as RunFailed
    from engine.errors import Skip as Skip
    from engine.runtime.run import Run as Run
    from engine.worker.context import Context as Context
    from engine.worker.context import current as current
    from engine.worker.resources import resource as resource
    from engine.worker.secrets import Secret as Secret
    from engine.worker.shell import ShellError as ShellError
    from engine.worker.shell import ShellResult as ShellResult

__version__ = "0.1.0"

#: Module → the public names that it has.
_MODULES = {
    "engine.core.handles": ("Handle", "Missing", "quote"),
    "engine.core.notices": (
        "Notice", "RunEnded", "RunStarted", "TaskCancelled", "TaskFailed", "TaskRetrying",
        "TaskSkipped", "TaskStarted", "TaskSucceeded",
    ),
    "engine.core.states": ("RunState", "TaskState"),
    "engine.dsl.classic": ("Dag", "Scheduler", "Task"),
    "engine.dsl.listeners": ("bus",),
    "engine.dsl.order": ("chain",),
    "engine.dsl.shells": ("shell",),
    "engine.dsl.tasks": ("TaskFunction", "task"),
    "engine.dsl.workflows": ("Workflow", "workflow"),
    "engine.errors": ("DefinitionError", "FlowForgeError", "RunFailed", "Skip"),
    "engine.runtime.run": ("Run",),
    "engine.worker.context": ("Context", "current"),
    "engine.worker.resources": ("resource",),
    "engine.worker.secrets": ("Secret",),
    "engine.worker.shell": ("ShellError", "ShellResult"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
