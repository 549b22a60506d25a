"""A function's or class's own source as a syntax tree, and what can be said of it alone.

Rule 1: the digest is of the tree, written out by this file and not by `ast.dump`, whose text
        differs between Python versions: a field that is empty is left out, so that a version
        which adds one changes nothing.
Rule 2: comments, formatting, docstrings (any string that stands alone as a statement) and
        type comments are not in it. Neither is the function's own name: a renamed function
        is the same code.
Rule 3: without source (typed at a prompt, `exec`) the bytecode without positions takes its
        place; that differs between Python versions, so such a task runs again on another one.
Rule 4: nothing here recurses: a generated sum of 5,000 terms is nested 5,000 deep.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType
from typing import Any

from engine.state.canonical import digest
from engine.state.scopes import Import, Names, names_in

Def = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef

#: Fields that carry no meaning: whether a name is read or written shows from its place.
_IDLE_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What a definition's source says by itself."""

    digest: str
    names: tuple[tuple[str, ...], ...]
    """What it takes from outside, dotted names split: ("helpers", "clean")."""
    imports: tuple[Import, ...]
    """Modules that it imports inside itself."""
    computed: frozenset[str] = frozenset()
    """Parameters whose default is more than a constant."""


# -- finding the definition ------------------------------------------------------------


class _Index:
    """The definitions of one source file."""

    def __init__(self, source: str) -> None:
        self.functions: dict[tuple[str, int], Def] = {}
        self.lambdas: dict[int, list[ast.Lambda]] = {}
        self.classes: dict[str, list[ast.ClassDef]] = {}
        todo: list[tuple[ast.AST, str]] = [(ast.parse(source), "")]
        while todo:
            node, prefix = todo.pop()
            inner = self._note(node, prefix)
            todo.extend((child, inner) for child in ast.iter_child_nodes(node))

    def _note(self, node: ast.AST, prefix: str) -> str:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            line = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            self.functions[node.name, line] = node
            return f"{prefix}{node.name}.<locals>."
        if isinstance(node, ast.Lambda):
            self.lambdas.setdefault(node.lineno, []).append(node)
            return f"{prefix}<lambda>.<locals>."
        if isinstance(node, ast.ClassDef):
            self.classes.setdefault(prefix + node.name, []).append(node)
            return f"{prefix}{node.name}."
        return prefix


