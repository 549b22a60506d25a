"""A stand-in for the runtime: the graphs that reach it are looked at, not run."""

import sys
import types
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Launched:
    """What `engine.runtime.launch.execute` was given."""

    dag: Any
    name: str
    file: str | None
    parameters: dict[str, Any]
    options: Any
    handlers: list[Any]
    form: str
    result: Any = field(default="the result")

    def names(self) -> list[str]:
        return [node.name for node in self.dag.nodes]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Launched]:
    """The runs that were asked for, in order."""
    runs: list[Launched] = []

    def execute(dag: Any, **rest: Any) -> Launched:
        dag.freeze()
        runs.append(Launched(dag, **rest))
        return runs[-1]

    module = types.ModuleType("engine.runtime.launch")
    module.execute = execute
    monkeypatch.setitem(sys.modules, "engine.runtime.launch", module)
    return runs


@pytest.fixture
def attempt() -> Any:
    """An attempt in progress: code in the test runs as if a worker had called it."""
    from engine.core.dag import Dag
    from engine.core.events import Attempt
    from engine.core.tasks import TaskSpec
    from engine.worker.context import HERE, RunScope

    node = Dag("outer").add(TaskSpec("host", lambda: None))
    trial = Attempt(0, node, -1, 1, 1, None)
    trial.run = RunScope("run-1")
    token = HERE.set(trial)
    yield trial
    HERE.reset(token)
