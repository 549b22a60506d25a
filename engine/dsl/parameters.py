"""The parameters of a workflow, validated from its annotations.

Rule 1: what the annotation allows is converted (a date from its text, an enum member from
        its value), and everything else is an error that names the parameter.
Rule 2: handles pass unseen: in a nested workflow a parameter may be a result to come.
"""

from __future__ import annotations

import enum
import inspect
import types
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Union, get_args, get_origin, get_type_hints

from engine.core.handles import handles_in
from engine.dsl.suggest import nearest
from engine.errors import ParameterError
from engine.worker.signatures import raw_annotations, signature_of


def bind(
    fn: Callable[..., Any], name: str, args: tuple[Any, ...], given: Mapping[str, Any]
) -> inspect.BoundArguments:
    """The workflow's arguments, defaults included, converted to their annotations.

    Raises ParameterError.
    """
    signature = signature_of(fn)
    try:
        bound = signature.bind(*args, **given)
    except TypeError as error:
        raise ParameterError(_misfit(signature, name, given, str(error))) from None
    hints = type_hints(fn)
    for parameter, value in bound.arguments.items():
        bound.arguments[parameter] = _checked(signature, hints, name, parameter, value)
    bound.apply_defaults()
    return bound


def _checked(
    signature: inspect.Signature, hints: Mapping[str, Any], name: str, parameter: str, value: Any
) -> Any:
    hint = hints.get(parameter)
    if hint is None:
        return value
    kind = signature.parameters[parameter].kind
    if kind is inspect.Parameter.VAR_POSITIONAL:
        return tuple(convert(v, hint, parameter, name) for v in value)
    if kind is inspect.Parameter.VAR_KEYWORD:
        return {k: convert(v, hint, k, name) for k, v in value.items()}
    return convert(value, hint, parameter, name)


def _misfit(
    signature: inspect.Signature, name: str, given: Mapping[str, Any], why: str
) -> str:
    known = list(signature.parameters)
    for parameter in given:
        if parameter not in known:
            close = nearest(parameter, known)
            hint = f"did you mean {close!r}?" if close else f"it has: {', '.join(known) or 'none'}"
            return f"workflow {name!r} has no parameter {parameter!r}; {hint}"
    written = signature.replace(return_annotation=signature.empty)
    return f"workflow {name!r}: {why}; it is {name}{written}"


def type_hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """Parameter → type, for those whose annotation can be resolved."""
    try:
        hints = get_type_hints(fn)
    except Exception:
        # A name that only a type checker knows, or one local to a function: try each alone.
        hints = _one_by_one(fn)
    hints.pop("return", None)
    return {k: v for k, v in hints.items() if v is not Any}


def _one_by_one(fn: Callable[..., Any]) -> dict[str, Any]:
    closure = inspect.getclosurevars(fn).nonlocals if inspect.isfunction(fn) else {}
    found: dict[str, Any] = {}
    for name, hint in raw_annotations(fn).items():
        try:
            scope = {**getattr(fn, "__globals__", {}), **closure}
            found[name] = eval(hint, scope) if isinstance(hint, str) else hint
        except Exception:
            continue
    return found


# -- conversion -----------------------------------------------------------------------


def convert(value: Any, hint: Any, parameter: str, workflow: str) -> Any:
    """`value` as the type of its annotation. Raises ParameterError."""
    import msgspec

    if handles_in(value):
        return value
    try:
        return msgspec.convert(value, hint, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        enum_member = _member(value, hint)
        if enum_member is not None:
            return enum_member
        raise ParameterError(_message(value, hint, parameter, workflow, str(error))) from None
    except TypeError:
        # msgspec refuses some annotations themselves, such as a union of two custom types.
        return _by_hand(value, hint, parameter, workflow)


def _decode(kind: type, value: Any) -> Any:
    origin = get_origin(kind) or kind
    if isinstance(value, origin):
        return value
    if issubclass(origin, PurePath) and isinstance(value, str):
        return origin(value)
    raise ValueError(f"Expected `{origin.__name__}`, got `{type(value).__name__}`")


def _member(value: Any, hint: Any) -> Any:
    """The enum member that is named, where its value was not given."""
    kinds = (hint, *get_args(hint))
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, enum.Enum) and isinstance(value, str):
            name = value.rpartition(".")[2]
            if name in kind.__members__:
                return kind[name]
    return None


def _by_hand(value: Any, hint: Any, parameter: str, workflow: str) -> Any:
    """Conversion to the annotations that msgspec refuses, as far as that goes."""
    origin, members = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_that_fits(value, hint, parameter, workflow)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enum_member(value, hint, parameter, workflow)
    if origin in (list, set, frozenset) and isinstance(value, (list, tuple, set, frozenset)):
        return origin(convert(v, members[0], parameter, workflow) for v in value)
    return value


def _first_that_fits(value: Any, hint: Any, parameter: str, workflow: str) -> Any:
    members = get_args(hint)
    exact = [m for m in members if isinstance(m, type) and type(value) is m]
    for member in (*exact, *members):
        try:
            return convert(value, member, parameter, workflow)
        except ParameterError:
            continue
    raise ParameterError(_message(value, hint, parameter, workflow, f"Expected `{hint}`"))


def _enum_member(value: Any, hint: type[enum.Enum], parameter: str, workflow: str) -> Any:
    """The member of an enum whose values are of several types."""
    for member in hint:
        if value is member or value == member.value:
            return member
    named = _member(value, hint)
    if named is None:
        why = f"Expected `{hint.__name__}`"
        raise ParameterError(_message(value, hint, parameter, workflow, why))
    return named


def _message(value: Any, hint: Any, parameter: str, workflow: str, why: str) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    options = list(hint.__members__) if isinstance(hint, enum.EnumMeta) else []
    known = f" (one of {', '.join(options)})" if options else ""
    return f"parameter {parameter!r} of workflow {workflow!r} cannot be {shown}: {why}{known}"


# -- from the command line --------------------------------------------------------------


def from_text(fn: Callable[..., Any], name: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Parameters written as text, `-p key=value`, made into values for `.run()`.

    A list is written as JSON or with commas; a dict as JSON. A parameter without annotation
    takes the type of its default. Raises ParameterError.
    """
    signature = signature_of(fn)
    hints = type_hints(fn)
    values: dict[str, Any] = {}
    for parameter, written in given.items():
        known = signature.parameters.get(parameter)
        hint = hints.get(parameter)
        if hint is None and known is not None and known.default not in (known.empty, None):
            hint = type(known.default)
        value = written if hint is None else _read(written, hint)
        values[parameter] = value if hint is None else convert(value, hint, parameter, name)
    return values


_LISTS = (list, tuple, set, frozenset)


def _read(written: str, hint: Any) -> Any:
    kinds = {get_origin(h) or h for h in (hint, *_members(hint))}
    if written == "" and type(None) in kinds:
        return None
    lists = any(isinstance(k, type) and issubclass(k, _LISTS) for k in kinds)
    if written.lstrip()[:1] in ("[", "{") and (lists or any(map(_has_parts, kinds))):
        import json

        try:
            return json.loads(written)
        except ValueError:
            pass
    return [part.strip() for part in written.split(",") if part.strip()] if lists else written


def _has_parts(kind: Any) -> bool:
    """True of a dict, a dataclass, a typed dict or a msgspec struct."""
    return isinstance(kind, type) and (
        issubclass(kind, Mapping) or hasattr(kind, "__dataclass_fields__")
        or hasattr(kind, "__struct_fields__") or hasattr(kind, "__required_keys__")
    )


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()
