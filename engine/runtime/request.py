"""What the command line wants of the next `.run()`, wherever in the user's code that is.

A flow file may call `.run()` in its body (the block form) or leave that to the command.
Either way the request reaches it through this one variable, so that both take the flags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import LoadError, ParameterError
from engine.runtime.options import RunOptions

if TYPE_CHECKING:
    from engine.core.graph import Graph
    from engine.runtime.plan import Plan, Wish
    from engine.runtime.reporting import Reporter
    from engine.runtime.run import Run

Command = Literal["run", "resume", "retry", "rerun", "graph"]


@dataclass(slots=True)
class Request:
    """One wish of the command line, met by the first run that starts."""

    command: Command = "run"
    run_id: str | None = None
    """The run to carry on; None: the last one of this workflow and parameters, or a new one."""
    tasks: tuple[str, ...] = ()
    """What to retry or rerun, by name; empty for retry: all that failed."""
    workflow: str | None = None
    """Meant for the workflow of that name alone; one of another name runs without it."""
    options: RunOptions = field(default_factory=RunOptions)
    dry_run: bool = False
    force: bool = False
    """End a live owner on this machine first."""
    reporter: Callable[[str], Reporter] | None = None
    """Makes what shows the run, given the setting `output`; None: plain lines."""
    review: Callable[[Plan], Mapping[int, Wish] | None] | None = None
    """Shown what a run that is carried on would do, before anything of it is written: what is to
    be done otherwise, by node (see `Plan.choose`); None: do nothing at all. Called on the thread
    that runs the workflow."""
    linger: bool = False
    """Once the run has ended, stay open for a retry or rerun until `Live.close`, or a signal. How
    it ended is recorded by then."""
    taken: bool = False
    """True once a run has met it."""
    refusal: str = ""
    """Why no run may meet it now: while a file is loaded for a run with parameters of its own."""
    run: Run | None = None
    """The run that met it."""
    plan: Any = None
    """With `dry_run` or `review`: the plan, once it is made."""
    graph: Graph | None = None
    """Of the command `graph`: the frozen graph, once it is there."""


class PlanMade(BaseException):
    """Ends a dry run, or the command `graph`, once what it asks for is there; nothing was run."""


class PlanRefused(PlanMade):
    """Ends a run that its reviewer did not want; nothing of it was written."""


_REQUEST: ContextVar[Request | None] = ContextVar("flowforge_request", default=None)


@contextmanager
def requested(request: Request) -> Iterator[Request]:
    """Have the first run that starts inside meet `request`."""
    token = _REQUEST.set(request)
    try:
        yield request
    finally:
        _REQUEST.reset(token)


def awaited() -> bool:
    """True if somebody waits for the run that starts now, and will show it."""
    request = _REQUEST.get()
    return request is not None and not request.taken


def take_request(workflow: str | None = None) -> Request:
    """The request that the run starting now has to meet; an empty one if there is none.

    `workflow`: its name. A request for another one is left for that; by the command `graph`, which
    must not run anything, it is refused. Raises ParameterError, LoadError.
    """
    request = _REQUEST.get()
    if request is None or request.taken:
        return Request()
    if request.workflow is not None and workflow not in (None, request.workflow):
        if request.command == "graph":
            raise LoadError(
                f"its file runs the workflow {workflow!r} itself, ahead of {request.workflow!r}; "
                "put that call of .run() under `if __name__ == \"__main__\":`"
            )
        return Request()
    if request.refusal:
        raise ParameterError(request.refusal)
    request.taken = True
    return request
