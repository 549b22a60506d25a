"""`python -m tests.faults.table`: write which test injects which fault into docs/durability.md.

The marks are read from the tests' source (`pytest.mark.fault(...)` on a function, a class, a
parameter or a whole file), nothing is imported. `--check` says whether the page is up to date.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.faults.catalogue import FAULTS, GROUPS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "durability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
#: Tests that a row of the table names; of more, the number.
SHOWN = 4


def marked_numbers(node: ast.AST) -> Iterator[int]:
    """The numbers of every `…mark.fault(…)` within a node."""
    for call in ast.walk(node):
        if (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
                and call.func.attr == "fault" and isinstance(call.func.value, ast.Attribute)
                and call.func.value.attr == "mark"):
            for argument in call.args:
                if not (isinstance(argument, ast.Constant) and argument.value in FAULTS):
                    raise ValueError(f"line {call.lineno}: not a fault: {ast.unparse(argument)}")
                yield argument.value


def marks_of(source: str) -> Iterator[tuple[int, str]]:
    """Number and test name (`""`: the whole file) of each mark in a file's source."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            yield from ((n, "") for n in marked_numbers(node.value))
        elif isinstance(node, ast.ClassDef):
            for mark in node.decorator_list:
                yield from ((n, node.name) for n in marked_numbers(mark))
            for inner in node.body:
                yield from ((n, f"{node.name}::{name}") for n, name in _of_function(inner))
        else:
            yield from _of_function(node)


def _of_function(node: ast.stmt) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        for mark in node.decorator_list:
            yield from ((n, node.name) for n in marked_numbers(mark))


def collect(folder: Path) -> dict[int, list[str]]:
    """Number of a fault → the tests that inject it, as paths below `folder`."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in sorted(folder.rglob("test_*.py")):
        place = path.relative_to(folder).as_posix()
        try:
            for number, name in marks_of(path.read_text()):
                found[number].add(f"{place}::{name}" if name else place)
        except ValueError as error:
            raise ValueError(f"{place}, {error}") from None
    return {number: sorted(names) for number, names in found.items()}


def table(found: dict[int, list[str]]) -> str:
    """The section of the page, without the comments around it."""
    lines = ["| | fault | tests (below `tests/`) |", "| --- | --- | --- |"]
    for group, faults in GROUPS.items():
        lines.append(f"| | **{group}** | |")
        lines += [f"| {n} | {what} | {_cell(found.get(n, []))} |" for n, what in faults.items()]
    return "\n".join(lines)


def _cell(names: list[str]) -> str:
    if not names:
        return "none yet"
    shown = "<br>".join(f"`{name}`" for name in names[:SHOWN])
    return shown + (f"<br>and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def written(page: str, section: str) -> str:
    """The page with its section replaced."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE.name} has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    page = PAGE.read_text()
    new = written(page, table(collect(ROOT / "tests")))
    if given.check:
        return int(new != page)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
