from __future__ import annotations

import functools
import json
from collections.abc import Callable

import pytest

from engine.core.dag import Dag
from engine.core.events import ErrorInfo
from engine.core.tasks import TaskSpec
from engine.errors import CycleError
from engine.worker import secrets
from engine.worker.failures import MESSAGE_LIMIT, TRACEBACK_LIMIT, describe, shorten


def failure(fn: Callable[[], object]) -> ErrorInfo:
    try:
        fn()
    except BaseException as exc:
        return describe(exc)
    raise AssertionError("it did not fail")


def test_it_points_at_the_users_line() -> None:
    def task() -> None:
        json.loads("{")

    info = failure(task)
    assert info.type == "JSONDecodeError"
    assert info.file == __file__
    assert info.line == task.__code__.co_firstlineno + 1
    assert 'json.loads("{")' in info.traceback
    assert "decoder.py" in info.traceback, "the library's frames tell what went wrong"


def test_the_engines_frames_are_left_out() -> None:
    def task() -> None:
        dag = Dag("d")
        a, b = (dag.add(TaskSpec(n, print)) for n in "ab")
        a.wait_for(b)
        b.wait_for(a)
        dag.freeze()

    info = failure(task)
    assert info.type == CycleError.__name__
    assert "dag.freeze()" in info.traceback
    assert "core/dag.py" not in info.traceback
    assert info.file == __file__


def test_causes_are_kept_and_cleaned_too() -> None:
    def task() -> None:
        try:
            Dag("d").get_task("nowhere")
        except Exception as exc:
            raise ValueError("second") from exc

    text = failure(task).traceback
    assert "nowhere" in text and "direct cause" in text and "second" in text
    assert "core/dag.py" not in text


def test_groups_are_cleaned_too() -> None:
    def task() -> None:
        try:
            Dag("d").get_task("nowhere")
        except Exception as exc:
            raise ExceptionGroup("several", [exc]) from None

    text = failure(task).traceback
    assert "several" in text and "nowhere" in text
    assert "core/dag.py" not in text


class Hostile(Exception):
    def __str__(self) -> str:
        raise SystemExit("no")

    __repr__ = __str__


def test_hostile_exceptions_are_described_all_the_same() -> None:
    def task() -> None:
        raise Hostile

    info = failure(task)
    assert info.type == "Hostile"
    assert "__str__ raised SystemExit" in info.message
    assert info.line


def test_whatever_breaks_inside_a_description_comes_out() -> None:
    class Broken(Exception):
        @property
        def __notes__(self) -> list[str]:  # type: ignore[override]
            raise RuntimeError("no notes")

    def task() -> None:
        raise Broken("x")

    assert failure(task).type == "Broken"


def test_recursion_is_described_in_bounded_space() -> None:
    def task() -> None:
        task()

    info = failure(task)
    assert info.type == "RecursionError"
    assert info.file == __file__
    assert len(info.traceback) <= TRACEBACK_LIMIT + 100


def test_giant_messages_are_cut_and_marked() -> None:
    def task() -> None:
        raise ValueError("x" * 10_000_000)

    info = failure(task)
    assert len(info.message) < MESSAGE_LIMIT + 100
    assert len(info.traceback) < TRACEBACK_LIMIT + 100
    assert "characters cut" in info.message


def test_text_is_always_encodable() -> None:
    def task() -> None:
        raise ValueError("a\udcffb\0")

    info = failure(task)
    assert (info.message + info.traceback).encode("utf-8")
    assert "a\\udcffb\0" in info.message


def test_secrets_and_locals_stay_out() -> None:
    secrets.remember("hunter22")

    def task() -> None:
        password = "hunter22"
        unrelated_local = "must not travel"
        raise ValueError(f"login with {password} failed {len(unrelated_local)}")

    info = failure(task)
    secrets.forget_all()
    assert "hunter22" not in info.message + info.traceback
    assert info.message == "login with *** failed 15"
    assert "must not travel" not in info.traceback


def test_an_exception_that_was_never_raised() -> None:
    info = describe(KeyError("k"))
    assert (info.type, info.message, info.file, info.line) == ("KeyError", "'k'", "", 0)


def test_code_without_a_file() -> None:
    info = failure(functools.partial(exec, "raise ValueError('x')", {}))
    assert (info.file, info.line) == ("<string>", 1)


@pytest.mark.parametrize("size", [0, 99, 100, 101, 5000])
def test_shorten(size: int) -> None:
    short = shorten("y" * size, 100)
    assert short.count("y") == min(size, 100)
    assert ("cut" in short) == (size > 100)
