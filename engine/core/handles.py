"""Handles: what a task call returns while a workflow is being built.

A handle stands for a value that does not exist yet. It may be passed on, put into
containers, and selected from; anything that would need the value now raises a
`HandleError` that names the construct which does work, and never does something silent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from operator import is_
from typing import TYPE_CHECKING, Any, NoReturn

from engine.errors import HandleError

if TYPE_CHECKING:
    from engine.core.nodes import Node

Step = tuple[str, Any]
"""One selection from a result: ("item", key) or ("attr", name)."""


def _refuse(what: str, instead: str) -> Callable[..., NoReturn]:
    def method(self: Handle, *_: object) -> NoReturn:
        raise HandleError(
            f"the result of {self.node.name!r} does not exist yet, so it cannot be {what} while "
            f"the workflow is being built; {instead}"
        )

    return method


_COMPUTE = "do it inside a task"
_LOOP = "map over it instead: other_task.map(handle); for a fixed number, @task(outputs=N)"


class Handle:
    """The future result of one node, or a part of it."""

    __slots__ = ("node", "path")

    def __init__(self, node: Node, path: tuple[Step, ...] = ()) -> None:
        self.node = node
        self.path = path

    def __repr__(self) -> str:
        steps = "".join(f"[{v!r}]" if kind == "item" else f".{v}" for kind, v in self.path)
        return f"<Handle {self.node.name}{steps}>"

    # -- selection -------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Handle:
        """A part of the result: `h["k"]`, `h[0]`."""
        return self._part("item", key)

    def attr(self, name: str) -> Handle:
        """An attribute of the result: `h.attr("total")`."""
        return self._part("attr", name)

    def _part(self, kind: str, key: Any) -> Handle:
        self.node.dag.parts = True
        return Handle(self.node, (*self.path, (kind, key)))

    def __getattr__(self, name: str) -> NoReturn:
        hint = "" if name.startswith("_") else (
            f"; the result itself does not exist yet: for an attribute of it write "
            f".attr({name!r}), and call its methods inside a task"
        )
        raise AttributeError(f"a handle has no attribute {name!r}{hint}")

    def select(self, value: Any) -> Any:
        """Follow this handle's path into the node's real result."""
        for kind, key in self.path:
            value = value[key] if kind == "item" else getattr(value, key)
        return value

    def __iter__(self) -> Iterator[Handle]:
        outputs = self.node.spec.options.outputs
        if outputs is None or self.path or self.node.mapped is not None:
            _refuse("iterated over", _LOOP)(self)
        return iter([self[i] for i in range(outputs)])

    # -- order -------------------------------------------------------------------------

    def after(self, *others: Any) -> Handle:
        """Start only when the others have ended (by this node's trigger rule); returns itself."""
        for other in flatten(others):
            self.node.wait_for(other.node)
        return self

    def __rshift__(self, other: Any) -> Any:
        """`a >> b`: b after a; returns b, so that chains read from left to right."""
        for target in flatten([other]):
            target.node.wait_for(self.node)
        return other

    def __rrshift__(self, other: Any) -> Handle:
        return self.after(other)

    # -- everything that needs the value now ------------------------------------------------

    __bool__ = _refuse("tested", "use when=handle on the task that depends on it")
    __len__ = _refuse("measured", _LOOP)
    __contains__ = _refuse("searched", _COMPUTE)
    __call__ = _refuse("called", _COMPUTE)
    __format__ = _refuse("formatted", 'pass it as an argument, or shell(["cmd", handle])')
    __str__ = _refuse("made a string", 'pass it as an argument, or shell(["cmd", handle])')
    __int__ = __float__ = __index__ = _refuse("made a number", _COMPUTE)
    __lt__ = __le__ = __gt__ = __ge__ = _refuse("compared", _COMPUTE)
    __eq__ = _refuse("compared", _COMPUTE)
    __ne__ = _refuse("compared", _COMPUTE)
    __hash__ = object.__hash__
    __add__ = __radd__ = __sub__ = __rsub__ = _refuse("computed with", _COMPUTE)
    __mul__ = __rmul__ = __matmul__ = __truediv__ = __rtruediv__ = __add__
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __add__
    __neg__ = __abs__ = __and__ = __or__ = __xor__ = __add__


class Quote:
    """A value to be passed as it is, handles in it included."""

    __slots__ = ("value",)
    made = False
    """True once any was made: until then no argument needs to be searched for them."""

    def __init__(self, value: Any) -> None:
        self.value = value
        Quote.made = True


def quote(value: Any) -> Quote:
    """Pass `value` through untouched: it is not searched for handles, and not copied."""
    return Quote(value)


def flatten(things: Any) -> list[Any]:
    """The things in nested lists and tuples, in order."""
    out: list[Any] = []
    todo = [things]
    while todo:
        thing = todo.pop()
        if isinstance(thing, (list, tuple)):
            todo.extend(reversed(thing))
        else:
            out.append(thing)
    return out


# -- templates: arguments with handles somewhere inside ---------------------------------------

#: Types that cannot hold a handle; the first test on every argument.
PLAIN = frozenset({int, str, float, bool, type(None), bytes, complex, range})

#: For the test whether there is nothing but handles.
_HANDLES = frozenset({Handle})


def handles_in(value: Any) -> list[Handle]:
    """Every handle inside nested lists, tuples, dicts and dataclasses, in order."""
    if type(value) in PLAIN:
        return []
    if type(value) is Handle:
        return [value]
    if type(value) is list and _HANDLES.issuperset(map(type, value)):
        return [*value]
    found: list[Handle] = []
    todo = [value]
    seen: set[int] = set()
    while todo:
        v = todo.pop()
        t = type(v)
        if t in PLAIN:
            continue
        if t is Handle:
            found.append(v)
            continue
        children = _children(v)
        if children is None or id(v) in seen:
            continue
        seen.add(id(v))
        todo.extend(reversed(children))
    return found


def _children(v: Any) -> list[Any] | None:
    if isinstance(v, (list, tuple)):
        return list(v)
    if isinstance(v, dict):
        return [*v.keys(), *v.values()]
    if isinstance(v, (set, frozenset)):
        # A set is ordered by values, which do not exist yet.
        if any(type(item) is Handle for item in v):
            raise HandleError("a set cannot hold the result of a task to come; use a list")
        return None
    if dataclasses.is_dataclass(v) and not isinstance(v, type):
        return [getattr(v, f.name) for f in dataclasses.fields(v) if hasattr(v, f.name)]
    return None


def substitute(value: Any, lookup: Callable[[Handle], Any]) -> Any:
    """A copy of `value` with every handle replaced by `lookup(handle)`.

    Containers without a handle in them are handed on as they are. Dataclasses are rebuilt
    field by field, without `__init__`; named tuples keep their type.
    """
    t = type(value)
    if t in PLAIN:
        return value
    if t is Handle:
        return lookup(value)
    if t is Quote:
        return value.value
    if isinstance(value, (list, tuple)):
        parts = [lookup(v) if type(v) is Handle else substitute(v, lookup) for v in value]
        if all(map(is_, parts, value)):
            return value
        if isinstance(value, list):
            return parts
        return t(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, dict):
        pairs = [(substitute(k, lookup), substitute(v, lookup)) for k, v in value.items()]
        same = all(
            a is k and b is v for (a, b), (k, v) in zip(pairs, value.items(), strict=True)
        )
        return value if same else dict(pairs)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _rebuild(value, lookup)
    return value


def _rebuild(value: Any, lookup: Callable[[Handle], Any]) -> Any:
    names = [f.name for f in dataclasses.fields(value) if hasattr(value, f.name)]
    old = {n: getattr(value, n) for n in names}
    new = {n: substitute(v, lookup) for n, v in old.items()}
    if all(new[n] is old[n] for n in names):
        return value
    copy = object.__new__(type(value))
    slots = [s for c in type(value).__mro__ for s in getattr(c, "__slots__", ())]
    kept = [*getattr(value, "__dict__", ()), *slots]  # in order: `vars` tells it
    for name in kept:
        if name not in ("__dict__", "__weakref__") and hasattr(value, name):
            object.__setattr__(copy, name, new.get(name, getattr(value, name)))
    return copy


class Missing:
    """Stands where a tolerant task would find a value, had the upstream task run made one.

    Falsy; any use other than reading `state`, `reason` and `error`, or showing it, raises.
    """

    __slots__ = ("error", "reason", "state")

    def __init__(self, state: str, reason: str = "", error: str = "") -> None:
        self.state = state
        """The upstream task run's state, by name."""
        self.reason = reason
        """error, timeout, crashed, …; empty where it did not fail."""
        self.error = error
        """The error's type and message; empty where there is none."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"Missing(state={self.state!r}, reason={self.reason!r}, error={self.error!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Missing):
            self._refuse()  # silently unequal to what it would have been
        return repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    def _refuse(self, *_: object) -> NoReturn:
        raise ValueError(
            f"no value here: the upstream task run ended {self.state}"
            f"{f' ({self.error})' if self.error else ''}; test it with `if not value:` first"
        )

    __iter__ = __len__ = __getitem__ = __call__ = __int__ = __float__ = __add__ = __radd__ = _refuse
    __sub__ = __rsub__ = __mul__ = __rmul__ = __lt__ = __gt__ = __le__ = __ge__ = _refuse
    __truediv__ = __contains__ = __index__ = _refuse
