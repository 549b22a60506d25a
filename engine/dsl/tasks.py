"""`@task`: a function, or a class with `run()`, that becomes a node where it is called.

Rule 1: a `TaskFunction` is never changed after it was made; `.options()` makes another one.
Rule 2: it pickles as its bare function and its options; neither a workflow that it was
        called in nor a handle goes along.
Rule 3: a call while a workflow is built is on the path of graphs of a million nodes: one
        look at each argument, no binding, no copies.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NoReturn, ParamSpec, overload

from engine.core.handles import PLAIN, Handle, flatten, handles_in
from engine.core.nodes import Node
from engine.core.tasks import TaskSpec
from engine.dsl.building import BUILDER, Builder, active
from engine.dsl.mapping import Partial
from engine.dsl.options import check_names, condition, task_options, text
from engine.dsl.signature import Signature
from engine.errors import DefinitionError, HandleError
from engine.worker.class_tasks import ClassTask
from engine.worker.context import HERE
from engine.worker.resources import call_with_resources

P = ParamSpec("P")


class TaskFunction(Generic[P]):
    """A declared task. Called in a workflow it makes a node; elsewhere it runs its function."""

    def __init__(
        self,
        code: Callable[..., Any] | type,
        given: Mapping[str, Any],
        derived_from: TaskFunction[P] | None = None,
    ) -> None:
        self.code = code
        """The function or class that was decorated."""
        self.given = given
        """The options as they were written."""
        self.root: TaskFunction[P] = derived_from.root if derived_from else self
        """The task as it was declared, from which this one came by `.options()`."""
        self.namer: TaskFunction[P] = self
        """The task that brought the name."""
        if derived_from is not None and given.get("name") == derived_from.given.get("name"):
            self.namer = derived_from.namer
        self.when = condition("when", given.get("when"))
        self.signature: Signature = derived_from.signature if derived_from else _signature(code)
        self.spec = _spec(code, given, self.signature)
        self._least, self._most = self._fast_range()
        self.__name__ = getattr(code, "__name__", self.spec.name)
        self.__qualname__ = getattr(code, "__qualname__", self.__name__)
        self.__module__ = getattr(code, "__module__", __name__)
        self.__doc__ = getattr(code, "__doc__", None)
        self.__wrapped__ = code

    def _fast_range(self) -> tuple[int, float]:
        """How many positional arguments make a call that needs no further look."""
        looks = self.spec.named or self.when is not None or self.spec.resources
        return (1, 0) if looks else (self.signature.least, self.signature.most)

    def __repr__(self) -> str:
        return f"<task {self.spec.name}{self.signature.text}>"

    def __getstate__(self) -> tuple[Any, dict[str, Any]]:
        return self.code, {k: v for k, v in self.given.items() if k != "when"}

    def __setstate__(self, state: tuple[Any, dict[str, Any]]) -> None:
        TaskFunction.__init__(self, *state)

    # -- calls -------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """In a workflow: a handle on the result to come. Elsewhere: the result.

        Raises DefinitionError in a workflow if the arguments do not fit.
        """
        builder = BUILDER.get()
        if builder is None or HERE.get() is not builder.attempt:
            return self._run_here(args, kwargs)
        refs: Sequence[Handle] = ()
        handles = 0
        for arg in args:
            kind = type(arg)
            if kind is Handle:
                handles += 1
            elif kind not in PLAIN:
                handles = -1
                break
        if handles:
            refs = args if handles == len(args) else [  # type: ignore[assignment]
                ref for arg in args for ref in _look_into(self, arg)]
        if kwargs or builder.unbound or not self._least <= len(args) <= self._most:
            return self._call_checked(builder, args, kwargs, [*refs])
        return Handle(builder.dag.call(self.spec, args, refs, builder.group))

    def _call_checked(
        self, builder: Builder, args: tuple[Any, ...], kwargs: dict[str, Any], refs: list[Handle]
    ) -> Handle:
        for arg in kwargs.values():
            refs += _look_into(self, arg)
        self.signature.check(self.spec.name, len(args), kwargs)
        if self.when is not None:
            refs += handles_in(self.when)
        return builder.add(self._without_given_resources(len(args), kwargs), args, kwargs, refs)

    def _without_given_resources(self, count: int, kwargs: Mapping[str, Any]) -> TaskFunction[P]:
        """This task, minus the resources for which the call brings a value of its own."""
        passed = {*kwargs, *self.signature.positional[:count]} & set(self.spec.resources)
        if not passed:
            return self
        other = TaskFunction(self.code, self.given, self)
        left = {k: v for k, v in self.spec.resources.items() if k not in passed}
        other.spec = _spec(self.code, self.given, self.signature, left)
        return other

    def _run_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for arg in (*args, *kwargs.values()):
            if type(arg) is Handle:
                raise HandleError(
                    f"{self.spec.name!r} was called outside the workflow with {arg!r}, which is a "
                    "result to come; call it inside the workflow"
                )
        if not self.spec.resources:
            return self.spec.fn(*args, **kwargs)
        passed = {*kwargs, *self.signature.positional[: len(args)]}
        wanted = {k: v for k, v in self.spec.resources.items() if k not in passed}
        return call_with_resources(self.spec.fn, wanted, args, kwargs)

    def map(
        self,
        *args: Any,
        key: Callable[..., str] | None = None,
        barrier: bool = False,
        **kwargs: Any,
    ) -> Any:
        """One task run per item of the arguments, which are zipped; the results as a list.

        `key` makes an item's name from its arguments; `barrier` waits for all items of a
        mapped task above, instead of going item by item. A parameter of the task that is
        called `key` or `barrier` is mapped by position.
        """
        return Partial(self, (), {}).map(*args, key=key, barrier=barrier, **kwargs)

    def partial(self, *args: Any, **kwargs: Any) -> Partial:
        """The task with some arguments fixed: `task.partial(k=v).map(xs)`."""
        return Partial(self, args, kwargs)

    def options(self, **options: Any) -> TaskFunction[P]:
        """The task with other options, for the calls made with what is returned.

        Raises UnknownOptionError, DefinitionError.
        """
        unset = {k for k, v in options.items() if v is None}
        kept = {k: v for k, v in self.given.items() if k not in unset}
        return TaskFunction(self.code, {**kept, **check_names(options, "task.options()")}, self)

    # -- order -------------------------------------------------------------------------

    @property
    def node(self) -> Node:
        """The task's one node in the workflow that is being built."""
        builder = active()
        if builder is None:
            raise DefinitionError(
                f"task {self.spec.name!r} can be ordered only while a workflow is built"
            )
        return builder.node_of(self)

    def after(self, *others: Any) -> TaskFunction[P]:
        """Start only when the others have ended; returns itself."""
        self.node.add_dependency(*flatten(others))
        return self

    def __rshift__(self, other: Any) -> Any:
        for target in flatten([other]):
            target.node.wait_for(self.node)
        return other

    def __rrshift__(self, other: Any) -> TaskFunction[P]:
        return self.after(other)

    def __getitem__(self, key: Any) -> NoReturn:
        raise HandleError(
            f"{self.spec.name!r} is the task, not its result; call it first: "
            f"{self.spec.name}(...)[{key!r}]"
        )


