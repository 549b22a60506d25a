"""Names for the user's classes that hold after a restart.

Rule 1: a class is written down as `module:qualname` and looked up again when read; the
        class as loaded now is what values are rebuilt on.
Rule 2: the flow's own module is written `~`, because the same file is `__main__` under
        `python FILE` and a module of another name under `flowforge run FILE`.
Rule 3: a class made inside a function has no address; it is found again once the flow was
        executed and registered it. The latest of a name wins.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

FLOW = "~"
_MAIN = frozenset({"__main__", "__mp_main__"})

_flow_module = "__main__"
_registered: dict[str, type] = {}
_refs: dict[type, str] = {}
_version = 0
_lock = threading.Lock()


def set_flow_module(name: str) -> None:
    """Say which module holds the flow: its classes, like those of `__main__`, belong to `~`."""
    global _flow_module
    with _lock:
        _flow_module = name
        _refs.clear()


def flow_module() -> str:
    """The module that holds the flow."""
    return _flow_module


def version() -> int:
    """Counts up whenever a class is registered under a new name or replaces another."""
    return _version


def is_flow_module(name: str) -> bool:
    """True for the module that is written as `~`."""
    return name == _flow_module or name in _MAIN


def class_ref(cls: type) -> str:
    """The lasting name of a class. Registers it if it could not be imported by that name."""
    ref = _refs.get(cls)
    if ref is None:
        ref = _global_ref(cls.__module__, cls.__qualname__)
        if not importable(ref):
            register(cls)
        _refs[cls] = ref
    return ref


def _global_ref(module: str, qualname: str) -> str:
    return f"{FLOW if is_flow_module(module) else module}:{qualname}"


def importable(ref: str) -> bool:
    """True if a fresh process finds the name by importing a module."""
    return not ref.startswith(FLOW) and "<locals>" not in ref


def register(cls: type) -> None:
    """Make a class known by name. The latest one registered under a name counts."""
    global _version
    ref = _global_ref(cls.__module__, cls.__qualname__)
    with _lock:
        if _registered.get(ref) is not cls:
            _registered[ref] = cls
            _version += 1


def flow_classes() -> list[type]:
    """Classes registered or seen that a fresh process cannot import by name."""
    with _lock:
        return [cls for ref, cls in _registered.items() if not importable(ref)]


def resolve(ref: str) -> type:
    """The class of that name as loaded now. Raises LookupError."""
    found = resolve_global(ref)
    if not isinstance(found, type):
        raise LookupError(f"{ref!r} is no longer a class; rename it back, or run the task again")
    return found


def resolve_global(ref: str) -> Any:
    """Whatever has that name now: the module's own attribute, else what was registered.

    Raises LookupError.
    """
    module, _, qualname = ref.partition(":")
    if "<locals>" not in qualname:
        for owner in _modules(module, ref):
            found = _attribute(owner, qualname)
            if isinstance(found, type) or (found is not None and ref not in _registered):
                return found
    if ref in _registered:
        return _registered[ref]
    raise LookupError(
        f"{_spoken(ref)} does not exist (any more); bring it back, or run the task again"
    )


def global_ref(thing: Any) -> str | None:
    """The lasting name of a module-level function of the flow; None for anything else."""
    module, qualname = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or not is_flow_module(module):
        return None
    found = _attribute(sys.modules.get(module), qualname)
    return _global_ref(module, qualname) if found is thing else None


def _modules(name: str, ref: str) -> list[Any]:
    if name == FLOW:
        loaded = (sys.modules.get(n) for n in dict.fromkeys((_flow_module, "__main__")))
        return [m for m in loaded if m is not None]
    if not all(part.isidentifier() for part in name.split(".")):
        raise LookupError(f"{ref!r} is not the name of a class")
    try:
        return [sys.modules.get(name) or importlib.import_module(name)]
    except Exception as exc:
        if ref in _registered:
            return []
        raise LookupError(
            f"{_spoken(ref)} could not be loaded, because importing {name!r} raised "
            f"{type(exc).__name__}: {exc}"
        ) from exc


def _attribute(owner: Any, qualname: str) -> Any:
    for part in qualname.split("."):
        owner = getattr(owner, part, None)
    return owner


def _spoken(ref: str) -> str:
    module, _, qualname = ref.partition(":")
    return f"{qualname!r} of the flow file" if module == FLOW else f"{module}.{qualname}"
