"""Random workflows for the simulation: made from numbers, built anew for each session."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from engine.core.dag import Dag
from engine.core.graph import Graph
from engine.core.nodes import MapInfo, Node
from engine.core.retry import RetryPolicy
from engine.core.rules import RULES
from engine.core.tasks import TaskOptions, TaskSpec

#: Items of a map, at most.
MOST_ITEMS = 4
TOLERANT = sorted(set(RULES) - {"all_success"})


@dataclass(frozen=True)
class Step:
    """One node, as data."""

    name: str
    above: tuple[str, ...] = ()
    over: str | int | None = None
    """What it is mapped over: a step, or so many numbers."""
    barrier: bool = False
    width: int = -1
    """The length of the list that it returns; -1: it returns one number."""
    version: int = 1
    lane: str = "thread"
    rule: str = "all_success"
    retries: int = 0
    timeout: float | None = None
    persist: bool = True
    once: bool = False
    """on_interrupt="fail"."""
    limited: bool = False

    def options(self) -> TaskOptions:
        return TaskOptions(
            retry=RetryPolicy(retries=self.retries, delay=0.5), timeout=self.timeout,
            executor=self.lane, limits={"gpu": 1} if self.limited else {},
            trigger_rule=self.rule, persist=self.persist,
            on_interrupt="fail" if self.once else "retry", version=str(self.version),
        )

    def value(self, args: Sequence[Any]) -> Any:
        """What its function returns: a number made from its name, version and arguments."""
        number = zlib.crc32(repr((self.name, self.version, *map(_told, args))).encode())
        return number if self.width < 0 else [number + i for i in range(self.width)]


def _told(value: Any) -> Any:
    return value if isinstance(value, (int, list)) else type(value).__name__


@dataclass
class Flow:
    """A workflow; `edit` makes the one that its user has written by the next session."""

    steps: list[Step] = field(default_factory=list)

    def graph(self) -> Graph:
        dag, nodes = Dag("simulated"), dict[str, Node]()
        for step in self.steps:
            mapped = None
            if step.over is not None:
                source = (nodes[step.over].handle if isinstance(step.over, str)
                          else list(range(step.over)))
                mapped = MapInfo({len(step.above): source}, barrier=step.barrier)
            # The name is given: a step is the same one wherever it stands.
            spec = TaskSpec(step.name, step.value, step.options(), named=True)
            nodes[step.name] = dag.add(
                spec, tuple(nodes[u].handle for u in step.above), {}, mapped=mapped)
        return dag.freeze()

    def __getitem__(self, name: str) -> Step:
        return next(s for s in self.steps if s.name == name)

    def upstream(self, step: Step) -> tuple[str, ...]:
        return (*step.above, step.over) if isinstance(step.over, str) else step.above

    def below(self, names: set[str]) -> set[str]:
        """The steps, and all that follow from them."""
        found = set(names)
        for step in self.steps:  # in an order in which what is above comes first
            if found.intersection(self.upstream(step)):
                found.add(step.name)
        return found

    def edit(self, rng: Random) -> set[str]:
        """Change it; returns the names that may run again for that."""
        kind = rng.choice(["version", "version", "leaf", "gone", "items"])
        at = rng.randrange(len(self.steps))
        step = self.steps[at]
        if kind == "version":
            self.steps[at] = replace(step, version=step.version + 1)
            return self.below({step.name})
        if kind == "leaf":
            name = f"new{rng.randrange(10**6)}"
            self.steps.append(Step(name, (step.name,)))
            return {name}
        if kind == "gone" and len(self.steps) > 1 and self.below({step.name}) == {step.name}:
            del self.steps[at]
            return {step.name}
        if kind == "items" and isinstance(step.over, int):
            self.steps[at] = replace(step, over=step.over + rng.choice([-1, 1, 2]) % 9)
            # Its items that are still there stay; who reads the whole list does not.
            return self.below({step.name})
        return set()


def random_flow(rng: Random) -> Flow:
    """Up to a dozen steps: maps over numbers, lists and maps; all options."""
    steps: list[Step] = []
    for i in range(rng.randint(1, 11)):
        names = [s.name for s in steps]
        above = tuple(rng.sample(names, min(len(names), rng.choice([0, 1, 1, 1, 2, 3]))))
        over: str | int | None = None
        if rng.random() < 0.35:
            over = rng.randint(0, MOST_ITEMS)
            sources = [s.name for s in steps if s.over is not None or s.width >= 0]
            if sources and rng.random() < 0.6:
                over = rng.choice(sources)
                above = tuple(u for u in above if u != over)
        once = rng.random() < 0.15
        rule = rng.choice(TOLERANT) if rng.random() < 0.15 and not once else "all_success"
        if isinstance(over, str) and next(s for s in steps if s.name == over).over is None:
            rule = "all_success"  # there must be a list to map over
        steps.append(Step(
            f"s{i}", above, over, barrier=rng.random() < 0.3, rule=rule, once=once,
            width=rng.randint(0, MOST_ITEMS) if over is None and rng.random() < 0.3 else -1,
            lane=rng.choice(["thread", "thread", "process"]),
            retries=0 if once else rng.choice([0, 0, 1, 2]),
            timeout=5.0 if rng.random() < 0.2 else None,
            # What is computed again must be the same again.
            persist=once or rule != "all_success" or rng.random() > 0.2,
            limited=rng.random() < 0.15,
        ))
    return Flow(steps)
