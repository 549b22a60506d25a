"""A graph over a raw executor: the smallest dependency counter there is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

Graph = dict[Any, tuple[Callable[..., Any], tuple[Any, ...], tuple[Any, ...]]]
"""Key → function, keys of the tasks whose results it gets, and constants that go before those."""


class Counting:
    """A run of a table over a pool: what a task waits for is counted down by callbacks."""

    def __init__(self, pool: Executor, graph: Graph) -> None:
        self.pool, self.graph = pool, graph
        self.out: dict[Any, Any] = {}
        self.waits = {key: len(needs) for key, (_, needs, _) in graph.items()}
        self.below: dict[Any, list[Any]] = {}
        for key, (_, needs, _) in graph.items():
            for need in needs:
                self.below.setdefault(need, []).append(key)
        self.lock, self.done, self.left = threading.Lock(), threading.Event(), len(graph)

    def launch(self, key: Any) -> None:
        fn, needs, constants = self.graph[key]
        future = self.pool.submit(fn, *constants, *[self.out[need] for need in needs])
        future.add_done_callback(partial(self.finish, key))

    def finish(self, key: Any, future: Future[Any]) -> None:
        ready = []
        with self.lock:
            self.out[key] = future.result()
            self.left -= 1
            for child in self.below.get(key, ()):
                self.waits[child] -= 1
                if not self.waits[child]:
                    ready.append(child)
        for child in ready:
            self.launch(child)
        if not self.left:
            self.done.set()


def run_graph(pool: Executor, graph: Graph) -> dict[Any, Any]:
    """The results by key."""
    run = Counting(pool, graph)
    for key in [key for key, waits in run.waits.items() if not waits]:
        run.launch(key)
    run.done.wait()
    return run.out
