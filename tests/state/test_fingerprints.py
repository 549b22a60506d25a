"""Fingerprints: what counts as a change of a task's code, and what does not."""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engine import Task, task
from engine.core.retry import RetryPolicy
from engine.core.tasks import TaskOptions, TaskSpec
from engine.state.fingerprints import Fingerprinter, compare, fingerprint, is_user_file

ROOT = Path(__file__).parents[2]

Write = Callable[..., ModuleType]
_numbers = itertools.count()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write files into a directory of their own, and import the first as a fresh module."""
    before = set(sys.modules)

    def write(text: str, **helpers: str) -> ModuleType:
        folder = tmp_path / f"v{next(_numbers)}"
        folder.mkdir()
        for name in (*helpers, "flow"):
            sys.modules.pop(name, None)
            (folder / f"{name}.py").write_text({**helpers, "flow": text}[name])
        monkeypatch.syspath_prepend(folder)
        import importlib

        return importlib.import_module("flow")

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def parts(module: ModuleType, name: str = "f") -> dict[str, str]:
    found = getattr(module, name)
    return fingerprint(found.spec if hasattr(found, "spec") else TaskSpec(name, found))


def changes(write: Write, before: str, after: str, **same: Any) -> list[str]:
    return compare(parts(write(before, **same)), parts(write(after, **same)), "f")


BASE = '''
import json, math
from dataclasses import dataclass

THRESHOLD = 5

@dataclass
class Row:
    """A row."""
    x: int
    def twice(self):
        return 2 * self.x

def clean(x):
    """Cleans."""
    return json.dumps(helper(x)) + str(THRESHOLD)

def helper(x):
    return math.sqrt(x)

def unused(x):
    return x

def f(row: Row, k=3):
    """Does it."""
    # a comment
    return [clean(r) for r in row if f"{r!r:>{k}} {k}" "tail"]
'''


def test_every_thing_used_has_its_part(write: Write) -> None:
    assert set(parts(write(BASE))) == {
        "function", "class Row", "helper clean", "helper helper", "value THRESHOLD"}


@pytest.mark.parametrize("old, new", [
    ('    """Does it."""\n    # a comment\n', "\n\n"),
    ('"""Cleans."""', '"""Cleans\n    thoroughly."""\n    "another"'),
    ("return [clean(r) for r in row", "return [  # why\n        clean( r )\n        for r in row"),
    ("return 2 * self.x", "return (2 *\n            self.x)"),
    ("def unused(x):\n    return x", "def unused(x):\n    return x + 1"),
    ('"""A row."""', '"""Another row."""'),
    ("import json, math", "import math\nimport json, os"),
    ("\nTHRESHOLD = 5", "\n\n\nTHRESHOLD = (4 + 1)"),
])
def test_what_is_no_change(write: Write, old: str, new: str) -> None:
    assert old in BASE
    assert changes(write, BASE, BASE.replace(old, new)) == []


@pytest.mark.parametrize("old, new, reason", [
    ("clean(r) for", "clean(r + 1) for", "code of f changed"),
    ("k=3", "k=4", "code of f changed"),
    ('"tail"', '"tale"', "code of f changed"),
    ("r!r:>", "r!s:>", "code of f changed"),
    ("helper(x))", "helper(x + 1))", "helper clean changed"),
    ("math.sqrt(x)", "math.sin(x)", "helper helper changed"),
    ("THRESHOLD = 5", "THRESHOLD = 5.0", "value THRESHOLD changed"),
    ("2 * self.x", "3 * self.x", "class Row changed"),
    ("    x: int\n", "    x: float\n", "class Row changed"),
])
def test_what_is_a_change(write: Write, old: str, new: str, reason: str) -> None:
    assert changes(write, BASE, BASE.replace(old, new)) == [reason]


def test_a_renamed_function_is_the_same_code(write: Write) -> None:
    module = write("def f(x):\n    return x\ndef g(x):\n    return x\n")
    assert parts(module, "f") == parts(module, "g")


def test_helpers_in_other_files_of_the_user(write: Write) -> None:
    flow = "import helpers as h\nfrom helpers import tidy\ndef f(x):\n    return h.clean(tidy(x))\n"
    helpers = "RATE = 2\ndef clean(x):\n    return RATE * x\ndef tidy(x):\n    return x\n"
    old = parts(write(flow, helpers=helpers))
    assert set(old) == {"function", "helper helpers.clean", "helper helpers.tidy",
                        "value helpers.RATE"}
    new = parts(write(flow, helpers=helpers.replace("= 2", "= 3")))
    assert compare(old, new) == ["value helpers.RATE changed"]


def test_a_module_imported_inside_the_function_counts_as_a_whole_with_its_own_imports(
    write: Write,
) -> None:
    flow = "def f(x):\n    import helpers, json\n    return helpers.clean(x)\n"
    helpers = "import deeper, os\ndef clean(x):\n    return deeper.go(x)\n"
    deeper = "def go(x):\n    return x  # fine\n"
    old = parts(write(flow, helpers=helpers, deeper=deeper))
    assert set(old) == {"function", "module helpers", "module deeper"}
    assert "helpers" not in sys.modules  # looked at, not imported
    same = parts(write(flow, helpers=helpers + "# more\n", deeper=deeper))
    assert compare(old, same) == []
    new = parts(write(flow, helpers=helpers, deeper=deeper.replace("return x", "return -x")))
    assert compare(old, new) == ["module deeper changed"]


def test_a_module_handed_on_as_a_value_counts_as_a_whole(write: Write) -> None:
    flow = "import helpers\ndef f(name):\n    return getattr(helpers, name)()\n"
    old = parts(write(flow, helpers="def a(): return 1\n"))
    new = parts(write(flow, helpers="def a(): return 2\n"))
    assert compare(old, new) == ["module helpers changed"]


def test_closures_defaults_and_functions_inside_values(write: Write) -> None:
    flow = (
        "def a(x): return x\ndef b(x): return -x\n"
        "KINDS = {'a': a, 'b': [b]}\n"
        "def make(n, g):\n"
        "    def f(x, kinds=KINDS):\n        return g(x) + n\n"
        "    return f\n"
        "f = make(N, lambda x: x)\n"
    )
    old = parts(write(flow.replace("N,", "1,")))
    assert set(old) == {"function", "default of kinds", "helper a", "helper b", "helper <lambda>",
                        "value n"}
    assert compare(old, parts(write(flow.replace("N,", "2,")))) == ["value n changed"]
    changed = flow.replace("N,", "1,").replace("return -x", "return +x")
    assert compare(old, parts(write(changed))) == ["helper b changed"]


def test_decorators_of_the_engine_do_not_count_others_do(write: Write) -> None:
    flow = (
        "import functools\nfrom engine import task\n"
        "def timed(fn):\n    @functools.wraps(fn)\n    def inner(*a):\n        return fn(*a)\n"
        "    return inner\n"
        "@task(retries=2, timeout=30)\n@timed\ndef f(x):\n    return g(x)\n"
        "@task\ndef g(x):\n    return x\n"
    )
    old = parts(write(flow))
    assert set(old) == {"function", "helper timed", "helper g"}
    assert compare(old, parts(write(flow.replace("retries=2", "retries=3, priority=1")))) == []
    assert compare(old, parts(write(flow.replace("return fn(*a)", "return not fn(*a)")))) == [
        "helper timed changed"]
    assert compare(old, parts(write(flow.replace("    return x\n", "    return [x]\n")))) == [
        "helper g changed"]


def test_a_wrapped_helper_is_seen_through(write: Write) -> None:
    flow = "import functools\n@functools.cache\ndef g(x): return x\ndef f(x): return g(x)\n"
    assert changes(write, flow, flow.replace("return x\n", "return -x\n")) == ["helper g changed"]


def test_local_names_are_not_taken_for_the_modules(write: Write) -> None:
    flow = (
        "rows = 1\nitem = 2\nx = 3\nexc = 4\nfirst = 5\nrest = 6\njson = 7\nshared = 8\n"
        "def f(x):\n"
        "    import json\n"
        "    rows = [item for item in x]\n"
        "    try:\n        pass\n    except ValueError as exc:\n        print(exc)\n"
        "    match rows:\n        case [first, *rest]:\n            return first, rest\n"
        "    def inner():\n        return rows, json\n"
        "    class Inner:\n        y = rows\n"
        "    return inner, Inner.y, (z := item_of(x)), shared\n"
        "def item_of(v):\n    global shared\n    shared = v\n    return v\n"
    )
    assert set(parts(write(flow))) == {"function", "helper item_of", "value shared"}


def test_methods_do_not_see_the_names_of_their_class_body(write: Write) -> None:
    flow = "size = 1\nclass f:\n    size = 2\n    def run(self):\n        return size\n"
    assert set(parts(write(flow))) == {"function", "value size"}


def test_classes_as_tasks_their_bases_and_methods(write: Write) -> None:
    flow = (
        "class Base:\n    def go(self):\n        return 1\n"
        "class f(Base):\n    'Doc.'\n    def run(self):\n        return self.go()\n"
    )
    assert changes(write, flow, flow.replace("'Doc.'", "'Other.'")) == []
    assert changes(write, flow, flow.replace("return 1", "return 2")) == ["class Base changed"]
    assert changes(write, flow, flow.replace("self.go()", "self.go() + 1")) == ["code of f changed"]


DATA_CLASS = "from dataclasses import dataclass\n@dataclass{how}\nclass Row:\n    x: int = 1\n"


@pytest.mark.parametrize("how", ["", "(slots=True)", "(frozen=True, slots=True)"])
@pytest.mark.parametrize("where", ["its own file", "another file"])
def test_a_class_of_fields_alone_counts_by_its_source(write: Write, how: str, where: str) -> None:
    row, use = DATA_CLASS.format(how=how), "def f():\n    return Row()\n"

    def made(row: str) -> dict[str, str]:
        if where == "its own file":
            return parts(write(f"{row}\n{use}"))
        return parts(write(f"from rows import Row\n{use}", rows=row))

    plain = made(row)
    name = "class Row" if where == "its own file" else "class rows.Row"
    assert set(plain) == {"function", name}, "and nothing of what dataclass made"
    assert plain == made(row.replace("    x", "    # a comment\n    x"))
    assert compare(plain, made(row.replace("int", "float")), "f") == [f"{name} changed"]
    assert compare(plain, made(row.replace("= 1", "= 2")), "f") == [f"{name} changed"]


def test_a_class_is_found_where_it_is_whoever_wrapped_its_methods(write: Write) -> None:
    flow = ("from wraps import kept\nclass Row:\n    @kept\n    def go(self):\n"
            "        return 1\ndef f():\n    return Row().go()\n")
    wraps = ("import functools\ndef kept(f):\n    @functools.wraps(f)\n"
             "    def around(*a):\n        return f(*a)\n    return around\n")
    assert changes(write, flow, flow.replace("        return 1", "\n        return 1  # one"),
                   wraps=wraps) == []
    assert changes(write, flow, flow.replace("return 1", "return 2"),
                   wraps=wraps) == ["class Row changed"]


def test_of_two_classes_of_one_name_the_one_in_use_counts(write: Write) -> None:
    flow = (
        "import sys\nif sys.version_info < (3,):\n"
        "    class f:\n        def run(self): return 1\n"
        "else:\n    class f:\n        def run(self): return 2\n"
    )
    assert changes(write, flow, flow.replace("return 1", "return 3")) == []
    assert changes(write, flow, flow.replace("return 2", "return 3")) == ["code of f changed"]


def test_lambdas_on_one_line_are_told_apart(write: Write) -> None:
    module = write("f, g, h = lambda x: x, lambda x: -x, lambda y: lambda: 1\n")
    assert len({parts(module, name)["function"] for name in "fgh"}) == 3
    again = write("f, g, h = lambda x: x, lambda x: +x, lambda y: lambda: 1\n")
    assert parts(module, "f") == parts(again, "f")
    assert parts(module, "g") != parts(again, "g")


def test_without_source_the_bytecode_counts() -> None:
    def made(text: str) -> dict[str, str]:
        namespace: dict[str, Any] = {"__name__": "__main__", "LIMIT": 3}
        exec(text, namespace)
        return fingerprint(TaskSpec("f", namespace["f"]))

    old = made("def f(x):\n    return x + LIMIT\n")
    assert old == made("\n\ndef f(x):\n\n    return (x + LIMIT)\n")
    assert old != made("def f(x):\n    return x - LIMIT\n")
    assert "value LIMIT" in old


def test_partials_builtins_methods_and_commands() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    class Scale:
        def __init__(self, by: int) -> None:
            self.by = by

        def __call__(self, x: int) -> int:
            return x * self.by

        def go(self, x: int) -> int:
            return x

    def of(code: Any) -> dict[str, str]:
        return fingerprint(TaskSpec("t", add, source=code))

    assert of(functools.partial(add, 1)) != of(functools.partial(add, 2))
    assert of(functools.partial(add, 1)) == of(functools.partial(add, 1))
    assert of(len) != of(print)
    assert of(Scale(1)) != of(Scale(2))
    assert of(Scale(1).go)["function"] == of(Scale(2).go)["function"]
    assert of("ls -l") == of("ls -l") != of("ls")
    assert compare(of(["ls"]), of(["ls", "-l"])) == ["command changed"]


def test_options_that_change_meaning_count_and_others_do_not() -> None:
    def fn() -> None: ...

    def of(**options: Any) -> dict[str, str]:
        return fingerprint(TaskSpec("t", fn, TaskOptions(**options)))

    plain = of()
    assert plain == of(retry=RetryPolicy(3), timeout=1.0, priority=2.0, executor="process")
    assert compare(plain, of(version="2"), "t") == ["version changed"]
    assert compare(of(version="1"), of(version="2"), "t") == ["version changed"]
    assert compare(of(trigger_rule="all_done"), plain, "t") == ["trigger_rule changed"]
    assert compare(plain, of(outputs=2), "t") == ["outputs changed"]


def test_a_task_made_by_the_decorator_counts_by_its_function() -> None:
    @task(retries=3)
    def one(x: int) -> int:
        return x

    def two(x: int) -> int:
        return x

    assert fingerprint(one.spec)["function"] == fingerprint(TaskSpec("two", two))["function"]


def test_what_a_classic_task_keeps_on_itself_counts_but_not_its_options_and_edges() -> None:
    class Fetch(Task):
        def __init__(self, name: str, path: str, **options: Any) -> None:
            super().__init__(name, **options)
            self.path = path

        def run(self) -> str:
            return self.path

    def of(made: Task) -> dict[str, str]:
        return fingerprint(made.declared().spec)

    plain = of(Fetch("f", "a.csv"))
    assert plain == of(Fetch("f", "a.csv", retries=3).add_dependency(Fetch("g", "b")))
    assert compare(plain, of(Fetch("f", "b.csv"))) == ["value self changed"]


def test_recursion_and_rings_of_helpers_end(write: Write) -> None:
    flow = "def f(x):\n    return g(x)\ndef g(x):\n    return f(x) or g(x)\n"
    assert set(parts(write(flow))) == {"function", "helper g"}


def test_two_local_functions_of_one_name_are_both_seen(write: Write) -> None:
    flow = (
        "def make(n):\n    if n:\n        def g(): return 1\n    else:\n        def g(): return 2\n"
        "    return g\na, b = make(0), make(1)\ndef f():\n    return a(), b()\n"
    )
    assert changes(write, flow, flow.replace("return 1", "return 3")) == ["helper g (2) changed"]


def test_a_long_sum_is_not_too_deep(write: Write) -> None:
    terms = " + ".join(["x"] * 900)
    flow = f"def f(x):\n    return {terms}\n"
    assert changes(write, flow, flow.replace("x + x", "x - x", 1)) == ["code of f changed"]


def test_mutable_state_that_cannot_be_seen_into_is_no_change(write: Write) -> None:
    flow = (
        "import threading, logging, time\nlock = threading.Lock()\nlog = logging.getLogger('x')\n"
        "class Client:\n    def __init__(self): self.at = time.perf_counter()\n"
        "client = Client()\n"
        "def f():\n    with lock:\n        log.info('x')\n        return client\n"
    )
    assert changes(write, flow, flow) == []
    assert changes(write, flow, flow.replace("perf_counter", "monotonic")) == [
        "class Client changed"]


def test_a_value_that_raises_when_touched_counts_by_its_type(write: Write) -> None:
    flow = (
        "class Proxy:\n    def __getattribute__(self, name):\n        raise RuntimeError(name)\n"
        "proxy = Proxy()\ndef f():\n    return proxy\n"
    )
    assert "value proxy" in parts(write(flow))


def test_one_pass_looks_at_a_function_once() -> None:
    made = Fingerprinter()
    spec = TaskSpec("t", test_recursion_and_rings_of_helpers_end)
    assert made(spec) is made(TaskSpec("other", spec.fn))


def test_whose_file_it_is() -> None:
    import msgpack

    assert is_user_file(__file__)
    assert not is_user_file(re.__file__)
    assert not is_user_file(msgpack.__file__)
    assert not is_user_file(str(ROOT / "engine" / "errors.py"))
    assert not is_user_file("<string>") and not is_user_file("")


def test_compare_tells_additions_only_where_nothing_else_explains_them() -> None:
    assert compare({"function": "1"}, {"function": "2", "helper g": "3"}, "f") == [
        "code of f changed"]
    assert compare({"function": "1"}, {"function": "1", "helper g": "3"}, "f") == [
        "helper g is used now"]
    assert compare({"function": "1", "value A": "3"}, {"function": "1"}) == [
        "value A is no longer used"]
    assert compare({"function": "1"}, {"function": "2"}) == ["its code changed"]


# -- the same everywhere -----------------------------------------------------------------------

EVERYWHERE = BASE + '''
import array, collections, datetime, enum, fractions, functools, ipaddress, operator, pathlib
import decimal, re, types, typing, uuid

@dataclass
class Plain:
    x: int
    y: list[int] = None

@dataclass(slots=True, frozen=True)
class Slotted:
    x: int = 1

class Pair(typing.NamedTuple):
    a: int
    b: str = "b"

class Options(typing.TypedDict, total=False):
    verbose: bool

class Level(enum.Flag):
    LOW = enum.auto()
    HIGH = enum.auto()

class Sized(typing.Protocol):
    def size(self) -> int: ...

class Stack(typing.Generic[typing.TypeVar("T")]):
    pass

class Broken(Exception):
    pass

#: One of each kind that can stand at the top of a file and is looked into.
VALUES = {
    "rows": [Plain(1), Slotted(), Pair(1)], "levels": Level.LOW | Level.HIGH,
    "standard": [
        collections.OrderedDict(a=1), collections.Counter("abca"), collections.deque([1], 3),
        collections.defaultdict(list, a=[1]), functools.partial(helper, 1, k=2),
        re.compile("a+", re.I), ipaddress.ip_network("10.0.0.0/8"), fractions.Fraction(1, 3),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), datetime.timedelta(1),
        uuid.UUID(int=5), types.SimpleNamespace(a=1), types.MappingProxyType({"a": 1}),
        array.array("i", [1, 2]), range(3), slice(1, 2), complex(1, -0.0), bytearray(b"x"),
        pathlib.PurePosixPath("a"), operator.itemgetter(1), print, len, int, list[int],
        int | None, typing.Any, typing.Optional[Plain], typing.Callable[[int], str],
        typing.List["Later"], typing.Literal["a", 1], frozenset({1, "a"}), float("nan"),
        ValueError("x"), KeyError,
    ],
}

def h(x: Plain, y: Slotted, z: Pair, o: Options) -> Stack[Level]:
    raise Broken(VALUES, Sized)

class Kind(enum.IntEnum):
    A = 1

TABLE = {"a": 1, ("b", 2): {3, "x", None}, "big": 2**100, "u": "\\u0378\\ud800", "k": Kind.A,
         "p": pathlib.Path("/x"), "d": decimal.Decimal("1.5"), "row": Row(2), "f": helper}

@functools.lru_cache
def cached(x, *, q=TABLE):
    async def inner(a, /, b, *c, d=1, **e):
        async for z in a:
            yield z, {**e}, [*c], b"x", ..., 1j, -1.5, not d, d if b else 1
    match x:
        case {"a": 1, **rest} | [_, *rest] if rest:
            return rest
        case Row(x=1) | None | True:
            return f"{x=}{x:}{x!a:{q}.2f}{{}}" f"tail {'nested'}" "more"
    try:
        with open(x) as y, y as x:
            del x
    except* (ValueError, TypeError) as group:
        raise RuntimeError from group
    return (lambda *a: (w := a)), {k: v for k, v in q}, x[1:2, ::3], inner

def g(x):
    return cached(x)

from engine.core.tasks import TaskSpec
from engine.state.fingerprints import fingerprint

def everything():
    return [fingerprint(TaskSpec("t", t)) for t in (f, g, h, Kind)]

if __name__ == "__main__":
    import json
    print(json.dumps(everything()))
'''


def _pythons() -> list[str]:
    """Other interpreters on this machine that FlowForge supports."""
    places = [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep) if p]
    places += sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin"))
    found = {}
    for minor in ("3.11", "3.12", "3.13", "3.14"):
        for place in places:
            if (place / f"python{minor}").exists() and "shims" not in place.parts:
                found[minor] = str(place / f"python{minor}")
    return [*found.values()]


def test_the_same_on_every_python_and_as_main_or_module(tmp_path: Path, write: Write) -> None:
    import msgpack

    file = tmp_path / "flow.py"
    file.write_text(EVERYWHERE)
    packages = tmp_path / "packages"
    packages.mkdir()
    # Its pure Python form works under every interpreter.
    (packages / "msgpack").symlink_to(Path(msgpack.__file__).parent)
    expected = write(EVERYWHERE).everything()
    assert len(expected[1]) >= 5
    for seed, python in enumerate([sys.executable, *_pythons()]):
        done = subprocess.run(
            [python, str(file)], capture_output=True, text=True, cwd=tmp_path, timeout=60,
            env={"PYTHONPATH": f"{ROOT}{os.pathsep}{packages}", "PYTHONHASHSEED": str(seed),
                 "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == expected, python
