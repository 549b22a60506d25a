"""`task.map(xs)`: one task run per item of a list known now, or only at run time.

Rule 1: every argument given to `map` is mapped; what stays the same goes into `partial`.
Rule 2: values at hand are listed once, here; handles are left to the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engine.core.handles import Handle, handles_in
from engine.core.nodes import MapInfo
from engine.dsl.building import active
from engine.errors import DefinitionError

if TYPE_CHECKING:
    from engine.dsl.tasks import TaskFunction


class Partial:
    """A task with some of its arguments fixed."""

    __slots__ = ("args", "kwargs", "task")

    def __init__(
        self, task: TaskFunction[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the task with the rest of its arguments."""
        return self.task(*self.args, *args, **{**self.kwargs, **kwargs})

    def partial(self, *args: Any, **kwargs: Any) -> Partial:
        """Fix more arguments."""
        return Partial(self.task, (*self.args, *args), {**self.kwargs, **kwargs})

    def options(self, **options: Any) -> Partial:
        """The same with other options of the task."""
        return Partial(self.task.options(**options), self.args, self.kwargs)

    def map(
        self,
        *args: Any,
        key: Callable[..., str] | None = None,
        barrier: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Map over these arguments, zipped; see `TaskFunction.map`.

        Raises DefinitionError if they cannot be mapped over, or differ in length.
        """
        name = self.task.spec.name
        mapped = {k: _listed(name, k, v) for k, v in self._placed(args, kwargs).items()}
        if not mapped:
            raise DefinitionError(f"{name}.map() was given nothing to map over")
        if key is not None and not callable(key):
            raise DefinitionError(f"{name}.map(key=…) takes a function of an item's arguments")
        _check_lengths(name, mapped)
        builder = active()
        if builder is None:
            return self._map_here(mapped)
        names = [n for n in (*self.kwargs, *mapped) if isinstance(n, str)]
        count = len(self.args) + len(mapped) - sum(isinstance(n, str) for n in mapped)
        self.task.signature.check(name, count, names)
        task = self.task._without_given_resources(count, dict.fromkeys(names))
        refs = handles_in((self.args, self.kwargs, mapped, task.when))
        info = MapInfo(mapped, key, barrier)
        return builder.add(task, self.args, self.kwargs, refs, info)

    def _placed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str | int, Any]:
        """Where each mapped argument goes: a position after the fixed ones, or a name."""
        positional = self.task.signature.positional
        free = [n for n in positional[len(self.args) :] if n not in self.kwargs]
        skips = positional[len(self.args) :][: len(args)] != tuple(free[: len(args)])
        if skips and len(args) > len(free):
            raise DefinitionError(
                f"{self.task.spec.name}.map() was given {len(args)} lists for the "
                f"{len(free)} arguments that partial() left open"
            )
        start = len(self.args)
        placed: dict[str | int, Any] = {
            (free[i] if skips else start + i): arg for i, arg in enumerate(args)
        }
        return placed | dict(kwargs)

    def _map_here(self, mapped: Mapping[str | int, Any]) -> Any:
        """Outside a workflow: the list of results; for an async task something to await."""
        self._refuse_handles(mapped)
        results = [
            self(*(v for k, v in item if isinstance(k, int)),
                 **{k: v for k, v in item if isinstance(k, str)})
            for item in (
                list(zip(mapped, values, strict=True))
                for values in zip(*mapped.values(), strict=True)
            )
        ]
        return _gather(results) if self.task.spec.kind == "async" else results

    def _refuse_handles(self, mapped: Mapping[str | int, Any]) -> None:
        if any(type(v) is Handle for v in mapped.values()):
            raise DefinitionError(
                f"{self.task.spec.name}.map() was called outside the workflow with a result to "
                "come; call it inside the workflow"
            )


async def _gather(awaitables: list[Any]) -> list[Any]:
    import asyncio

    return list(await asyncio.gather(*awaitables))


def _listed(task: str, place: str | int, value: Any) -> Any:
    if type(value) is Handle:
        return value
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        where = f"argument {place + 1}" if isinstance(place, int) else f"{place!r}"
        instead = (
            "its .values() or .items()" if isinstance(value, Mapping) else "a list"
        )
        raise DefinitionError(
            f"{task}.map() cannot map over {where} ({type(value).__name__}); give it {instead}, "
            f"or keep the value the same for all items with {task}.partial(…).map(…)"
        )
    return value if isinstance(value, range) else list(value)


def _check_lengths(task: str, mapped: Mapping[str | int, Any]) -> None:
    lengths = {k: len(v) for k, v in mapped.items() if type(v) is not Handle}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{k}: {n}" for k, n in lengths.items())
        raise DefinitionError(
            f"{task}.map() zips its arguments, which must be of one length ({found})"
        )
