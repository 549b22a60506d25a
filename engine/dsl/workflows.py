"""`workflow`: a function whose calls build the graph, or a block that collects it.

Rule 1: `.run()` builds, checks, and hands a `Dag` to the runtime; nothing here runs a task.
Rule 2: called while another workflow is built, a workflow becomes a group of that one.
Rule 3: `.options()` makes another `Workflow`; a block's graph is shared by both.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from engine.core.dag import Dag
from engine.core.nodes import Node
from engine.dsl.building import Builder, active, building
from engine.dsl.checks import check_declared, check_result
from engine.dsl.listeners import Bus, H, Handler, bus
from engine.dsl.parameters import bind, from_text
from engine.dsl.run_options import run_options
from engine.errors import DefinitionError, ParameterError
from engine.runtime.collector import no_collection
from engine.runtime.options import RunOptions
from engine.worker.context import HERE

if TYPE_CHECKING:
    from engine.core.notices import Notice
    from engine.runtime.run import Run


#: What a block is called that was given no name.
UNNAMED = "workflow"


class Workflow:
    """Tasks and the dependencies between them, and the settings to run them with."""

    def __init__(
        self, name: str, fn: Callable[..., Any] | None, settings: RunOptions, file: str | None
    ) -> None:
        self.name = name
        self.fn = fn
        """The function that builds the graph; None in the block form."""
        self.settings = settings
        self.file = file
        """The file it is defined in; None in an interactive session."""
        self.bus = Bus()
        self._builder: Builder | None = None
        self._inside: list[AbstractContextManager[Any]] = []
        self._group: str | None = None
        """Where it is nested as a block in another workflow."""
        self.__doc__ = fn.__doc__ if fn is not None else None

    @property
    def form(self) -> str:
        """function or block."""
        return "block" if self.fn is None else "function"

    def __repr__(self) -> str:
        return f"<workflow {self.name!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # By name, with its bare function: neither graph nor listeners go to a worker.
        return Workflow, (self.name, self.fn, RunOptions(), None)

    # -- settings ----------------------------------------------------------------------

    def options(self, **options: Any) -> Workflow:
        """The workflow with other settings for the runs that are started from what is returned.

        Settings: executor, workers, limits, durability, on_failure, resume, fresh, home,
        screen, grace (seconds), until, only, on_code_change, output.
        Raises UnknownOptionError, DefinitionError.
        """
        other = object.__new__(Workflow)  # copy() would go by __reduce__, and leave most behind
        other.__dict__.update(self.__dict__)
        other.settings = run_options(options, f"workflow {self.name!r}", self.settings)
        return other

    @overload
    def on(self, event: type[Notice]) -> Callable[[H], H]: ...
    @overload
    def on(self, event: type[Notice], handler: H) -> H: ...
    def on(self, event: type[Notice], handler: Handler | None = None) -> Any:
        """Have `handler(notice)` called when this happens: `wf.on(TaskFailed, tell_me)`.

        Without a handler it is a decorator. See `Bus.subscribe`. Raises DefinitionError.
        """
        if handler is None:
            return lambda handler: self.on(event, handler)
        self.bus.subscribe(event, handler)
        return handler

    # -- the graph ---------------------------------------------------------------------

    @property
    def dag(self) -> Dag | GroupView:
        """The graph so far; of a workflow function, the one for its default parameters."""
        if self.fn is not None:
            return self.build()
        builder = self._the_builder()
        return builder.dag if self._group is None else GroupView(builder.dag, self._group)

    def build(self, *args: Any, **parameters: Any) -> Dag:
        """The checked graph for these parameters; nothing is run.

        Raises DefinitionError, ParameterError.
        """
        return self._build(args, parameters)[0]

    def _build(
        self, args: tuple[Any, ...], parameters: Mapping[str, Any]
    ) -> tuple[Dag, dict[str, Any]]:
        if self.fn is None:
            if args or parameters:
                raise ParameterError(
                    f"workflow {self.name!r} is a block and takes no parameters; "
                    "write it as a function to have some"
                )
            builder, values = self._the_builder(), {}
        else:
            bound = bind(self.fn, self.name, args, parameters)
            values = dict(bound.arguments)
            builder = Builder(Dag(self.name), declares=False)
            with building(builder):
                builder.dag.result = self._body(bound)
        check_declared(builder)
        return builder.dag, values

    def _body(self, bound: inspect.BoundArguments) -> Any:
        assert self.fn is not None
        result = self.fn(*bound.args, **bound.kwargs)
        check_result(self.name, result)
        return result

    def _the_builder(self) -> Builder:
        if self._builder is None:
            raise DefinitionError(
                f"workflow {self.name!r} has no tasks yet; declare them in "
                f"`with workflow({self.name!r}) as wf:`, or decorate a function with @workflow"
            )
        return self._builder

    def __enter__(self) -> Self:
        if self.fn is not None:
            raise DefinitionError(
                f"workflow {self.name!r} is a function; call it, or .run() it, instead of `with`"
            )
        outer = active()
        if outer is not None:
            nested = outer.nested(self.name, declares=True)
            self._group = nested.__enter__()
            self._builder = outer
            self._inside.append(nested)
            return self
        if self._builder is None:
            self._builder = Builder(Dag(self.name), declares=True)
        scope = building(self._builder)
        scope.__enter__()
        self._inside.append(scope)
        return self

    def __exit__(self, *failure: object) -> None:
        self._inside.pop().__exit__(None, None, None)

    # -- running -----------------------------------------------------------------------

    def __call__(self, *args: Any, **parameters: Any) -> Any:
        """In another workflow: nest, and return the structure with handles in it.

        Inside a task: call the function. Elsewhere: run, and return the result.
        Raises what `Run.result` raises.
        """
        if self.fn is None:
            return self._decorate(args, parameters)
        builder = active()
        if builder is not None:
            bound = bind(self.fn, self.name, args, parameters)
            with builder.nested(self.name, declares=False):
                return self._body(bound)
        if HERE.get() is not None:
            return self.fn(*args, **parameters)
        return self.run(*args, **parameters).result

    def _decorate(self, args: tuple[Any, ...], parameters: Mapping[str, Any]) -> Workflow:
        if self._builder is not None or len(args) != 1 or parameters or not callable(args[0]):
            raise DefinitionError(
                f"workflow {self.name!r} is a block and cannot be called; run it with .run()"
            )
        return _from_function(args[0], None if self.name == UNNAMED else self.name, self.settings)

    def run(self, *args: Any, **parameters: Any) -> Run:
        """Run it with these parameters, and return the `Run` when it ended.

        A failed run does not raise; `Run.raise_for_failure()` and `Run.result` do.
        Raises DefinitionError, ParameterError before anything starts; StorageError.
        """
        if self._group is not None:
            raise DefinitionError(
                f"workflow {self.name!r} is nested in another one, and runs together with it"
            )
        with no_collection():
            dag, values = self._build(args, parameters)
        from engine.runtime.launch import execute
        from engine.runtime.screens import shown

        def go() -> Run:
            with building(None):
                return execute(
                    dag, name=self.name, file=self.file, parameters=values,
                    options=self.settings, handlers=[*bus.handlers, *self.bus.handlers],
                    form=self.form,
                )

        return shown(self.settings, go)

    def run_text(self, written: Mapping[str, str]) -> Run:
        """Run it with parameters written as text, as on the command line."""
        if self.fn is None:
            return self.run(**written)
        return self.run(**from_text(self.fn, self.name, written))


class GroupView:
    """A nested block's part of the graph, where names are those inside the group."""

    __slots__ = ("_dag", "group")

    def __init__(self, dag: Dag, group: str) -> None:
        self._dag = dag
        self.group = group

    def get_task(self, name: str) -> Node:
        """The node of that name in this group. Raises DefinitionError, AmbiguousNameError."""
        return self._dag.get_task(f"{self.group}/{name}")

    @property
    def nodes(self) -> list[Node]:
        """The nodes of this group and those nested in it."""
        below = self.group + "/"
        return [n for n in self._dag.nodes if n.name.startswith(below)]


