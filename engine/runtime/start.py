"""Starting what a flow file holds, for a command line or a screen.

A file may run its workflow in its own body; then loading it is the run. Otherwise the
workflow that is named, or the only one, is run after it was loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from engine.errors import FlowForgeError, LoadError
from engine.runtime.find import workflows_of_file
from engine.runtime.load import choose, load_flow, users_traceback, workflows_in
from engine.runtime.request import PlanMade, Request, requested

if TYPE_CHECKING:
    from engine.dsl.classic import Scheduler
    from engine.dsl.workflows import Workflow
    from engine.runtime.run import Run


def start(
    request: Request,
    file: str | Path,
    *,
    workflow: str | None = None,
    written: Mapping[str, str] | None = None,
    values: Callable[[], Mapping[str, Any]] | None = None,
) -> Run | None:
    """Load a flow file and have its run meet `request`; returns the run when it ended.

    `workflow`: its name; None: the only one. `written` are parameters as text; `values` gives
    them as values, and is called once the file is loaded, since they may be of its classes.
    None is returned for a dry run, and by the command `graph`: what they ask for is in the
    request then. Raises DefinitionError, and what `Workflow.run` raises.
    """
    if workflow is not None and any(f.name == workflow for f in workflows_of_file(Path(file))):
        request.workflow = workflow
    with requested(request):
        try:
            if written:
                request.refusal = (
                    f"{Path(file).name} runs its workflow itself, with parameters of its own; "
                    "leave -p out, or put the call of .run() under `if __name__ == \"__main__\":`"
                )
            module = load_flow(file)
            request.refusal = ""
            if not request.taken:
                _run_of_file(request, module, workflow, written or {}, values)
        except PlanMade:
            return None
    return request.run


def _run_of_file(
    request: Request,
    module: ModuleType,
    name: str | None,
    written: Mapping[str, str],
    values: Callable[[], Mapping[str, Any]] | None,
) -> None:
    try:
        _run(module, name, written, values)
    except FlowForgeError:
        raise
    except Exception as error:
        if request.taken:
            raise
        # No run had begun: it is the user's code, which builds the graph, that raised.
        raise LoadError(f"{Path(str(module.__file__)).name} raised an error while its workflow "
                        f"was built:\n{users_traceback(error)}") from error


def _run(
    module: ModuleType,
    name: str | None,
    written: Mapping[str, str],
    values: Callable[[], Mapping[str, Any]] | None,
) -> None:
    by_hand = _scheduler(module, name)
    if by_hand is not None:
        by_hand.run()
        return
    workflow = choose(module, name)
    if values is None:
        workflow.run_text(written)
    else:
        _run_with(workflow, values())


def _run_with(workflow: Workflow, values: Mapping[str, Any]) -> None:
    """Run with parameters as they were bound the last time, `*args` and `**kwargs` among them."""
    if workflow.fn is None:
        workflow.run()
        return
    signature = inspect.signature(workflow.fn)
    known = {k: v for k, v in values.items() if k in signature.parameters}
    bound = inspect.BoundArguments(signature, known)
    workflow.run(*bound.args, **bound.kwargs)


def _scheduler(module: ModuleType, name: str | None) -> Scheduler | None:
    """A file of the classic API that does not run itself: its scheduler, or one for its dag."""
    from engine.dsl.classic import Dag, Scheduler

    if workflows_in(module):
        return None
    made = [v for v in vars(module).values() if isinstance(v, Scheduler)]
    dags = {id(v): v for v in vars(module).values() if isinstance(v, Dag)}
    known = made or [Scheduler(dag) for dag in dags.values()]
    if name is not None:
        known = [s for s in known if s.dag.name == name]
    if len(known) > 1:
        listed = ", ".join(s.dag.name for s in known)
        raise LoadError(f"{module.__name__} has {len(known)} dags ({listed}); say which: FILE:NAME")
    return known[0] if known else None
