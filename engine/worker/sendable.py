"""Whether tasks can be sent to another process, found out before anything runs.

Rule 1: what cannot be sent is named by its path from the user's code: `cfg.client._lock`.
Rule 2: each task and each argument is tried once, however many calls share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

from engine.core.handles import PLAIN, Handle, substitute
from engine.core.nodes import Node
from engine.core.tasks import TaskSpec
from engine.errors import DefinitionError, UnserialisableError

#: Executors whose workers share the engine's memory.
_HERE = frozenset({"sequential", "thread"})


def check_sendable(nodes: Iterable[Node], executor: str) -> None:
    """Raise DefinitionError for what is headed for another process and cannot be pickled.

    `executor` is that of the run, for tasks which do not name one.
    """
    seen: set[int] = set()
    for node in nodes:
        spec = node.spec
        if (spec.options.executor or executor) in _HERE or spec.kind == "async":
            continue
        if id(spec) not in seen:
            seen.add(id(spec))
            _check_spec(spec)
        for name, value in _arguments(node):
            if type(value) not in PLAIN and type(value) is not Handle and id(value) not in seen:
                seen.add(id(value))
                _check_argument(spec, name, value)


def _arguments(node: Node) -> Iterator[tuple[str, Any]]:
    code = getattr(node.spec.fn, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    for i, value in enumerate(node.args):
        yield (names[i] if i < len(names) else f"argument {i + 1}"), value
    yield from node.kwargs.items()
    if node.mapped is not None:
        for place, values in node.mapped.over.items():
            known = isinstance(place, int) and place < len(names)
            yield (names[int(place)] if known else str(place)), values


def _check_argument(spec: TaskSpec, name: str, value: Any) -> None:
    from engine.worker.codec import encode

    try:
        encode(substitute(value, lambda handle: None), root=name)
    except UnserialisableError as error:
        raise _refusal(spec, error.path, error.why) from error


def _check_spec(spec: TaskSpec) -> None:
    problem = _problem(spec)
    if problem is not None:
        path, culprit, why = _blame(spec.fn, problem)
        kind = type(culprit).__qualname__
        raise _refusal(spec, path or spec.name, f"a {kind} ({why})") from why


def _refusal(spec: TaskSpec, path: str, why: str) -> DefinitionError:
    return DefinitionError(
        f"task {spec.name!r} cannot be sent to another process because of {path}: {why}. Make it "
        "inside the task or in a @resource, or keep the task here with "
        "@task(executor='thread')"
    )


def _problem(value: Any) -> Exception | None:
    from engine.worker.by_value import dumps

    try:
        dumps(value)
    except Exception as error:
        return error
    return None


def _blame(value: Any, why: Exception) -> tuple[str, Any, Exception]:
    """The innermost part that cannot be pickled: its path, itself, and the error."""
    path = ""
    seen: set[int] = set()
    while id(value) not in seen:
        seen.add(id(value))
        for step, part in _parts(value):
            problem = None if type(part) in PLAIN else _problem(part)
            if problem is not None:
                path, value, why = (path + step).lstrip("."), part, problem
                break
    return path, value, why


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, FunctionType):
        yield from ((f".{name}", part) for name, part in _used_by(value))
    elif isinstance(value, MethodType):
        yield ".self", value.__self__
    elif isinstance(value, dict):
        yield from ((f"[{key!r:.80}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{i}]", part) for i, part in enumerate(value))
    elif not isinstance(value, ModuleType):
        slots = [s for c in type(value).__mro__ for s in _slots(c) if hasattr(value, s)]
        for name in (*getattr(value, "__dict__", ()), *slots):
            yield f".{name}", getattr(value, name)


def _slots(cls: type) -> tuple[str, ...]:
    slots = getattr(cls, "__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _used_by(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function refers to: closed-over values, globals, defaults."""
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue  # not assigned yet
    for name in fn.__code__.co_names:
        if name in fn.__globals__:
            yield name, fn.__globals__[name]
    defaults = fn.__defaults__ or ()
    count = fn.__code__.co_argcount
    yield from zip(fn.__code__.co_varnames[count - len(defaults) : count], defaults, strict=True)
    yield from (fn.__kwdefaults__ or {}).items()
