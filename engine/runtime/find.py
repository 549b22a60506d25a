"""Finding the workflows in a directory from the source alone; no file of the user's is run.

Rule 1: what cannot be read or parsed is passed over in silence: this is a list to choose
        from, and loading the file tells what is wrong with it.
Rule 2: a guarded part (`if __name__ == "__main__":`) is not looked into, as
        `flowforge run` does not run it.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

_ENGINE = __name__.partition(".")[0]

#: The name in the engine that makes a workflow of each form.
_MAKERS = {"workflow": "workflow", "Dag": "classic"}

#: Directories that hold no flows of the user's own.
_PASSED_OVER = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "env", "build",
                          "dist"})

#: A launcher must open at once: no deeper, no more files, no larger ones (bytes) than this.
MAX_DEPTH = 4
MAX_FILES = 2_000
MAX_SIZE = 1_000_000

Form = Literal["function", "block", "classic"]


class Found(NamedTuple):
    """A workflow in a file."""

    file: Path
    name: str
    form: Form
    parameters: tuple[str, ...] = ()
    """Of a function, as they are written: `path: str`, `n: int = 10`."""


def find_workflows(directory: str | Path) -> list[Found]:
    """The workflows defined in the Python files under a directory, by file and line."""
    found: list[Found] = []
    for count, file in enumerate(_python_files(Path(directory))):
        if count >= MAX_FILES:
            break
        found += workflows_of_file(file)
    return found


def workflows_of_file(file: Path) -> list[Found]:
    """The workflows that one file defines at its top level; none if it cannot be parsed."""
    try:
        if file.stat().st_size > MAX_SIZE:
            return []
        data = file.read_bytes()
        # Most files never mention the engine; parsing is a hundred times dearer than a search.
        if _ENGINE.encode() not in data:
            return []
        tree = ast.parse(data)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [Found(file, *workflow) for workflow in _Reader(tree).workflows()]


def _python_files(directory: Path) -> Iterator[Path]:
    top = len(directory.parts)
    for here, inner, names in os.walk(directory):
        at = Path(here)
        deeper = len(at.parts) - top < MAX_DEPTH
        inner[:] = sorted(d for d in inner if deeper and _is_worth_it(at / d))
        for name in sorted(names):
            if name.endswith(".py"):
                yield at / name


def _is_worth_it(directory: Path) -> bool:
    name = directory.name
    return not (
        name.startswith(".") or name in _PASSED_OVER or (directory / "pyvenv.cfg").exists()
    )


class _Reader:
    """Reads one file's top level."""

    def __init__(self, tree: ast.Module) -> None:
        self.statements = list(_top_level(tree))
        self.makers: dict[str, str] = {}
        """What the file calls them → `workflow` or `classic`; dotted where it imports a module."""
        for statement in self.statements:
            self._imports(statement)

    def workflows(self) -> Iterator[tuple[str, Form, tuple[str, ...]]]:
        """(name, form, parameters) in order of definition."""
        for s in self.statements:
            if isinstance(s, ast.FunctionDef):
                if any(self._maker(d) == "workflow" for d in s.decorator_list):
                    given = [_given_name(d) for d in s.decorator_list
                             if self._maker(d) == "workflow"]
                    yield given[0] or s.name, "function", _parameters(s.args)
            elif isinstance(s, ast.With):
                yield from self._blocks(s)
            elif isinstance(s, ast.Assign) and isinstance(s.value, ast.Call):
                form = self._maker(s.value)
                target = s.targets[0]
                if form is not None and isinstance(target, ast.Name):
                    yield (_given_name(s.value) or target.id,
                           "classic" if form == "classic" else "block", ())

    def _blocks(self, statement: ast.With) -> Iterator[tuple[str, Form, tuple[str, ...]]]:
        for item in statement.items:
            if self._maker(item.context_expr) == "workflow":
                variable = item.optional_vars
                name = variable.id if isinstance(variable, ast.Name) else "workflow"
                yield _given_name(item.context_expr) or name, "block", ()

    def _imports(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.ImportFrom) and not statement.level:
            if (statement.module or "").partition(".")[0] != _ENGINE:
                return
            for alias in statement.names:
                if alias.name in _MAKERS:
                    self.makers[alias.asname or alias.name] = _MAKERS[alias.name]
                elif alias.name == "dsl":
                    self._module(alias.asname or "dsl")
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                if alias.name.partition(".")[0] == _ENGINE:
                    self._module(alias.asname or alias.name)
                    if alias.asname is None:
                        self._module(_ENGINE)

    def _module(self, name: str) -> None:
        self.makers.update({f"{name}.{maker}": form for maker, form in _MAKERS.items()})

    def _maker(self, node: ast.expr) -> str | None:
        """Which maker an expression names or calls."""
        at = node.func if isinstance(node, ast.Call) else node
        if not isinstance(at, (ast.Name, ast.Attribute)):
            return None
        return self.makers.get(ast.unparse(at))


def _top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run when the file is loaded, those in `try` and open `if`s included."""
    todo = list(reversed(tree.body))
    while todo:
        s = todo.pop()
        yield s
        if isinstance(s, ast.If) and not _is_guard(s.test):
            todo.extend(reversed([*s.body, *s.orelse]))
        elif isinstance(s, ast.Try):
            todo.extend(reversed([*s.body, *s.orelse, *s.finalbody]))


def _is_guard(test: ast.expr) -> bool:
    return any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(test))


def _parameters(arguments: ast.arguments) -> tuple[str, ...]:
    """Those that can be given by name, as they are written."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + [*arguments.defaults]
    pairs = [*zip(plain, defaults, strict=True),
             *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return tuple(_parameter(*pair) for pair in pairs)


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(argument)
    return text if default is None else f"{text} = {ast.unparse(default)}"


def _given_name(node: ast.expr) -> str:
    """The text given as a maker's first argument or as `name=`; empty if none."""
    if not isinstance(node, ast.Call):
        return ""
    named = [k.value for k in node.keywords if k.arg == "name"]
    for value in [*node.args[:1], *named]:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    return ""
