"""Where a task's code is: for an editor to open, and a person to read.

Rule 1: what is noted when the graph is described is a file, a line and a name; the text is read
        from the file when somebody looks, since it is the file as it is now that they edit.
Rule 2: a function that has moved within its file is found again by its name.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.core.tasks import TaskSpec
from engine.state import source
from engine.state.fingerprints import bare, callable_code

#: Bytes of a source file that is looked into.
LARGEST_FILE = 4 << 20

_Def = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Place(NamedTuple):
    """A task's code, as its file has it now."""

    file: str
    line: int
    """From 1."""
    source: str
    """The whole definition, its decorators included; empty if it cannot be found."""


def place_of(spec: TaskSpec) -> tuple[str, int, str]:
    """(file, line, own name) of a task's function or class; empty for a command."""
    thing: Any = bare(spec.code)
    if isinstance(thing, type):
        module = sys.modules.get(thing.__module__)
        file = source.class_file(thing, vars(module) if module is not None else {})
        lines = [code.co_firstlineno for code in source.written_codes(thing)]
        line = vars(thing).get("__firstlineno__") or min(lines, default=1)
        return str(Path(file).resolve()) if file else "", line if file else 0, thing.__name__
    code = callable_code(getattr(thing, "__func__", thing))
    if code is None or code.co_filename.startswith("<"):
        return "", 0, ""
    return str(Path(code.co_filename).resolve()), code.co_firstlineno, code.co_name


def find_place(file: str, line: int, name: str) -> Place | None:
    """The definition of that name nearest to that line of a file; None without a file."""
    if not file:
        return None
    try:
        path = Path(file)
        # A run from elsewhere may name a device, or a pipe that nobody writes to.
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return Place(file, line, "")
        text = path.read_text("utf-8", "replace")
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return Place(file, line, "")
    found = min(_named(tree, name), key=lambda d: abs(_top(d) - line), default=None)
    if found is None:
        return Place(file, line, "")
    lines = text.splitlines()[_top(found) - 1:found.end_lineno]
    return Place(file, found.lineno, "\n".join(lines))


def _named(tree: ast.AST, name: str) -> Iterator[_Def]:
    return (n for n in ast.walk(tree) if isinstance(n, _Def) and n.name == name)


def _top(node: _Def) -> int:
    return min([node.lineno, *(d.lineno for d in node.decorator_list)])
