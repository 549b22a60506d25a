from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from engine.executors.process import ProcessExecutor
from tests.executors.fake_hub import FakeHub


@dataclass
class Pool:
    """A process executor at work on a fake hub."""

    hub: FakeHub
    executor: ProcessExecutor


@pytest.fixture
def pool() -> Iterator[Callable[..., Pool]]:
    """Makes pools; they are closed after the test."""
    made: list[Pool] = []

    def make(workers: int = 1, grace: float = 5.0, batch: int = 64) -> Pool:
        one = Pool(FakeHub(batch=batch), ProcessExecutor())
        one.executor.start(one.hub, workers, grace)
        made.append(one)
        return one

    yield make
    for one in made:
        one.hub.finish()
        one.executor.close()
        assert one.executor.pids() == []
