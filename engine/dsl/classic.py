"""The classic API: `Dag`, `Task` and `Scheduler`, objects put together by hand.

Rule 1: nothing is a node before `Scheduler` makes it one, so the objects may be made and
        tied together in any order and used for several runs.
Rule 2: a dependency carries order only; a value goes from task to task where one task is
        given as an argument of another: `Task("b", fn_b, args=(a,))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.core.dag import Dag as Graph
from engine.core.handles import flatten
from engine.core.nodes import Node
from engine.dsl.building import Builder, building
from engine.dsl.listeners import Bus, Handler, bus
from engine.dsl.options import check_names, text
from engine.dsl.run_options import run_options
from engine.dsl.suggest import nearest
from engine.dsl.tasks import TaskFunction
from engine.dsl.workflows import calling_file
from engine.errors import DefinitionError, DuplicateNameError

if TYPE_CHECKING:
    from engine.core.notices import Notice
    from engine.runtime.run import Run


class Task:
    """A task by hand: `Task("a", fn)`, or a subclass with a method `run(self, ...)`."""

    def __init__(
        self,
        name: str | None = None,
        fn: Callable[..., Any] | None = None,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """`args` and `kwargs` are the call's arguments; a `Task` among them stands for its result.

        The options are those of `@task`. Raises UnknownOptionError, DefinitionError.
        """
        self.name = text("name", name) if name is not None else type(self).__name__
        self._fn = fn.code if isinstance(fn, TaskFunction) else fn
        if self._fn is None and type(self).run is Task.run:
            raise DefinitionError(
                f"task {self.name!r} has nothing to do: give it a function, Task({self.name!r}, "
                "fn), or derive a class from Task with a method run()"
            )
        if self._fn is not None and not callable(self._fn):
            raise DefinitionError(f"Task({self.name!r}, …) takes a function, not {fn!r}")
        self.options = check_names(options, f"task {self.name!r}")
        self.args = tuple(args)
        self.kwargs = dict(kwargs or {})
        self.upstream: list[Task] = []

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What the task does. Override it, or give the task a function."""
        assert self._fn is not None
        return self._fn(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do it here and now, outside any workflow."""
        return self.run(*args, **kwargs)

    def add_dependency(self, *others: Task) -> Task:
        """Start only when the others have ended; returns itself."""
        for other in flatten(others):
            if not isinstance(other, Task):
                raise DefinitionError(
                    f"task {self.name!r} can depend on a Task, not on {other!r}"
                )
            if other not in self.upstream:
                self.upstream.append(other)
        return self

    after = add_dependency

    def __rshift__(self, other: Any) -> Any:
        for task in flatten([other]):
            task.add_dependency(self)
        return other

    def __rrshift__(self, other: Any) -> Task:
        return self.add_dependency(other)

    def __getstate__(self) -> dict[str, Any]:
        # A worker needs the task itself, not the graph that hangs on it.
        return {**self.__dict__, "upstream": [], "args": (), "kwargs": {}}

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"

    def declared(self) -> TaskFunction[Any]:
        """The task as `@task` would have declared it."""
        overridden = type(self).run is not Task.run
        code = self.run if overridden else self._fn
        return TaskFunction(code, {**self.options, "name": self.name})  # type: ignore[arg-type]


class Dag:
    """A graph by hand."""

    def __init__(self, name: str = "dag") -> None:
        self.name = text("name", name)
        self.tasks: dict[str, Task] = {}
        self.file = calling_file()

    def add_task(self, task: Task) -> Task:
        """Add a task and return it. Raises DuplicateNameError, DefinitionError."""
        if not isinstance(task, Task):
            raise DefinitionError(
                f"dag {self.name!r} takes Task objects, not {task!r}; write Task(name, function)"
            )
        if self.tasks.setdefault(task.name, task) is not task:
            raise DuplicateNameError(
                f"two tasks of dag {self.name!r} are named {task.name!r}; rename one"
            )
        return task

    def get_task(self, name: str) -> Task:
        """The task of that name. Raises DefinitionError."""
        if name not in self.tasks:
            close = nearest(name, self.tasks)
            hint = f"did you mean {close!r}?" if close else f"it has: {', '.join(self.tasks)}"
            raise DefinitionError(f"dag {self.name!r} has no task {name!r}; {hint}")
        return self.tasks[name]

    def __repr__(self) -> str:
        return f"<Dag {self.name!r}: {len(self.tasks)} tasks>"

    def build(self) -> Graph:
        """The graph that the engine runs. Raises DefinitionError."""
        builder = Builder(Graph(self.name), declares=True)
        nodes = {task: self._declare(builder, task) for task in self.tasks.values()}
        with building(builder):
            for task in nodes:
                self._bind(builder, task, nodes)
        for task, (_, node) in nodes.items():
            for above in task.upstream:
                node.wait_for(self._in(nodes, above, task)[1])
        return builder.dag

    def _declare(self, builder: Builder, task: Task) -> tuple[TaskFunction[Any], Node]:
        declared = task.declared()
        builder.declare(declared)
        return declared, builder.declared[declared]

    def _bind(
        self, builder: Builder, task: Task, nodes: Mapping[Task, tuple[TaskFunction[Any], Node]]
    ) -> None:
        def handle(value: Any) -> Any:
            if isinstance(value, Task):
                return self._in(nodes, value, task)[1].handle
            if isinstance(value, (list, tuple)):
                return type(value)(map(handle, value)) if type(value) in (list, tuple) else value
            if type(value) is dict:
                return {k: handle(v) for k, v in value.items()}
            return value

        declared = nodes[task][0]
        missing = [
            name for name in declared.signature.required[len(task.args) :]
            if name not in task.kwargs
        ]
        if missing:
            raise DefinitionError(
                f"task {task.name!r} needs the argument{'s' if len(missing) > 1 else ''} "
                f"{', '.join(missing)}; give them as args= or kwargs= (a Task stands for its "
                f"result), as in Task({task.name!r}, fn, args=(other_task,))"
            )
        declared(*map(handle, task.args), **{k: handle(v) for k, v in task.kwargs.items()})

    def _in(
        self, nodes: Mapping[Task, tuple[TaskFunction[Any], Node]], wanted: Task, by: Task
    ) -> tuple[TaskFunction[Any], Node]:
        if wanted not in nodes:
            raise DefinitionError(
                f"task {by.name!r} depends on {wanted.name!r}, which is not in dag "
                f"{self.name!r}; add it with dag.add_task(...)"
            )
        return nodes[wanted]


class Scheduler:
    """Runs a `Dag`: `Scheduler(dag, executor_type="thread", max_workers=4).run()`."""

    def __init__(
        self,
        dag: Dag,
        executor_type: str | None = None,
        max_workers: int | None = None,
        **options: Any,
    ) -> None:
        """The options are those of `Workflow.options`. Raises UnknownOptionError."""
        if not isinstance(dag, Dag):
            raise DefinitionError(f"Scheduler takes a Dag, not {dag!r}")
        self.dag = dag
        given = {"executor_type": executor_type, "max_workers": max_workers}
        set_here = {k: v for k, v in given.items() if v is not None}
        self.settings = run_options({**set_here, **options}, "Scheduler")
        self.bus = Bus()

    def on(self, event: type[Notice], handler: Handler) -> Handler:
        """Have `handler(notice)` called when this happens. Raises DefinitionError."""
        self.bus.subscribe(event, handler)
        return handler

    def run(self) -> Run:
        """Run the dag, and return the `Run` when it ended. See `Workflow.run`."""
        dag = self.dag.build()
        from engine.runtime.launch import execute
        from engine.runtime.screens import shown

        def go() -> Run:
            with building(None):
                return execute(
                    dag, name=self.dag.name, file=self.dag.file, parameters={},
                    options=self.settings, handlers=[*bus.handlers, *self.bus.handlers],
                    form="classic",
                )

        return shown(self.settings, go)
