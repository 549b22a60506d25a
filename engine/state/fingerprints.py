"""What a task's code is, as named parts with a short digest each: has it changed, and what of it?

Rule 1: a part per thing that the task uses from the user's own files, however far down: its
        function, helpers, classes, module-level values, and the modules it imports inside
        itself. Installed packages, the standard library and the engine are not looked into.
Rule 2: the same parts on every supported Python version, and for a file run as `__main__` or
        imported as a module.
Rule 3: options count where they change what comes out (trigger rule, outputs, version,
        command), not where they change how it is run (retries, timeout, priority, executor).
Rule 4: computed before anything runs; nothing is imported or executed for it.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from engine.core.tasks import TaskSpec
from engine.state import source
from engine.state.canonical import Canonical, code_name, digest
from engine.state.scopes import Import

Parts = dict[str, str]

FUNCTION = "function"
"""The part that is the task's own function or class."""
COMMAND = "command"
"""The part that is a shell task's command."""

_ENGINE = __name__.partition(".")[0]
_OWN_ROOTS = (
    str(Path(os.__file__).resolve().parent),
    str(Path(__file__).resolve().parents[1]),
)
_INSTALLED = frozenset({"site-packages", "dist-packages"})

#: Longest chain of decorators that is followed inwards.
_MAX_WRAPPERS = 100


def fingerprint(spec: TaskSpec) -> Parts:
    """The parts of one task: `{"function": …, "helper clean": …, "value THRESHOLD": …}`."""
    return Fingerprinter()(spec)


def compare(old: Parts, new: Parts, name: str = "") -> list[str]:
    """What differs, for a person: "code of double changed", "helper clean changed"."""
    reasons: list[str] = []
    if old.get(FUNCTION) != new.get(FUNCTION):
        reasons.append(f"code of {name} changed" if name else "its code changed")
    for part in sorted({*old, *new} - {FUNCTION}):
        if old.get(part) == new.get(part):
            continue
        is_option = part.startswith("option ")
        if is_option or (part in old and part in new):
            reasons.append(f"{part.removeprefix('option ')} changed")
        elif not reasons or FUNCTION not in old:
            # Where its own code changed, what it uses instead needs no telling.
            reasons.append(f"{part} is {'used now' if part in new else 'no longer used'}")
    return reasons


class Fingerprinter:
    """Fingerprints many tasks in one go, each piece of code looked at once."""

    def __init__(self) -> None:
        self._code: dict[int, tuple[Any, Parts]] = {}

    def __call__(self, spec: TaskSpec) -> Parts:
        """The parts of one task."""
        parts = self.of_code(spec.code)
        options = _option_parts(spec)
        return {**parts, **options} if options else parts

    def of_code(self, code: Any) -> Parts:
        """The parts of a function, class or command alone. Treat as read-only."""
        known = self._code.get(id(code))
        if known is None or known[0] is not code:
            known = self._code[id(code)] = (code, _Walk().parts_of(code))
        return known[1]


def _option_parts(spec: TaskSpec) -> Parts:
    o, parts = spec.options, {}
    if o.trigger_rule != "all_success":
        parts["option trigger_rule"] = o.trigger_rule
    if o.outputs is not None:
        parts["option outputs"] = str(o.outputs)
    if o.version is not None:
        parts["option version"] = digest(str(o.version).encode()).hex()
    if spec.kind == "shell":
        parts["option kind"] = spec.kind
    return parts


# -- what belongs to the user --------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def is_user_file(filename: str) -> bool:
    """True for a file that is neither the standard library's, an installed package's nor ours."""
    if not filename or filename.startswith("<"):
        return False
    path = os.path.realpath(filename)
    if not _INSTALLED.isdisjoint(Path(path).parts):
        return False
    return not any(path.startswith(root + os.sep) for root in _OWN_ROOTS)


def _is_engines(thing: Any) -> bool:
    made_of = type(thing).__module__
    if made_of.startswith(f"{_ENGINE}."):
        return True
    name = _peek(thing, "__name__" if issubclass(type(thing), types.ModuleType) else "__module__")
    return (name if isinstance(name, str) else made_of).partition(".")[0] == _ENGINE


