"""Functions and classes as bytes that another process can use, whatever file they come from.

Imported where it is needed only: cloudpickle takes 20 ms to load.

Rule 1: what a fresh process can import travels by name, the rest by value.
Rule 2: a class that travels by value keeps its qualified name (cloudpickle alone drops the
        `f.<locals>.` of it) and is registered on this side, so that values of it that come
        back are rebuilt on the class that the user has.
Rule 3: code that travels by value keeps its file name, for tracebacks to show its lines
        (cloudpickle from 3.1.3 on replaces it).
Rule 4: an annotation that names what only a type checker imports keeps no function here.
"""

from __future__ import annotations

import io
from types import CodeType, FunctionType
from typing import Any, Final

import cloudpickle

from engine.worker import classes
from engine.worker.signatures import late_annotations

#: What cloudpickle puts in the place of file names.
_NO_FILE: Final = "<dynamic-code>"


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self._named: dict[tuple[str, str], type] = {}

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is CodeType:
            make, parts = self.dispatch_table[CodeType](obj)
            return make, tuple(obj.co_filename if part == _NO_FILE else part for part in parts)
        try:
            reduced = super().reducer_override(obj)
        except Exception:
            if type(obj) is not FunctionType or not late_annotations(obj):
                raise
            # That it travels by value was found out before its annotations were asked for.
            reduced = super().reducer_override(_annotated_in_text(obj))
        # A class by value: (maker, its arguments, (attributes, slots), None, None, setter).
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) > 2:
            # Only the first of a name: a frozen dataclass with slots holds the class that it was
            # made from, of the same name, and values must not be rebuilt on that one.
            if self._named.setdefault((obj.__module__, obj.__qualname__), obj) is obj:
                classes.register(obj)
            attributes = reduced[2][0]
            if isinstance(attributes, dict):
                attributes["__qualname__"] = obj.__qualname__
        return reduced


def _annotated_in_text(fn: FunctionType) -> FunctionType:
    """The same function, its annotations as text and not evaluated."""
    copy = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)
    copy.__dict__.update(fn.__dict__)
    copy.__kwdefaults__ = fn.__kwdefaults__
    copy.__qualname__, copy.__module__, copy.__doc__ = fn.__qualname__, fn.__module__, fn.__doc__
    copy.__annotations__ = late_annotations(fn)
    return copy


def dumps(thing: Any) -> bytes:
    """`thing` as bytes; `cloudpickle.loads` or plain `pickle.loads` undo it.

    Raises whatever the thing's own pickling raises, TypeError for the most part.
    """
    with io.BytesIO() as file:
        _Pickler(file).dump(thing)
        return file.getvalue()
