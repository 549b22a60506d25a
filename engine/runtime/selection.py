"""`--until` and `--only`: running a part of a workflow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.core.graph import Graph
from engine.errors import DefinitionError, RunError
from engine.runtime.names import Names


def selected_nodes(
    graph: Graph, until: Sequence[str], only: Sequence[str]
) -> set[int] | None:
    """The nodes to run; None: all. Raises DefinitionError for a name that is none.

    `until` takes a task and everything above it; `only` takes a task alone.
    """
    if not until and not only:
        return None
    chosen = set(_find(graph, only))
    todo = list(_find(graph, until))
    while todo:
        k = todo.pop()
        if k not in chosen:
            chosen.add(k)
            todo.extend(graph.nodes[k].upstream)
    return chosen


def _find(graph: Graph, names: Iterable[str]) -> list[int]:
    known = Names(graph.names, lambda k: None)
    found: list[int] = []
    for name in names:
        try:
            found += known.find(name)
        except RunError as error:
            raise DefinitionError(str(error)) from None
    return found


def check_ready(graph: Graph, chosen: set[int] | None, done: Sequence[bool]) -> None:
    """Raise DefinitionError if a chosen task needs one that is neither chosen nor done."""
    for k in sorted(chosen or ()):
        for u in graph.nodes[k].upstream:
            if u not in chosen and not done[u]:  # type: ignore[operator]
                raise DefinitionError(
                    f"--only {graph.nodes[k].name}: it needs {graph.nodes[u].name!r}, which has "
                    f"not run; use --until {graph.nodes[k].name} to run what it needs too"
                )
