import asyncio
import pickle
from contextlib import contextmanager
from typing import Any

import cloudpickle
import pytest

from engine import resource
from engine.errors import DefinitionError
from engine.worker.resources import WorkerResources, call_with_resources, opened


class Log(list[str]):
    def making(self, name: str, **options: Any) -> Any:
        """A resource that notes when it is opened and closed, and with what failure."""
        def make() -> Any:
            self.append(f"open {name}")
            try:
                yield name
            except BaseException as error:
                self.append(f"{name} saw {error}")
                raise
            finally:
                self.append(f"close {name}")

        make.__name__ = name
        return resource(**options)(make)


def test_resources_of_an_attempt_are_closed_in_reverse_order() -> None:
    log = Log()
    a, b = log.making("a"), log.making("b")
    with opened({"x": a, "y": b}, WorkerResources()) as values:
        assert values == {"x": "a", "y": "b"}
        log.append("work")
    assert log == ["open a", "open b", "work", "close b", "close a"]


def test_a_worker_keeps_its_resources_until_it_ends() -> None:
    log = Log()
    shared = log.making("shared", scope="worker")
    cache = WorkerResources()
    for _ in range(2):
        with opened({"x": shared}, cache) as values:
            assert values == {"x": "shared"}
    assert log == ["open shared"]
    cache.close()
    assert log == ["open shared", "close shared"]
    cache.close()
    assert len(log) == 2


def test_a_worker_process_knows_a_resource_again() -> None:
    log: Any = Log()
    shared = log.making("shared", scope="worker")
    first, second = (pickle.loads(cloudpickle.dumps(shared)) for _ in range(2))
    assert first is not second
    cache = WorkerResources()
    with opened({"x": first}, cache), opened({"x": second}, cache):
        assert len(cache.open.values) == 1


def test_a_failure_is_seen_but_not_swallowed() -> None:
    log = Log()

    @resource
    @contextmanager
    def swallowing() -> Any:
        try:
            yield
        except ValueError as error:
            log.append(f"swallowed {error}")

    with pytest.raises(ValueError, match="mine"):
        with opened({"a": log.making("a"), "s": swallowing}, WorkerResources()):
            raise ValueError("mine")
    assert log == ["open a", "swallowed mine", "close a"]


def test_what_follows_the_yield_runs_after_a_failure_too() -> None:
    log = Log()

    @resource
    def plain() -> Any:
        yield
        log.append("closed")

    with pytest.raises(ValueError, match="mine"):
        with opened({"p": plain}, WorkerResources()):
            raise ValueError("mine")
    assert log == ["closed"]


def test_trouble_in_closing_fails_a_success_and_is_a_note_on_a_failure() -> None:
    log = Log()

    @resource
    def bad() -> Any:
        yield
        raise OSError("cannot close")

    @resource
    def worse() -> Any:
        try:
            yield
        finally:
            raise OSError("cannot close")

    with pytest.raises(OSError, match="cannot close"):
        with opened({"b": bad, "a": log.making("a"), "w": worse}, WorkerResources()):
            pass
    assert log == ["open a", "close a"], "the others are closed all the same"
    with pytest.raises(ValueError) as caught:
        with opened({"w": worse}, WorkerResources()):
            raise ValueError("first")
    assert caught.value.__notes__ == [
        "closing resource 'worse' failed as well: OSError('cannot close')"
    ]


def test_what_was_opened_is_closed_if_the_next_cannot_be() -> None:
    log = Log()

    @resource
    def broken() -> Any:
        raise OSError("down")
        yield

    with pytest.raises(OSError, match="down"):
        with opened({"a": log.making("a"), "b": broken}, WorkerResources()):
            log.append("never")
    assert log == ["open a", "close a"]


def test_resources_use_each_other_and_are_shared_within_an_attempt() -> None:
    log = Log()
    base = log.making("base")

    @resource
    def user(b: Any = base) -> Any:
        yield f"user of {b}"

    with opened({"u": user, "b": base}, WorkerResources()) as values:
        assert values == {"u": "user of base", "b": "base"}
    assert log == ["open base", "close base"]


def test_context_managers_and_values_are_resources_too() -> None:
    log = Log()

    @resource
    @contextmanager
    def managed() -> Any:
        log.append("in")
        yield "managed"
        log.append("out")

    @resource
    def value() -> int:
        return 42

    with opened({"m": managed, "v": value}, WorkerResources()) as values:
        assert values == {"m": "managed", "v": 42}
    assert log == ["in", "out"]


def test_wrong_resources_are_refused() -> None:
    log = Log()
    short = log.making("short")
    with pytest.raises(DefinitionError, match=r"uses 'short'.*scope='worker'"):
        @resource(scope="worker")
        def long(s: Any = short) -> Any:
            yield
    with pytest.raises(DefinitionError, match="'task' or 'worker'"):
        resource(scope="run")(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match="plain generator"):
        @resource
        async def later() -> Any:
            yield
    for body, says in ((lambda: (yield from ()), "did not yield"), (_twice, "more than once")):
        with pytest.raises(DefinitionError, match=says):
            with opened({"x": resource(body)}, WorkerResources()):
                pass


def _twice() -> Any:
    yield 1
    yield 2


def test_outside_a_run_everything_is_opened_for_one_call() -> None:
    log = Log()
    shared = log.making("shared", scope="worker")
    assert call_with_resources(lambda a, s: (a, s), {"s": shared}, (1,), {}) == (1, "shared")

    async def task(s: str) -> str:
        log.append("awaited")
        return s

    assert asyncio.run(call_with_resources(task, {"s": shared}, (), {})) == "shared"
    with shared() as by_hand:
        assert by_hand == "shared"
    assert log == [
        "open shared", "close shared", "open shared", "awaited", "close shared", "open shared",
        "close shared",
    ]