def bare(thing: Any) -> Any:
    """The function or class inside a task object and whatever is wrapped around it."""
    for _ in range(_MAX_WRAPPERS):
        if isinstance(thing, type):
            return thing
        # Looked up on the object itself: a handle or mock would invent any attribute.
        own = _peek(thing, "__dict__") or {}
        spec = own.get("spec") if own else _slot(thing, "spec")
        inner = spec.code if isinstance(spec, TaskSpec) else _peek(thing, "__wrapped__")
        if inner is None and _is_engines(thing) and not callable_code(thing):
            inner = _slot(thing, "fn")
        if inner is None or inner is thing:
            return thing
        thing = inner
    return thing


def callable_code(thing: Any) -> types.CodeType | None:
    """A function's code; None for anything else."""
    return thing.__code__ if isinstance(thing, types.FunctionType) else None


def _users_state(thing: Any) -> Any:
    """What the user keeps on an object; not what a base class of the engine's keeps there.

    That is its options, and the graph that hangs on it: the names in that class's `__init__`.
    """
    state = _peek(thing, "__dict__")
    if not isinstance(state, dict):
        return thing
    bases = [c for c in type(thing).__mro__ if c.__module__.startswith(f"{_ENGINE}.")]
    makers = [callable_code(_peek(base, "__init__")) for base in bases]
    ours = {name for code in makers if code is not None for name in code.co_names}
    return {name: value for name, value in state.items() if name not in ours}


def _slot(thing: Any, name: str) -> Any:
    return _peek(thing, name) if _is_engines(type(thing)) else None


def _peek(thing: Any, name: str, default: Any = None) -> Any:
    """An attribute of something of the user's, whose `__getattr__` may raise anything."""
    try:
        return getattr(thing, name, default)
    except Exception:
        return default


def _file_of(module: types.ModuleType) -> str:
    return str(_peek(module, "__file__") or "")


# -- facts, once per piece of code -----------------------------------------------------------

#: id of a code object or class → (itself, so that the id stays its own, its facts).
_facts: dict[int, tuple[Any, source.Facts]] = {}


def _function_facts(fn: types.FunctionType, lookup: Callable[[str], Any]) -> source.Facts:
    code = fn.__code__
    known = _facts.get(id(code))
    if known is None or known[0] is not code:
        node = source.find_function(code, fn.__globals__)
        facts = (
            source.facts_of(node, lambda name: _is_engines(lookup(name)))
            if node is not None else source.bytecode_facts([code], fn.__doc__)
        )
        known = _facts[id(code)] = (code, facts)
    return known[1]


def _class_facts(
    cls: type, module: dict[str, Any], lookup: Callable[[str], Any]
) -> source.Facts:
    known = _facts.get(id(cls))
    if known is None or known[0] is not cls:
        node = source.find_class(cls, module)
        facts = (
            source.facts_of(node, lambda name: _is_engines(lookup(name)))
            if node is not None else source.bytecode_facts(source.method_codes(cls))
        )
        known = _facts[id(cls)] = (cls, facts)
    return known[1]


class _Scope(NamedTuple):
    """Where a definition's outside names are looked up."""

    cells: dict[str, Any]
    module: dict[str, Any]

    def get(self, name: str) -> Any:
        """What the name stands for; `_NOTHING` for a builtin or an unknown name."""
        return self.cells[name] if name in self.cells else self.module.get(name, _NOTHING)


_NOTHING = type("Nothing", (), {})()


def _function_scope(fn: types.FunctionType) -> _Scope:
    return _Scope(_cells([fn]), fn.__globals__)


def _class_scope(cls: type) -> _Scope:
    members = list(source.methods(cls))
    owner = sys.modules.get(cls.__module__)
    module = vars(owner) if owner is not None else {}
    if not module:
        own = (m.__globals__ for m in members if m.__module__ == cls.__module__)
        module = next(own, {})
    return _Scope(_cells(members), module)


def _cells(functions: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for fn in functions:
        cells = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=False)
        for name, cell in cells:
            try:
                found[name] = cell.cell_contents
            except ValueError:
                continue  # not filled yet
    found.pop("__class__", None)
    return found


