"""A census of the Python that runs it: every module of the standard library, measured.

Teaches: **`.map` over a list that only exists at run time.** `find_modules` looks at the
disk; `measure` then becomes one task run per module, named after it (`measure[json.decoder]`),
spread over all processors, each recorded when it is done. Kill the engine in the middle
with `kill -9`, start it again, and only the modules that are still missing are measured.

    flowforge run sample_flows/census.py
    flowforge run sample_flows/census.py -p limit=50 -p out=/tmp/census -p tests=true
"""

import ast
import csv
import json
import platform
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from engine import Skip, current, task, workflow

PAGE = Path(__file__).with_name("data") / "census.html"

#: Not the library itself: what was installed into it, and what it is tested with.
FOREIGN = {"site-packages", "dist-packages", "__pycache__", "__phello__"}
TESTS = {"test", "tests", "idle_test"}

#: What makes a function take another path.
BRANCHES = (
    ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert,
    ast.comprehension, ast.match_case,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Source:
    """One file of the library."""

    module: str
    path: Path


@dataclass(frozen=True)
class Facts:
    """What the census asks of a module."""

    module: str
    lines: int
    size: int
    """Bytes."""
    functions: int
    classes: int
    complexity: int
    """Paths through its functions, summed (McCabe)."""
    hardest: str
    """Its function with the most paths."""
    hardest_complexity: int
    public: int
    """Public modules, classes and functions, this module included."""
    documented: int
    """How many of those have a docstring."""
    imports: list[str]


@task
def find_modules(limit: int, tests: bool) -> list[Source]:
    """The library's files on this machine, the largest first; `limit` 0 means all."""
    root = Path(sysconfig.get_path("stdlib"))
    skipped = FOREIGN if tests else FOREIGN | TESTS
    files = [f for f in root.rglob("*.py") if skipped.isdisjoint(f.relative_to(root).parts)]
    files.sort(key=lambda f: (-f.stat().st_size, f))
    print(f"{len(files)} modules in {root}")
    return [Source(dotted(f.relative_to(root)), f) for f in files[: limit or None]]


@task(timeout=60)
def measure(source: Source) -> Facts:
    """Parse one module and count."""
    text = source.path.read_bytes()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:  # some tests consist of broken files
        raise Skip(f"not Python: {error}") from error
    nodes = list(ast.walk(tree))
    functions = [n for n in nodes if isinstance(n, FUNCTIONS)]
    paths = Counter({f"{f.name}:{f.lineno}": complexity(f) for f in functions})
    hardest, most = (paths.most_common(1) or [("", 0)])[0]
    public = [tree, *definitions(tree)]
    return Facts(
        module=source.module,
        lines=text.count(b"\n"),
        size=len(text),
        functions=len(functions),
        classes=sum(isinstance(n, ast.ClassDef) for n in nodes),
        complexity=paths.total(),
        hardest=hardest.partition(":")[0],
        hardest_complexity=most,
        public=len(public),
        documented=sum(ast.get_docstring(d, clean=False) is not None for d in public),
        imports=sorted(imported(nodes) - {source.module.partition(".")[0]}),
    )


@task(trigger_rule="none_failed")
def write_table(census: list[Facts], out: Path) -> Path:
    """All facts as CSV, one row a module. Skipped ones are `Missing`, which is false."""
    path = prepared(out) / "census.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Facts)])
        writer.writeheader()
        for facts in sorted(filter(None, census), key=lambda f: f.module):
            writer.writerow(asdict(facts) | {"imports": " ".join(facts.imports)})
    return path


@task(trigger_rule="none_failed")
def write_report(census: list[Facts], out: Path) -> Path:
    """One HTML page that needs no network: numbers, a chart, a table to sort and search."""
    modules = [asdict(facts) for facts in census if facts]
    data = {"python": platform.python_version(), "run": current().run_id, "modules": modules}
    path = prepared(out) / "census.html"
    # "</script>" in the data would end the script that it is in.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    page = PAGE.read_text(encoding="utf-8")
    path.write_text(page.replace("/*DATA*/", text), encoding="utf-8")
    return path


@task(trigger_rule="none_failed")
def summary(census: list[Facts], table: Path, report: Path) -> dict[str, int | str]:
    """The totals, for the console."""
    known = [facts for facts in census if facts]
    totals = {k: sum(getattr(f, k) for f in known) for k in ("lines", "functions", "classes")}
    for name, value in totals.items():
        print(f"{value:>9,} {name}")
    print(f"{len(known):>9,} modules: see {report} and {table}")
    return {"modules": len(known), **totals, "table": str(table), "report": str(report)}


@workflow(executor="process")
def census(limit: int = 0, out: Path = Path("out"), tests: bool = False):
    """Find the modules, measure each, join the facts into a table and a report."""
    sources = find_modules(limit, tests)
    facts = measure.map(sources, key=lambda source: source.module)
    return summary(facts, write_table(facts, out), write_report(facts, out))


# -- counting -----------------------------------------------------------------------------


def dotted(path: Path) -> str:
    """`json/decoder.py` → `json.decoder`, `json/__init__.py` → `json`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def complexity(function: ast.AST) -> int:
    """Independent paths through a function: 1, and one more for each branch."""
    found = 1
    for node in ast.walk(function):
        found += isinstance(node, BRANCHES)
        found += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
    return found


def definitions(
    scope: ast.Module | ast.ClassDef,
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The public functions and classes of a module, methods included."""
    for node in scope.body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node)


def imported(nodes: list[ast.AST]) -> set[str]:
    """The top-level packages that are imported, at the top of the module or inside it."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def prepared(out: Path) -> Path:
    """The directory, made if it is not there yet."""
    out.mkdir(parents=True, exist_ok=True)
    return out


if __name__ == "__main__":
    print(census.run().result)
