"""How workflows are written. Everything here makes a `Dag` and hands it to the runtime."""

from engine.core.handles import Handle, Missing, quote
from engine.dsl.listeners import bus
from engine.dsl.order import chain
from engine.dsl.tasks import TaskFunction, task
from engine.dsl.workflows import Workflow, workflow
from engine.errors import Skip
from engine.worker.resources import resource

__all__ = [
    "Handle", "Missing", "Skip", "TaskFunction", "Workflow", "bus", "chain", "quote", "resource",
    "task", "workflow",
]