@lru_cache(maxsize=8)
def _index(source: str) -> _Index | None:
    try:
        return _Index(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _index_of(filename: str, module: dict[str, Any]) -> _Index | None:
    lines = linecache.getlines(filename, module)
    return _index("".join(lines)) if lines else None


def find_function(code: CodeType, module: dict[str, Any]) -> Def | None:
    """The definition that was compiled to `code`; None without source or if in doubt."""
    index = _index_of(code.co_filename, module)
    if index is None:
        return None
    if code.co_name != "<lambda>":
        return index.functions.get((code.co_name, code.co_firstlineno))
    near = index.lambdas.get(code.co_firstlineno, [])
    if len(near) > 1:
        # Several on a line: by columns, which `python -X no_debug_ranges` leaves out.
        spans = set(code.co_positions())
        near = [n for n in near if _span(n.body) in spans]
    return near[0] if len(near) == 1 else None


def _span(node: ast.expr) -> tuple[int | None, ...]:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def find_class(cls: type, module: dict[str, Any]) -> ast.ClassDef | None:
    """The definition of a class; None without source or if in doubt."""
    index = _index_of(class_file(cls, module), module)
    found = index.classes.get(cls.__qualname__, []) if index is not None else []
    if len(found) > 1:
        lines = {code.co_firstlineno for code in written_codes(cls)}
        first = vars(cls).get("__firstlineno__")  # Python 3.13 and later
        found = [
            n for n in found
            if (any(n.lineno <= line <= (n.end_lineno or 0) for line in lines) if first is None
                else first == min([n.lineno, *(d.lineno for d in n.decorator_list)]))
        ]
    return found[-1] if found else None


def class_file(cls: type, module: dict[str, Any]) -> str:
    """The file that a class was defined in; empty if unknown."""
    written = next(iter(written_codes(cls)), None)
    return written.co_filename if written is not None else str(module.get("__file__") or "")


def written_codes(cls: type) -> list[CodeType]:
    """The code of the methods that are written in the class's body.

    Not what a library made or put around one: the `__repr__` of a data class has the class's
    name, but its code has that of a function in `dataclasses` or, from 3.12 on, `reprlib`.
    """
    return [c for c in method_codes(cls) if c.co_qualname.startswith(f"{cls.__qualname__}.")]


def method_codes(cls: type) -> list[CodeType]:
    """The code of the functions defined directly in a class."""
    own = [m for m in methods(cls) if m.__module__ == cls.__module__]
    return [m.__code__ for m in own if m.__qualname__.startswith(cls.__qualname__)]


def methods(cls: type) -> Iterator[Any]:
    """The functions in a class, taken out of properties, static and class methods."""
    for member in vars(cls).values():
        inner = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
        if hasattr(inner, "__code__"):
            yield inner


# -- saying what it says -------------------------------------------------------------------


def facts_of(node: Def, dropped: Callable[[str], bool]) -> Facts:
    """The facts of a definition. Decorators whose first name is `dropped` are not counted."""
    kept: list[ast.expr] = []
    if not isinstance(node, ast.Lambda):
        kept = [d for d in node.decorator_list if not dropped(_first_name(d))]
    names = names_in([node], roots={id(node): kept})
    return Facts(
        digest(written(node, kept)).hex(), names.outside, names.imports,
        frozenset(_computed_defaults(node)),
    )


def module_facts(source: str) -> tuple[str, Names]:
    """The digest of a whole file, and the names in it. Raises SyntaxError, ValueError."""
    tree = ast.parse(source)
    return digest(written(tree, None)).hex(), names_in([tree], roots={})


def _first_name(node: ast.expr) -> str:
    at: ast.AST = node
    while not isinstance(at, ast.Name):
        at = getattr(at, "func", None) or getattr(at, "value", None) or ast.Name("")
    return at.id


def _computed_defaults(node: Def) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        return
    a = node.args
    plain = [*a.posonlyargs, *a.args]
    pairs = list(zip(reversed(plain), reversed(a.defaults), strict=False))
    pairs += [(k, d) for k, d in zip(a.kwonlyargs, a.kw_defaults, strict=True) if d is not None]
    for arg, default in pairs:
        if not isinstance(default, ast.Constant):
            yield arg.arg


def written(node: ast.AST, decorators: list[ast.expr] | None) -> bytes:
    """A tree as bytes. `decorators`: those of the outermost definition that count."""
    out: list[str] = []
    todo: list[Any] = [node]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            out.append(item)
        elif isinstance(item, ast.Constant):
            out.append(_constant(item.value))
        else:
            outermost = item is node and not isinstance(item, ast.Module)
            todo.append(")")
            for name, value in reversed(list(_fields(item))):
                if outermost and name == "name":
                    continue
                if outermost and name == "decorator_list":
                    value = decorators
                todo.extend(reversed(_field(name, value)))
            todo.append(f"({type(item).__name__}")
    return "".join(out).encode("utf-8", "surrogatepass")


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    for name in node._fields:
        if name in _IDLE_FIELDS:
            continue
        value: Any = getattr(node, name, None)
        if isinstance(node, ast.JoinedStr) and name == "values":
            value = _joined(value)
        elif isinstance(value, list) and name in ("body", "orelse", "finalbody"):
            value = _statements(value)
        yield name, value


def _field(name: str, value: Any) -> list[Any]:
    """What to write for one field: texts, and nodes still to be written."""
    if value is None or value == [] or (isinstance(value, ast.JoinedStr) and not value.values):
        return []
    if isinstance(value, list):
        return [f" {name}[", *(_item(v) for v in value), "]"]
    return [f" {name}=", _item(value)]


def _item(value: Any) -> Any:
    if isinstance(value, ast.AST):
        return value
    return "-" if value is None else f"{value!a} "


def _statements(body: list[Any]) -> list[Any]:
    """Without strings that stand alone; a body that was nothing else is `pass`."""
    kept = [
        s for s in body
        if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)
                and isinstance(s.value.value, str))
    ]
    return kept if kept or not body else [ast.Pass()]


def _joined(parts: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, neighbouring texts as one: versions split them differently."""
    merged: list[ast.expr] = []
    for part in parts:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            if not part.value:
                continue
            last = merged[-1] if merged else None
            if isinstance(last, ast.Constant):
                merged[-1] = ast.Constant(str(last.value) + part.value)
                continue
        merged.append(part)
    return merged


def _constant(value: Any) -> str:
    # hex: int's repr refuses more than 4,300 digits; ascii: repr's idea of a printable
    # character is that of its Unicode version.
    text = hex(value) if type(value) is int else ascii(value)
    return f"{type(value).__name__}:{text} "


# -- without source -------------------------------------------------------------------------


def bytecode_facts(codes: Iterable[CodeType], docstring: str | None = None) -> Facts:
    """The same from compiled code."""
    out: list[str] = []
    names: dict[tuple[str, ...], None] = {}
    todo = list(codes)
    while todo:
        code = todo.pop()
        out.append(f"{code.co_code.hex()} {code.co_argcount} {code.co_kwonlyargcount} ")
        out.append(ascii((code.co_names, code.co_varnames, code.co_freevars)))
        names.update(dict.fromkeys((n,) for n in (*code.co_names, *code.co_freevars)))
        for const in code.co_consts:
            if isinstance(const, CodeType):
                todo.append(const)
            elif const != docstring or docstring is None:
                out.append(_const_text(const))
    return Facts(digest("".join(out).encode()).hex(), tuple(names), ())


def _const_text(const: Any) -> str:
    if isinstance(const, frozenset):  # its order follows the hash seed
        return f"frozenset:{sorted(map(_constant, const))}"
    return _constant(const)
