import asyncio
import dataclasses
import functools
import pickle
from typing import Any

import cloudpickle
import pytest

from engine import quote, resource, shell, task, workflow
from engine.core.handles import Handle
from engine.errors import DefinitionError, DuplicateNameError, HandleError


@task
def one() -> int:
    return 1


@task
def add(a: int, b: int = 10, *, c: int = 100) -> int:
    """Adds."""
    return a + b + c


@task(retries=4)
def countdown(n: int) -> int:
    return countdown(n - 1) if n else 0


def built(body: Any, **options: Any) -> Any:
    """The graph of a workflow function with this body."""
    return workflow("test", **options)(body).build()


def upstream(dag: Any) -> dict[str, list[str]]:
    return {n.name: [dag.nodes[u].name for u in n.upstream] for n in dag.nodes}


# -- outside a workflow ------------------------------------------------------------------


def test_outside_a_workflow_a_call_runs_the_function() -> None:
    assert add(1) == 111
    assert add(1, b=2, c=3) == 6
    assert add.__name__ == "add" and add.__doc__ == "Adds." and add.__wrapped__(0) == 110


def test_outside_a_workflow_resources_are_opened_and_closed() -> None:
    seen = []

    @resource
    def database() -> Any:
        seen.append("open")
        yield "db"
        seen.append("closed")

    @task
    def load(x: int, db: str = database) -> str:
        seen.append("used")
        return f"{db}{x}"

    assert load(1) == "db1"
    assert seen == ["open", "used", "closed"]
    assert load(1, db="other") == "other1"
    assert load(1, "other") == "other1"
    assert len(seen) == 5


def test_an_async_task_returns_its_coroutine() -> None:
    @resource
    def client() -> Any:
        yield "client"

    @task
    async def fetch(x: int, via: str = client) -> str:
        await asyncio.sleep(0)
        return f"{via}:{x}"

    assert asyncio.run(fetch(3)) == "client:3"
    assert fetch.spec.kind == "async"


def test_a_handle_outside_its_workflow_is_an_error() -> None:
    dag = built(lambda: one())
    with pytest.raises(HandleError, match="inside the workflow"):
        add(dag.result)


def test_a_class_with_run_is_a_task() -> None:
    @task
    class Counter:
        def __init__(self) -> None:
            self.calls = 0

        def run(self, step: int) -> int:
            self.calls += step
            return self.calls

    assert Counter(2) == 2
    assert Counter(3) == 3, "each call has an instance of its own"
    assert Counter.spec.name == "Counter" and Counter.spec.source.__name__ == "Counter"
    with pytest.raises(DefinitionError, match="'step'"):
        built(lambda: Counter())
    again = pickle.loads(cloudpickle.dumps(Counter))
    assert again(5) == 5


def test_what_cannot_be_a_task_is_refused() -> None:
    with pytest.raises(DefinitionError, match="name='load'"):
        task("load")
    with pytest.raises(DefinitionError, match="generator"):
        @task
        def numbers() -> Any:
            yield 1
    with pytest.raises(DefinitionError, match=r"run\(\)"):
        task(dict)
    with pytest.raises(DefinitionError, match="without arguments"):
        @task
        class Needy:
            def __init__(self, x: int) -> None: ...
            def run(self) -> None: ...
    with pytest.raises(DefinitionError, match="function"):
        task(3)


def test_builtins_partials_and_lambdas_are_tasks() -> None:
    def body() -> Any:
        total = task(sum)([1, 2])
        more = task(functools.partial(add.code, 5))(total)
        return task(lambda x: x)(more)

    dag = built(body)
    assert [n.name for n in dag.nodes] == ["sum", "add", "lambda"]


# -- inside a workflow --------------------------------------------------------------------


def test_calls_make_nodes_and_arguments_are_edges() -> None:
    def body() -> Any:
        x = one()
        y = add(x, 2)
        return {"y": y, "z": [add(x, b=y, c=one())]}

    dag = built(body)
    assert upstream(dag) == {
        "one": [], "add": ["one"], "one-2": [], "add-2": ["one", "add", "one-2"]
    }
    assert dag.nodes[3].args[0].node is dag.nodes[0]
    assert list(dag.nodes[3].kwargs) == ["b", "c"]
    assert dag.result["y"].node.name == "add"


def test_handles_are_found_inside_containers() -> None:
    @dataclasses.dataclass
    class Config:
        rows: Any
        extra: Any = None

    @task
    def use(*things: Any, **named: Any) -> None: ...

    def body() -> None:
        a, b, c, d = one(), one(), one(), one()
        use([a, {"k": (b, [c["x"]])}], Config(rows=d.attr("n")))
        use(quote([a]), 3, "text", named={"deep": [b]})

    dag = built(body)
    assert list(dag.nodes[4].upstream) == [0, 1, 2, 3]
    assert list(dag.nodes[5].upstream) == [1]