# -- the walk --------------------------------------------------------------------------------


class _Walk:
    """From one task's code to everything of the user's that it uses."""

    def __init__(self) -> None:
        self.parts: Parts = {}
        self.seen: set[int] = set()
        self.todo: list[tuple[str, Any]] = []
        self.home: dict[str, Any] = {}
        """The namespace of the task's own file: things from it are named without a prefix."""
        self.home_dir: str | None = None
        self.values = Canonical(special=self._special, code=self._mark, deep=False)
        self.own_values = Canonical(special=self._special, code=self._mark, deep=True)

    def parts_of(self, code: Any) -> Parts:
        self._root(code)
        while self.todo:
            part, thing = self.todo.pop(0)
            self._look_into(part, thing)
        return self.parts

    def _root(self, code: Any) -> None:
        code = bare(code)
        if isinstance(code, types.MethodType):
            self._set_home(code.__func__)
            state = self.own_values.bytes(_users_state(code.__self__))
            self._put("value self", digest(state).hex())
            code = code.__func__
        if isinstance(code, functools.partial):
            self._set_home(bare(code.func))
            self._put_value("arguments fixed by partial", [code.args, code.keywords])
            code = bare(code.func)
        if isinstance(code, (types.FunctionType, type)):
            self._set_home(code)
            self.seen.add(id(code))
            self._look_into(FUNCTION, code)
        elif isinstance(code, types.BuiltinFunctionType):
            self.parts[FUNCTION] = digest(code_name(code)).hex()
        else:
            self._set_home(type(code))
            self.parts[COMMAND] = digest(self.own_values.bytes(code)).hex()

    def _set_home(self, code: Any) -> None:
        if isinstance(code, (types.FunctionType, type)):
            self.home = (code.__globals__ if isinstance(code, types.FunctionType)
                         else _class_scope(code).module)
            self.home_dir = str(Path(str(self.home.get("__file__") or "")).parent)

    def _look_into(self, part: str, thing: Any) -> None:
        if isinstance(thing, types.FunctionType):
            scope = _function_scope(thing)
            facts = _function_facts(thing, scope.get)
            self._defaults(thing, facts)
        else:
            scope = _class_scope(thing)
            facts = _class_facts(thing, scope.module, scope.get)
        self._put(part, facts.digest)
        for chain in facts.names:
            self._follow(chain, scope)
        for imported in facts.imports:
            self._import(imported, scope)

    def _defaults(self, fn: types.FunctionType, facts: source.Facts) -> None:
        if not facts.computed:
            return
        code, count = fn.__code__, fn.__code__.co_argcount
        named = dict(zip(reversed(code.co_varnames[:count]), reversed(fn.__defaults__ or ()),
                         strict=False))
        named.update(fn.__kwdefaults__ or {})
        for name in sorted(facts.computed & set(named)):
            self._put_value(f"default of {name}", named[name])

    def _put(self, part: str, text: str) -> None:
        """Two things of one name (two local functions) are told apart by order."""
        name, count = part, 1
        while name in self.parts:
            count += 1
            name = f"{part} ({count})"
        self.parts[name] = text

    def _put_value(self, part: str, value: Any) -> None:
        self._put(part, digest(self.values.bytes(value)).hex())

    # -- following a name ---------------------------------------------------------------------

    def _follow(self, chain: tuple[str, ...], scope: _Scope) -> None:
        thing, used = scope.get(chain[0]), 1
        label = self._label(scope.module, chain[0])
        while issubclass(type(thing), types.ModuleType) and used < len(chain):
            if not self._is_users(_file_of(thing)):
                return
            label = self._label(vars(thing), chain[used])
            thing, used = _peek(thing, chain[used], _NOTHING), used + 1
        if thing is _NOTHING:
            return
        try:
            self._depend(label, thing)
        except Exception:
            # A proxy for something that is not there yet: by its type.
            self.parts[f"value {label}"] = digest(code_name(type(thing))).hex()

    def _label(self, module: dict[str, Any], name: str) -> str:
        return name if module is self.home else f"{_module_name(module)}.{name}"

    def _depend(self, label: str, thing: Any) -> None:
        if isinstance(thing, types.ModuleType):
            self._module(thing.__name__, _file_of(thing))
            return
        thing = bare(thing)
        if isinstance(thing, (types.FunctionType, type)):
            self._definition(thing)
        elif not isinstance(thing, types.BuiltinFunctionType) and not _is_engines(thing):
            part = f"value {label}"
            if part not in self.parts:
                self._put_value(part, thing)

    def _definition(self, thing: Any) -> None:
        """Queue a function or class, if it is the user's and new."""
        if id(thing) in self.seen or not self._is_users_code(thing):
            return
        self.seen.add(id(thing))
        scope = _function_scope(thing) if callable_code(thing) else _class_scope(thing)
        name = thing.__qualname__.rpartition("<locals>.")[2]
        kind = "class" if isinstance(thing, type) else "helper"
        self.todo.append((f"{kind} {self._label(scope.module, name)}", thing))

    def _is_users_code(self, thing: Any) -> bool:
        code = callable_code(thing)
        if code is not None:
            module, file = thing.__globals__, code.co_filename
        else:
            module = _class_scope(thing).module
            file = source.class_file(thing, module)
        return module is self.home or module.get("__name__") == "__main__" or self._is_users(file)

    def _is_users(self, file: str) -> bool:
        # A flow that is itself installed: what lies beside it is its own.
        return is_user_file(file) or (bool(file) and str(Path(file).parent) == self.home_dir)

    def _special(self, value: Any) -> bytes | None:
        """Tasks and wrapped functions inside a value count as the function in them."""
        inner = bare(value)
        return None if inner is value else self._mark(inner)

    def _mark(self, thing: Any) -> bytes:
        """A function, class or module inside a value: by name here, its code as a part."""
        if isinstance(thing, types.ModuleType):
            self._depend("", thing)
        elif isinstance(thing, (types.FunctionType, type)):
            self._definition(thing)
        return code_name(thing)

    # -- whole modules ------------------------------------------------------------------------

    def _import(self, statement: Import, scope: _Scope) -> None:
        for name, file in _files_of(statement, str(scope.module.get("__package__") or "")):
            self._module(name, file)

    def _module(self, name: str, file: str) -> None:
        """A module used as a whole, and the user's modules that it imports in turn."""
        todo = [(name, file)]
        while todo:
            name, file = todo.pop()
            part = f"module {name}"
            if part in self.parts or not self._is_users(file):
                continue
            self.parts[part], imports = _file_facts(file)
            package = name if file.endswith("__init__.py") else name.rpartition(".")[0]
            for statement in imports:
                todo.extend(_files_of(statement, package))


