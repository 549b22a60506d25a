"""How workflows are written. Everything here makes a `Dag` and hands it to the runtime.

The names are those of `engine`, imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine import __all__ as __all__

if TYPE_CHECKING:
    from engine.core.handles import Handle as Handle
    from engine.core.handles import Missing as Missing
    from engine.core.handles import quote as quote
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
    from engine.errors import Skip as Skip
    from engine.worker.context import current as current
    from engine.worker.resources import resource as resource
    from engine.worker.secrets import Secret as Secret


def __getattr__(name: str) -> Any:
    import engine

    if name in __all__:
        value = globals()[name] = getattr(engine, name)
        return value
    raise AttributeError(f"module 'engine.dsl' has no attribute {name!r}")
