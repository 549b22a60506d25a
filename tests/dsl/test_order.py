from typing import Any

import pytest

from engine import chain, task, workflow
from engine.errors import DefinitionError


@task
def step(name: str) -> None: ...


def edges(body: Any) -> dict[str, list[str]]:
    dag = workflow("test")(body).build()
    return {n.args[0]: [dag.nodes[u].args[0] for u in n.upstream] for n in dag.nodes}


def four() -> Any:
    return step("a"), step("b"), step("c"), step("d")


def test_shift_orders_and_returns_its_right_side() -> None:
    def body() -> None:
        a, b, c, d = four()
        both = [b, c]
        assert (a >> both) is both
        [b, c] >> d

    assert edges(body) == {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def test_chain_takes_lists() -> None:
    def body() -> None:
        a, b, c, d = four()
        assert chain(a, [b, c], d) is d

    assert edges(body) == {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def test_chain_pairs_neighbouring_lists() -> None:
    def body() -> None:
        a, b, c, d = four()
        chain([a, b], [c, d])

    assert edges(body) == {"a": [], "b": [], "c": ["a"], "d": ["b"]}


def test_chain_refuses_lists_of_different_length_and_nothing() -> None:
    def body() -> None:
        a, b, c, _ = four()
        chain([a, b], [c])

    with pytest.raises(DefinitionError, match="2 and 1"):
        edges(body)
    with pytest.raises(DefinitionError, match="at least one"):
        chain()


def test_after_adds_to_the_edges_of_arguments() -> None:
    def body() -> None:
        a, b, c, d = four()
        d.after(a, [b, c])
        d.after(a)

    assert edges(body)["d"] == ["a", "b", "c"]


def test_a_chain_of_many_tasks_needs_no_recursion() -> None:
    def body() -> Any:
        steps = [step(str(i)) for i in range(20_000)]
        return chain(*steps)

    graph = workflow("long")(body).build().freeze()
    assert graph.priority[0] == 20_000
