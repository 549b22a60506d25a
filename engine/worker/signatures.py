"""Reading a function's parameters, whatever its annotations look like."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """The function's signature. Raises ValueError or TypeError if it does not tell.

    From Python 3.14 on, annotations are evaluated when somebody asks for them; one that
    names what only a type checker imports must not keep a task from being declared.
    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(fn, annotation_format=Format.FORWARDREF)
    return inspect.signature(fn)


def raw_annotations(fn: Callable[..., Any]) -> dict[str, Any]:
    """The annotations as they are written, types or text, without resolving any name."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        return get_annotations(fn, format=Format.FORWARDREF)
    return dict(getattr(fn, "__annotations__", {}))


def late_annotations(fn: Callable[..., Any]) -> dict[str, str]:
    """As text, the annotations that cannot be evaluated; empty if they can, as before 3.14."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        try:
            get_annotations(fn)
        except Exception:
            return get_annotations(fn, format=Format.STRING)
    return {}
