"""What can be said against a workflow before anything of it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.core.handles import flatten
from engine.errors import DefinitionError

if TYPE_CHECKING:
    from engine.dsl.building import Builder


def check_declared(builder: Builder) -> None:
    """Raise DefinitionError for a declared task that lacks arguments and was never called."""
    for task, node in builder.unbound.items():
        required = task.signature.required
        if required:
            wanted = ", ".join(required)
            raise DefinitionError(
                f"task {node.name!r} was declared but never called, and it needs the "
                f"argument{'s' if len(required) > 1 else ''} {wanted}; call it in the block, "
                f"{task.spec.name}({wanted}=…), or give {'them' if len(required) > 1 else 'it'} "
                "a default"
            )


def check_result(workflow: str, result: Any) -> None:
    """Raise DefinitionError if a workflow returned a task instead of the result of a call."""
    from engine.dsl.tasks import TaskFunction

    for part in flatten(list(result.values()) if isinstance(result, dict) else result):
        if isinstance(part, TaskFunction):
            raise DefinitionError(
                f"workflow {workflow!r} returns the task {part.spec.name!r} itself; "
                f"call it: {part.spec.name}(...)"
            )