def test_a_set_with_a_handle_and_a_task_as_an_argument_are_errors() -> None:
    with pytest.raises(HandleError, match="list"):
        built(lambda: add({one()}))
    with pytest.raises(HandleError, match=r"call it: one\(\.\.\.\)"):
        built(lambda: add(one))
    with pytest.raises(HandleError, match=r"one\(\.\.\.\)\['k'\]"):
        built(lambda: add(one["k"]))
    assert built(lambda: add(quote(one))).nodes[0].args[0].value is one


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: add(), "missing its argument 'a'"),
        (lambda: add(1, 2, 3), "takes 2 positional arguments and was given 3"),
        (lambda: add(1, a=2), "given 'a' twice"),
        (lambda: add(1, d=2), "has no parameter 'd'"),
        (lambda: one(1), "takes 0 positional arguments"),
    ],
)
def test_arguments_that_do_not_fit_are_found_at_definition(call: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says) as caught:
        built(call)
    assert "it is " in str(caught.value), "the message shows the signature"


def test_keyword_only_parameters_are_required_too() -> None:
    @task
    def strict(*, key: str) -> None: ...

    with pytest.raises(DefinitionError, match="'key'"):
        built(lambda: strict())
    with pytest.raises(DefinitionError, match="takes 0 positional"):
        built(lambda: strict("x"))
    assert len(built(lambda: strict(key="x")).nodes) == 1


def test_a_resource_given_by_the_call_is_not_opened() -> None:
    @resource
    def db() -> Any:
        yield 1

    @task
    def load(x: int, con: Any = db) -> None: ...

    def body() -> None:
        load(1)
        load(1, con="mine")
        load(1, "mine")

    kept = [set(n.spec.resources) for n in built(body).nodes]
    assert kept == [{"con"}, set(), set()]


def test_a_handle_of_another_workflow_is_refused() -> None:
    other = built(lambda: one()).result
    with pytest.raises(DefinitionError, match="another workflow"):
        built(lambda: add(other))


def test_outputs_can_be_unpacked() -> None:
    @task(outputs=2)
    def split() -> Any: ...

    def body() -> Any:
        left, right = split()
        return add(left, right)

    dag = built(body)
    assert [h.path for h in dag.nodes[1].args] == [(("item", 0),), (("item", 1),)]
    with pytest.raises(HandleError, match="map over it"):
        built(lambda: list(one()))


# -- names and options ----------------------------------------------------------------------


def test_options_make_another_task() -> None:
    faster = countdown.options(timeout=1.5, name="faster")
    assert (countdown.spec.options.timeout, countdown.spec.name) == (None, "countdown")
    assert faster.spec.options.timeout == 1.5
    assert faster.spec.options.retry.retries == 4
    assert faster.spec.name == "faster" and faster.spec.named and not countdown.spec.named
    assert faster.options(timeout=None).spec.options.timeout is None


def test_a_given_name_must_be_free() -> None:
    def twice() -> None:
        one.options(name="a")()
        one.options(name="a")()

    def by_two_tasks() -> None:
        one.options(name="a")()
        add.options(name="a")(1)

    def taken_by_a_plain_one() -> None:
        one()
        add.options(name="one")(1)

    for body in (twice, by_two_tasks, taken_by_a_plain_one):
        with pytest.raises(DuplicateNameError, match="another name="):
            built(body)


def test_one_named_task_called_twice_is_numbered() -> None:
    named = one.options(name="a")

    def body() -> None:
        named()
        named()
        named.options(retries=1)()

    assert [n.name for n in built(body).nodes] == ["a", "a-2", "a-3"]


def test_when_is_an_edge() -> None:
    def body() -> None:
        ready = one()
        add.options(when=ready)(1)
        add.options(when=ready["flag"])(1, b=2)

    dag = built(body)
    assert [list(n.upstream) for n in dag.nodes] == [[], [0], [0]]
    assert dag.nodes[1].when.node is dag.nodes[0]


def test_when_is_a_result_or_a_truth_value() -> None:
    def body() -> None:
        one.options(when=True)()
        one.options(when=False)()
        shell("true", when=False)

    assert [n.when for n in built(body).nodes] == [None, False, False]
    for wrong in (one, 3, "yes"):
        with pytest.raises(DefinitionError, match="when="):
            one.options(when=wrong)
        with pytest.raises(DefinitionError, match="when="):
            built(lambda: shell("true", when=wrong))


# -- workers --------------------------------------------------------------------------------


def test_a_task_pickles_as_its_function_and_options() -> None:
    def body() -> Any:
        gate = one()
        gated = countdown.options(when=gate)
        gated(1)
        return quote(gated)

    gated = built(body).result.value
    data = cloudpickle.dumps(gated)
    again = pickle.loads(data)
    assert again(3) == 0, "it calls itself through its module's globals"
    assert again.spec.options.retry.retries == 4
    assert again.when is None and b"Dag" not in data and b"Node" not in data


def test_inside_an_attempt_a_call_is_a_call(attempt: Any) -> None:
    assert add(1) == 111
    assert add.map([1, 2]) == [111, 112]


def test_a_worker_that_inherited_a_builder_calls_the_function() -> None:
    from engine.core.events import Attempt
    from engine.worker.context import HERE

    def body() -> Any:
        token = HERE.set(Attempt(0, None, -1, 1, 1, None))
        try:
            return add(1)
        finally:
            HERE.reset(token)

    assert built(body).result == 111


def test_a_workflow_built_inside_an_attempt_makes_nodes(attempt: Any) -> None:
    assert isinstance(built(lambda: one()).result, Handle)