def _look_into(task: TaskFunction[Any], arg: Any) -> list[Handle]:
    if isinstance(arg, TaskFunction):
        raise HandleError(
            f"{task.spec.name!r} was given the task {arg.spec.name!r} itself; to hand on its "
            f"result, call it: {arg.spec.name}(...); to hand on the task, quote({arg.spec.name})"
        )
    return handles_in(arg)


def _signature(code: Any) -> Signature:
    return Signature(_called(code), skip_self=isinstance(code, type))


def _spec(
    code: Any,
    given: Mapping[str, Any],
    signature: Signature,
    resources: Mapping[str, Any] | None = None,
) -> TaskSpec:
    named = "name" in given
    return TaskSpec(
        name=text("name", given["name"]) if named else _name_of(code),
        fn=ClassTask(code) if isinstance(code, type) else code,
        options=task_options(given),
        kind="async" if inspect.iscoroutinefunction(_called(code)) else "sync",
        source=code if isinstance(code, type) else None,
        resources=signature.resources if resources is None else resources,
        named=named,
    )


def _called(code: Any) -> Any:
    """The function that gets a call's arguments."""
    return getattr(code, "run") if isinstance(code, type) else code  # noqa: B009 - any class


def _name_of(code: Any) -> str:
    inner = getattr(code, "func", code)
    name = str(getattr(inner, "__name__", type(inner).__name__))
    return "lambda" if name == "<lambda>" else name


def _declare(code: Any, options: Mapping[str, Any]) -> TaskFunction[Any]:
    if isinstance(code, TaskFunction):
        return code.options(**options)
    if isinstance(code, staticmethod):
        code = code.__func__
    _check_code(code)
    declared: TaskFunction[Any] = TaskFunction(code, check_names(options))
    builder = active()
    if builder is not None and builder.declares:
        builder.declare(declared)
    return declared


def _check_code(code: Any) -> None:
    if isinstance(code, str):
        raise DefinitionError(f"a task's name is an option: write @task(name={code!r})")
    if isinstance(code, type):
        _check_class(code)
    elif not callable(code):
        raise DefinitionError(f"a task is a function or a class with run(), not {code!r}")
    elif inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise DefinitionError(
            f"task {code.__name__!r} is a generator, whose result cannot be stored; "
            "return a list instead of using yield"
        )


def _check_class(code: Any) -> None:
    if not callable(getattr(code, "run", None)):
        raise DefinitionError(f"class {code.__name__!r} needs a method run() to be a task")
    complaint = Signature(code).complaint(0, ())
    if complaint:
        raise DefinitionError(
            f"class {code.__name__!r} {complaint}, but a task's class is constructed without "
            "arguments for each attempt; take them in run(), which gets those of the call"
        )


@overload
def task(code: Callable[P, Any], /, **options: Any) -> TaskFunction[P]: ...
@overload
def task(**options: Any) -> Callable[[Callable[P, Any]], TaskFunction[P]]: ...
def task(code: Any = None, /, **options: Any) -> Any:
    """Declare a task: `@task`, or `@task(retries=3)`.

    Options: name, retries, retry_delay, retry_backoff, retry_jitter, max_retry_delay,
    retry_on, timeout, deadline, executor, limits, priority, trigger_rule, when, cache,
    cache_key, persist, outputs, on_interrupt, version, tags. Times in seconds.
    Raises UnknownOptionError, DefinitionError.
    """
    if code is not None:
        return _declare(code, options)
    check_names(options)
    return lambda code: _declare(code, options)
