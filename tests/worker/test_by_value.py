"""What travels to another process by value, and on which class its values are rebuilt."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

from engine.worker import by_value, classes


def test_a_frozen_class_with_slots_is_not_taken_for_the_one_it_was_made_from() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Row:
        n: int

    ref = classes.class_ref(Row)
    sent = by_value.dumps([Row])
    assert classes.resolve(ref) is Row
    assert pickle.loads(sent) == [Row]


def test_code_keeps_the_name_of_its_file() -> None:
    def outer() -> object:
        def inner() -> None: ...
        return inner

    back = pickle.loads(by_value.dumps(outer))
    assert back.__code__.co_filename == back().__code__.co_filename == __file__


LATE = """
import functools
from dataclasses import dataclass
from engine import task, workflow

TIMES = 2

@dataclass
class Row:
    n: Later
    above: Row | None = None

def doubled(x: Frame, *, by: Frame = 1) -> Frame:
    return TIMES * x if by == 1 else doubled(x, by=by - 1)

@functools.lru_cache
def cached(x: Frame):
    return x

@task(executor="process")
def send(row: Row, k: Frame = 1) -> list[Frame]:
    return [row.above.n, doubled(row.n, by=2), cached(k), type(row).__name__]

@task
def make(n: Frame) -> Later:
    return Row(n, Row(n - 1))

@workflow
def flow(n: int = 4) -> Frame:
    return send(make(n))
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations were evaluated at once")
def test_annotations_that_nobody_can_evaluate_stay_text(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(LATE)
    done = subprocess.run([sys.executable, "-m", "flowforge_tui", "run", "flow.py"], cwd=tmp_path,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "result: [3, 8, 1, 'Row']" in done.stderr


def test_a_function_annotated_in_text_is_the_same_otherwise() -> None:
    def outer(shift: int) -> FunctionType:
        def inner(x: int, y: int = 2, *, z: int = 3) -> int:
            """Adds."""
            return x + y + z + shift

        return inner

    inner = outer(4)
    inner.mark = "kept"
    copy = by_value._annotated_in_text(inner)
    assert copy(1) == inner(1) == 10
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__dict__", "__defaults__",
                 "__kwdefaults__", "__closure__"):
        assert getattr(copy, name) == getattr(inner, name), name