def workflow(
    named: str | Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any
) -> Workflow:
    """A workflow: `@workflow` on a function, `@workflow("name", …)`, or `with workflow("name")`.

    Options are the defaults of its runs' settings; see `Workflow.options`. The original
    design's `executor_type=` and `max_workers=` are accepted.
    Raises UnknownOptionError, DefinitionError.
    """
    given = name if name is not None else named if isinstance(named, str) else None
    settings = run_options(options, "workflow")
    if named is not None and not isinstance(named, str):
        return _from_function(named, given, settings)
    return Workflow(given or UNNAMED, None, settings, calling_file())


def _from_function(fn: Any, name: str | None, settings: RunOptions) -> Workflow:
    if not callable(fn) or isinstance(fn, (type, Workflow)):
        raise DefinitionError(f"@workflow decorates a function, not {fn!r}")
    if (inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn)
            or inspect.isasyncgenfunction(fn)):
        raise DefinitionError(
            f"workflow {fn.__name__!r} must be a plain function: it only builds the graph; "
            "async belongs into its tasks"
        )
    code = getattr(fn, "__code__", None)
    name = name or str(getattr(fn, "__name__", UNNAMED))
    return Workflow(name, fn, settings, _real(code.co_filename) if code else None)


def calling_file() -> str | None:
    """The user's file from which the engine was called; None if there is none."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("engine."):
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return _real(frame.f_code.co_filename)


def _real(filename: str) -> str | None:
    path = Path(filename)
    return str(path.resolve()) if path.is_file() else None
