"""What really happened, kept outside the engine: tasks write it down, one line in one write.

A line is `WHAT NAME GENERATION ATTEMPT ENGINE`; WHAT is `start` or `end`, ENGINE names the engine
process that the task ran for. The file's order is the order in which things happened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

VARIABLE = "FLOWFORGE_TEST_ORACLE"


def tell(what: str, name: str, generation: int, attempt: int) -> None:
    """Append a line."""
    engine = os.environ.get("FLOWFORGE_ENGINE", "none")
    line = f"{what} {name} {generation} {attempt} {engine}\n"
    fd = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, line.encode())
    finally:
        os.close(fd)


@contextmanager
def witnessed() -> Iterator[None]:
    """Around a task's work: its start, and its end if it comes to one."""
    from engine import current

    me = current()
    tell("start", me.task_id, me.generation, me.attempt)
    yield
    tell("end", me.task_id, me.generation, me.attempt)


class Line(NamedTuple):
    what: str
    name: str
    generation: int
    attempt: int
    engine: str


class Oracle:
    """Reads the file and judges it. Findings are sentences; none is good."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[Line]:
        if not self.path.exists():
            return []
        found = []
        for text in self.path.read_text().splitlines():
            what, name, generation, attempt, engine = text.split(" ")
            found.append(Line(what, name, int(generation), int(attempt), engine))
        return found

    def count(self) -> int:
        """How many lines there are: a mark for `started_after`."""
        return len(self.lines())

    def started_after(self, mark: int) -> set[str]:
        return {x.name for x in self.lines()[mark:] if x.what == "start"}

    def repeated(self, done: Iterable[str], mark: int) -> list[str]:
        """Recorded successes that were executed again."""
        again = set(done) & self.started_after(mark)
        return [f"{name} was recorded as done and ran again" for name in sorted(again)]

    def more_than_once(self, prefixes: tuple[str, ...]) -> list[str]:
        """Tasks that must run at most once, and did not keep to it."""
        starts: dict[str, int] = {}
        for x in self.lines():
            if x.what == "start" and x.name.startswith(prefixes):
                starts[x.name] = starts.get(x.name, 0) + 1
        return [f"{name} was started {n} times" for name, n in starts.items() if n > 1]

    def too_early(self, above: Mapping[str, Iterable[str]]) -> list[str]:
        """Starts before what they wait for had ended. `above`: name → the names it waits for."""
        ended: set[str] = set()
        found = []
        for x in self.lines():
            if x.what == "end":
                ended.add(x.name)
            elif missing := set(above.get(x.name, ())) - ended:
                found.append(f"{x.name} started before {sorted(missing)[:3]} had ended")
        return found

    def overlaps(self) -> list[str]:
        """Signs of life of an engine's tasks after a later engine's had begun."""
        order: dict[str, int] = {}
        newest, found = -1, []
        for x in self.lines():
            number = order.setdefault(x.engine, len(order))
            if number < newest:
                found.append(f"{x.what} of {x.name}, of an engine that was dead by then")
            newest = max(newest, number)
        return found
