"""Which names a piece of source takes from outside itself.

Rule 1: Python's scoping, by the tree: a name bound anywhere in a function is local to all of
        it, a class body's names are not seen by its methods, a comprehension has its own.
Rule 2: names in annotations count: `row: Row` says which class's methods are called.
Rule 3: nothing here recurses.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Import(NamedTuple):
    """An import statement that was met."""

    level: int
    """How many dots stand before the module's name."""
    module: str
    names: tuple[str, ...]
    """What is taken from it; empty for `import module`."""


class Names(NamedTuple):
    """What `names_in` finds."""

    outside: tuple[tuple[str, ...], ...]
    """In order of first mention, dotted names split."""
    imports: tuple[Import, ...]


class _Scope:
    __slots__ = ("bound", "comprehension", "from_module", "is_class", "parent")

    def __init__(
        self, parent: _Scope | None, is_class: bool = False, comprehension: bool = False
    ) -> None:
        self.parent = parent
        self.is_class = is_class
        self.comprehension = comprehension
        self.bound: set[str] = set()
        self.from_module: set[str] = set()

    def resolves(self, name: str) -> bool:
        """True if the name is bound here or further out."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.from_module:
                return False
            if name in scope.bound and (scope is self or not scope.is_class):
                return True
            scope = scope.parent
        return False


def names_in(roots_of: Sequence[ast.AST], *, roots: Mapping[int, Sequence[ast.expr]]) -> Names:
    """The names that the given trees take from outside.

    `roots`: id of an outermost definition → those of its decorators that count. The defaults
    of such a definition are not looked at: they were computed already, and count by value.
    """
    walk = _Walk(roots)
    for node in roots_of:
        walk.todo.append((node, walk.top))
    walk.run()
    free = {chain: None for scope, chain in walk.loads if not scope.resolves(chain[0])}
    return Names(tuple(free), tuple(dict.fromkeys(walk.imports)))


class _Walk:
    """One pass over the trees: bindings and uses, each with its scope."""

    def __init__(self, roots: Mapping[int, Sequence[ast.expr]]) -> None:
        self.roots = roots
        self.top = _Scope(None)
        self.todo: list[tuple[ast.AST, _Scope]] = []
        self.loads: list[tuple[_Scope, tuple[str, ...]]] = []
        self.imports: list[Import] = []

    def run(self) -> None:
        while self.todo:
            node, scope = self.todo.pop()
            if isinstance(node, _FUNCTIONS):
                self._function(node, scope)
            elif isinstance(node, ast.ClassDef):
                self._class(node, scope)
            elif isinstance(node, _COMPREHENSIONS):
                self._comprehension(node, scope)
            elif isinstance(node, (ast.Name, ast.Attribute)):
                self._use(node, scope)
            else:
                _bind(node, scope)
                self._import(node)
                self._push(ast.iter_child_nodes(node), scope)

    def _push(self, nodes: Any, scope: _Scope) -> None:
        # Reversed, so that they are met in the order in which they are written.
        self.todo.extend((n, scope) for n in reversed([*nodes]) if n is not None)

    def _function(self, node: Any, scope: _Scope) -> None:
        inner = _Scope(scope)
        a = node.args
        arguments = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
        inner.bound.update(x.arg for x in arguments if x is not None)
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        outer: list[Any] = []
        if id(node) not in self.roots:
            scope.bound.add(getattr(node, "name", ""))
            outer = [*getattr(node, "decorator_list", ()), *a.defaults, *a.kw_defaults]
        else:
            outer = [*self.roots[id(node)]]
        annotations = [x.annotation for x in arguments if x is not None]
        self._push([*getattr(node, "type_params", ()), *annotations,
                    getattr(node, "returns", None), *body], inner)
        self._push(outer, scope)

    def _class(self, node: ast.ClassDef, scope: _Scope) -> None:
        decorators = self.roots.get(id(node))
        scope.bound.add(node.name)
        around = _Scope(scope)
        around.bound.add("__class__")
        self._push([*getattr(node, "type_params", ()), *node.bases, *node.keywords], around)
        self._push(node.body, _Scope(around, is_class=True))
        self._push(node.decorator_list if decorators is None else decorators, scope)

    def _comprehension(self, node: Any, scope: _Scope) -> None:
        inner = _Scope(scope, comprehension=True)
        first = node.generators[0]
        self._push([first.iter], scope)
        parts = [first.target, *first.ifs, *node.generators[1:]]
        results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._push([*parts, *results], inner)

    def _use(self, node: ast.Name | ast.Attribute, scope: _Scope) -> None:
        chain: list[str] = []
        at: ast.expr = node
        while isinstance(at, ast.Attribute):
            chain.append(at.attr)
            at = at.value
        if not isinstance(at, ast.Name):
            self._push([at], scope)
        elif isinstance(at.ctx, ast.Load):
            self.loads.append((scope, (at.id, *reversed(chain))))
        else:
            scope.bound.add(at.id)

    def _import(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            self.imports += [Import(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            self.imports.append(Import(node.level or 0, node.module or "", names))


def _bind(node: ast.AST, scope: _Scope) -> None:
    """Note the names that a statement binds other than by a plain Name."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        scope.bound.update((a.asname or a.name).partition(".")[0] for a in node.names)
    elif isinstance(node, ast.Global):
        scope.from_module.update(node.names)
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
        if node.name:
            scope.bound.add(node.name)
    elif isinstance(node, ast.MatchMapping):
        if node.rest:
            scope.bound.add(node.rest)
    elif isinstance(node, ast.NamedExpr):
        while scope.comprehension and scope.parent is not None:
            scope = scope.parent
        scope.bound.add(node.target.id)
    elif type(node).__name__ in ("TypeVar", "TypeVarTuple", "ParamSpec"):
        scope.bound.add(getattr(node, "name", ""))
