"""Arguments made from results, without a run around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.core.dag import Dag
from engine.core.events import Attempt
from engine.core.graph import Graph
from engine.core.handles import Handle
from engine.core.machine import Machine
from engine.core.tasks import TaskSpec
from engine.runtime.values import Values

F = TaskSpec("f", lambda *args: args)

Use = Callable[[Handle], tuple[Any, ...]]


def a_call(use: Use) -> Graph:
    """A task, and a call as `@task` makes it that is given what `use` makes of its handle."""
    dag = Dag("w")
    above = dag.add(F).handle
    args = use(above)
    dag.call(F, args, args if {*map(type, args)} == {Handle} else (above,), "")
    return dag.freeze()


USES: list[tuple[Use, tuple[Any, ...]]] = [
    (lambda h: (h,), ({"k": 7},)),
    (lambda h: (h, 1), ({"k": 7}, 1)),
    (lambda h: (h["k"],), (7,)),
    (lambda h: (h, h), ({"k": 7}, {"k": 7})),
    (lambda h: ([h],), ([{"k": 7}],)),
]


@pytest.mark.parametrize("edited", range(len(USES)))
@pytest.mark.parametrize("first", range(len(USES)))
def test_an_attempt_in_hand_gets_the_arguments_of_its_own_code(first: int, edited: int) -> None:
    graphs = [a_call(USES[i][0]) for i in (first, edited)]
    values = Values(graphs[0], Machine(graphs[0], ["thread"] * 2), read_blob=lambda _: b"",
                    reload=list)
    values.slots[0] = {"k": 7}
    attempts = [Attempt(1, graph.nodes[1], -1, 1, 1, None) for graph in graphs]
    assert values.arguments(attempts[0])[0] == USES[first][1]
    values.renew(graphs[1])
    values.slots[0] = {"k": 7}
    assert [values.arguments(a)[0] for a in attempts] == [USES[first][1], USES[edited][1]]