def _module_name(module: dict[str, Any]) -> str:
    name = str(module.get("__name__", ""))
    file = module.get("__file__")
    return Path(str(file)).stem if name == "__main__" and file else name


def _file_facts(file: str) -> tuple[str, tuple[Import, ...]]:
    try:
        data = Path(file).read_bytes()
    except OSError:
        return "", ()
    try:
        text = importlib.util.decode_source(data)
        found, names = source.module_facts(text)
    except (SyntaxError, ValueError, RecursionError):
        return digest(data).hex(), ()  # compiled, or not Python
    return found, names.imports


def _files_of(statement: Import, package: str) -> Iterator[tuple[str, str]]:
    """The modules that an import statement loads, with their files; those without are left out."""
    base = statement.module
    if statement.level:
        above = package.rsplit(".", statement.level - 1)[0] if package else ""
        if not above:
            return
        base = f"{above}.{base}" if base else above
    yield from _found(base)
    for name in statement.names:
        yield from _found(f"{base}.{name}")


def _found(name: str) -> Iterator[tuple[str, str]]:
    """The module's file, looked up on the path without importing its parents."""
    places: Any = None
    spec = None
    done = ""
    for step in name.split("."):
        done = f"{done}.{step}" if done else step
        if done in sys.builtin_module_names:
            return
        spec = importlib.machinery.PathFinder.find_spec(done, places)
        if spec is None:
            return
        places = spec.submodule_search_locations or []
    if spec is not None and spec.origin and spec.has_location:
        yield name, spec.origin
