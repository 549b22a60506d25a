import asyncio
from typing import Any

import pytest

from engine import resource, task, workflow
from engine.core.handles import Handle
from engine.errors import DefinitionError


@task
def numbers() -> list[int]:
    return [1, 2, 3]


@task
def scale(x: int, by: int = 2, *, plus: int = 0) -> int:
    return x * by + plus


@task
def total(xs: list[int]) -> int:
    return sum(xs)


def built(body: Any) -> Any:
    return workflow("test")(body).build()


def test_a_map_over_a_handle_is_one_node() -> None:
    dag = built(lambda: total(scale.map(numbers())))
    source, mapped, end = dag.nodes
    assert isinstance(mapped.mapped.over[0], Handle) and mapped.args == ()
    assert list(mapped.upstream) == [0] and list(end.upstream) == [1]
    assert source.mapped is None and not mapped.mapped.barrier


def test_partial_fixes_the_rest() -> None:
    def body() -> None:
        scale.partial(plus=1).map([1, 2], by=[3, 4])
        scale.partial(5).map([1, 2])
        scale.partial(x=5).map([1, 2])
        scale.partial(5, plus=1).map(by=numbers())

    a, b, c, _, d = built(body).nodes
    assert (a.kwargs, a.mapped.over) == ({"plus": 1}, {0: [1, 2], "by": [3, 4]})
    assert (b.args, b.mapped.over) == ((5,), {1: [1, 2]})
    assert (c.kwargs, c.mapped.over) == ({"x": 5}, {"by": [1, 2]}), "the first open parameter"
    assert (d.args, d.kwargs, list(d.mapped.over)) == ((5,), {"plus": 1}, ["by"])


def test_key_and_barrier_reach_the_graph() -> None:
    def key(x: int) -> str:
        return f"n{x}"

    node = built(lambda: scale.map([1], key=key, barrier=True)).nodes[0]
    assert node.mapped.key is key and node.mapped.barrier
    with pytest.raises(DefinitionError, match="key="):
        built(lambda: scale.map([1], key="x"))


def test_values_at_hand_are_listed_once() -> None:
    given = [1, 2]

    def body() -> None:
        scale.map(given)
        scale.map(range(3))
        scale.map(x for x in given)
        given.append(3)

    assert [n.mapped.over[0] for n in built(body).nodes] == [[1, 2], range(3), [1, 2]]


def test_handles_inside_the_mapped_list_are_edges() -> None:
    def body() -> Any:
        first = numbers()
        return scale.map([first[0], 5])

    assert list(built(body).nodes[1].upstream) == [0]


def test_items_of_a_mapped_task_are_followed_one_by_one() -> None:
    dag = built(lambda: scale.map(scale.map([1, 2])))
    graph = dag.freeze()
    assert graph.item_children == {0: [1]}
    barred = built(lambda: scale.map(scale.map([1, 2]), barrier=True)).freeze()
    assert barred.item_children == {} and barred.children[0] == [1]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: scale.map(), "nothing to map"),
        (lambda: scale.map(3), r"argument 1 \(int\); .*partial"),
        (lambda: scale.map("text"), r"argument 1 \(str\)"),
        (lambda: scale.map([1], by={"a": 1}), r"'by' \(dict\); .*values\(\)"),
        (lambda: scale.map([1, 2], [1]), "one length"),
        (lambda: scale.map([1], nope=[2]), "no parameter 'nope'"),
        (lambda: scale.map([1], [2], [3]), "takes 2 positional"),
        (lambda: scale.partial(1).map([1], x=[2]), "'x' twice"),
        (lambda: scale.map(by=[1]), "missing its argument 'x'"),
        (lambda: scale.partial(x=1).map([1], [2]), "2 lists for the 1"),
    ],
)
def test_maps_that_cannot_be_are_found_at_definition(call: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        built(call)


def test_outside_a_workflow_a_map_is_a_loop() -> None:
    assert scale.map([1, 2]) == [2, 4]
    assert scale.partial(plus=1).map([1, 2], by=[3, 4]) == [4, 9]
    assert scale.map([]) == []
    handle = built(lambda: numbers()).result
    with pytest.raises(DefinitionError, match="inside the workflow"):
        scale.map(handle)


def test_outside_a_workflow_an_async_map_is_awaited() -> None:
    @task
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    async def main() -> Any:
        return await later.map([1, 2])

    assert asyncio.run(main()) == [2, 3]


def test_a_partial_can_be_called_and_given_options() -> None:
    ten = scale.partial(by=10)
    assert ten(3) == 30 and ten.partial(plus=1)(3) == 31
    node = built(lambda: ten.options(retries=2).map([1])).nodes[0]
    assert node.spec.options.retry.retries == 2


def test_a_mapped_resource_is_not_opened() -> None:
    @resource
    def db() -> Any:
        yield 1

    @task
    def load(x: int, con: Any = db) -> None: ...

    node = built(lambda: load.map([1], con=["a"])).nodes[0]
    assert not node.spec.resources
