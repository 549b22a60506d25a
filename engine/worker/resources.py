"""Resources: what a task needs open while it runs, and nobody should forget to close.

    @resource
    def database():
        connection = connect()
        yield connection
        connection.close()

    @task
    def load(rows: list, db=database): ...

Rule 1: a resource is opened for an attempt, or once for a worker, and closed whatever
        happens: failure, timeout, cancellation.
Rule 2: closing never changes what happened. What follows a generator's yield runs after
        success and failure alike; a context manager sees the task's exception (to roll
        back, say) but cannot swallow it; trouble in closing after a failure is a note on it.
Rule 3: a resource may use others as the defaults of its own parameters. One of worker
        scope cannot use one of task scope, which would be closed under its feet.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, overload

from engine.errors import DefinitionError
from engine.worker.signatures import signature_of

Scope = Literal["task", "worker"]
_numbers = itertools.count(1)


class ResourceDef:
    """A declared resource. Name it as the default of a task's parameter to have it opened."""

    def __init__(self, fn: Callable[..., Any], scope: Scope = "task") -> None:
        self.fn = fn
        self.scope: Scope = scope
        self.name = str(getattr(fn, "__name__", type(fn).__name__))
        self.key = f"{getattr(fn, '__module__', '')}:{self.name}#{next(_numbers)}"
        """Tells it apart from others. Goes along when it is pickled, so that a worker process
        knows it again in every task that is sent there."""
        self.needs = _needs(fn)
        """Parameter → resource that this one uses."""
        self.__doc__ = getattr(fn, "__doc__", None)
        self._check()

    def _check(self) -> None:
        if self.scope not in ("task", "worker"):
            raise DefinitionError(
                f"resource {self.name!r} has scope {self.scope!r}; it must be 'task' or 'worker'"
            )
        if inspect.isasyncgenfunction(self.fn) or inspect.iscoroutinefunction(self.fn):
            raise DefinitionError(
                f"resource {self.name!r} is async; write a plain generator, "
                "and open what needs a running loop inside the task"
            )
        for need in self.needs.values():
            if self.scope == "worker" and need.scope == "task":
                raise DefinitionError(
                    f"resource {self.name!r} lives as long as its worker, but uses {need.name!r}, "
                    f"which is closed after each task; give {need.name!r} scope='worker' too"
                )

    def __repr__(self) -> str:
        return f"<resource {self.name}>"

    def __call__(self) -> Any:
        """Open it by hand: `with database() as db:`, with everything that it uses."""
        return _by_hand(self)


def _needs(fn: Callable[..., Any]) -> dict[str, ResourceDef]:
    try:
        parameters = signature_of(fn).parameters.values()
    except (ValueError, TypeError):
        return {}
    return {p.name: p.default for p in parameters if isinstance(p.default, ResourceDef)}


# Typed as Any: it stands as the default of a parameter whose type is that of the opened value.
@overload
def resource(fn: Callable[..., Any], /) -> Any: ...
@overload
def resource(*, scope: Scope = "task") -> Callable[[Callable[..., Any]], Any]: ...
def resource(fn: Any = None, /, *, scope: Scope = "task") -> Any:
    """Declare a resource from a generator function that yields once.

    A function that returns a context manager, or just a value, will do as well.
    `scope`: "task" opens it for each attempt, "worker" once in each worker.
    Raises DefinitionError.
    """
    if fn is not None:
        return ResourceDef(fn, scope)
    return lambda fn: ResourceDef(fn, scope)


# -- opening and closing ----------------------------------------------------------------


class _Open:
    """Opened resources, closed in reverse order."""

    __slots__ = ("closers", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.closers: list[tuple[str, Callable[[BaseException | None], None]]] = []

    def close(self, failure: BaseException | None) -> None:
        """Close all, whatever goes wrong; raise the first trouble if there was no failure."""
        trouble = failure
        while self.closers:
            name, closer = self.closers.pop()
            try:
                closer(failure)
            except BaseException as error:
                if trouble is None:
                    trouble = error
                elif error is not trouble:
                    trouble.add_note(f"closing resource {name!r} failed as well: {error!r}")
        self.values.clear()
        if trouble is not None and trouble is not failure:
            raise trouble


class WorkerResources:
    """The resources of worker scope that one worker has open. Used by one thread at a time."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = _Open()

    def close(self) -> None:
        """Close them, when the worker ends. Raises the first thing that goes wrong."""
        self.open.close(None)


@contextmanager
def opened(
    resources: Mapping[str, ResourceDef], cache: WorkerResources
) -> Iterator[dict[str, Any]]:
    """Open resources for one attempt; yields parameter → value; closes those of task scope.

    Raises what a resource raises on opening, or, after a success, on closing.
    """
    mine = _Open()
    try:
        yield {name: _value(wanted, mine, cache.open) for name, wanted in resources.items()}
    except BaseException as failure:
        mine.close(failure)
        raise
    mine.close(None)


def _value(wanted: ResourceDef, mine: _Open, shared: _Open) -> Any:
    place = shared if wanted.scope == "worker" else mine
    if wanted.key not in place.values:
        needs = {name: _value(need, mine, shared) for name, need in wanted.needs.items()}
        place.values[wanted.key] = _open(wanted, needs, place)
    return place.values[wanted.key]


def _open(wanted: ResourceDef, needs: dict[str, Any], place: _Open) -> Any:
    made = wanted.fn(**needs)
    if inspect.isgenerator(made):
        try:
            value = next(made)
        except StopIteration:
            raise DefinitionError(f"resource {wanted.name!r} did not yield a value") from None
        place.closers.append((wanted.name, _finish(wanted.name, made)))
        return value
    if hasattr(type(made), "__enter__") and hasattr(type(made), "__exit__"):
        value = made.__enter__()
        place.closers.append((wanted.name, _leave(made)))
        return value
    return made


def _finish(name: str, generator: Any) -> Callable[[BaseException | None], None]:
    def close(failure: BaseException | None) -> None:
        try:
            # As with a pytest fixture, what follows the yield runs after a failure too, with
            # no try/finally around it; who wants to see the failure returns a context manager.
            next(generator)
        except StopIteration:
            return
        generator.close()
        raise DefinitionError(f"resource {name!r} yields more than once; it must yield one value")

    return close


def _leave(manager: Any) -> Callable[[BaseException | None], None]:
    def close(failure: BaseException | None) -> None:
        if failure is None:
            manager.__exit__(None, None, None)
        else:
            manager.__exit__(type(failure), failure, failure.__traceback__)

    return close


# -- outside a run ------------------------------------------------------------------------


@contextmanager
def _by_hand(wanted: ResourceDef) -> Iterator[Any]:
    with _for_one_call({"it": wanted}) as values:
        yield values["it"]


@contextmanager
def _for_one_call(resources: Mapping[str, ResourceDef]) -> Iterator[dict[str, Any]]:
    cache = WorkerResources()
    try:
        with opened(resources, cache) as values:
            yield values
    except BaseException as failure:
        cache.open.close(failure)
        raise
    cache.close()


def call_with_resources(
    fn: Callable[..., Any],
    resources: Mapping[str, ResourceDef],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call a task's function outside a run, with resources open for this one call.

    For an async function: the coroutine, which opens them when it is awaited.
    """
    if inspect.iscoroutinefunction(fn):
        return _await_with_resources(fn, resources, args, kwargs)
    with _for_one_call(resources) as values:
        return fn(*args, **kwargs, **values)


async def _await_with_resources(
    fn: Callable[..., Any],
    resources: Mapping[str, ResourceDef],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    with _for_one_call(resources) as values:
        return await fn(*args, **kwargs, **values)
