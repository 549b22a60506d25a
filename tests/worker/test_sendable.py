import threading
from typing import Any

import pytest

from engine import task, workflow
from engine.errors import DefinitionError
from engine.worker.sendable import check_sendable


class Client:
    def __init__(self) -> None:
        self._lock = threading.Lock()


class Config:
    def __init__(self) -> None:
        self.clients = {"main": Client()}
        self.size = 3


CONFIG = Config()


@task
def plain(x: Any, *, y: Any = None) -> Any:
    return x


@task
def uses_global(x: int) -> Any:
    return CONFIG.size + x


@task
def calls_it(x: int) -> Any:
    return uses_global(x)


def check(body: Any, executor: str = "process") -> None:
    check_sendable(workflow("w")(body).build().nodes, executor)


def test_what_can_be_sent_passes() -> None:
    def body() -> None:
        x = plain([1, {"a": (2, "b")}])
        plain([x, {"deep": x}], y=x)
        plain.map([1, 2])

    check(body)


def test_threads_may_share_anything() -> None:
    check(lambda: uses_global(1), "thread")
    check(lambda: plain(CONFIG), "sequential")
    check(lambda: uses_global.options(executor="thread")(1))


def test_one_task_headed_for_another_process_is_enough() -> None:
    with pytest.raises(DefinitionError, match="plain"):
        check(lambda: plain.options(executor="process")(CONFIG), "thread")


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda: plain(CONFIG), r"x\.clients\['main'\]\._lock"),
        (lambda: plain(1, y=[CONFIG]), r"y\[0\]\.clients\['main'\]\._lock"),
        (lambda: plain.map([1, Client()]), r"x\[1\]\._lock"),
        (lambda: uses_global(1), r"CONFIG\.clients\['main'\]\._lock"),
    ],
)
def test_what_cannot_be_sent_is_named_by_its_path(call: Any, path: str) -> None:
    with pytest.raises(DefinitionError, match=f"because of {path}: .*lock.*resource"):
        check(call)


def test_closures_defaults_and_tasks_that_a_task_calls() -> None:
    client = Client()

    @task
    def closed(x: int) -> Any:
        return client

    @task
    def default(x: int, c: Any = client) -> Any:
        return c

    with pytest.raises(DefinitionError, match=r"because of client\._lock"):
        check(lambda: closed(1))
    with pytest.raises(DefinitionError, match=r"because of c\._lock"):
        check(lambda: default(1))
    with pytest.raises(DefinitionError, match=r"uses_global.*CONFIG\.clients\['main'\]\._lock"):
        check(lambda: calls_it(1))
