import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from engine import RunEnded, TaskFailed, bus, shell, task, workflow
from engine.errors import (
    AmbiguousNameError,
    CycleError,
    DefinitionError,
    DuplicateNameError,
    ParameterError,
    UnknownOptionError,
)


@task
def extract(path: str) -> list[int]:
    return [1, 2]


@task
def double(x: int) -> int:
    return 2 * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@workflow
def pipeline(path: str = "numbers.csv") -> Any:
    """Adds up."""
    return total(double.map(extract(path)))


def names(dag: Any) -> list[str]:
    return [n.name for n in dag.nodes]


# -- functions ---------------------------------------------------------------------------


def test_a_function_workflow_runs_with_its_parameters(launched: Any) -> None:
    run = pipeline.run(path="other.csv")
    assert run is launched[0]
    assert run.names() == ["extract", "double", "total"]
    assert run.dag.nodes[0].args == ("other.csv",)
    assert (run.name, run.form, run.parameters) == ("pipeline", "function", {"path": "other.csv"})
    assert run.file == str(Path(__file__).resolve())
    assert run.dag.result.node.name == "total"
    pipeline.run()
    assert launched[1].parameters == {"path": "numbers.csv"}, "defaults belong to the identity"


def test_called_outside_it_runs_and_returns_its_result(launched: Any) -> None:
    assert pipeline("x") == "the result"
    assert launched[0].parameters == {"path": "x"}


def test_called_inside_a_task_the_function_is_called(attempt: Any, launched: Any) -> None:
    @workflow
    def small(x: int) -> Any:
        return double(x)

    assert small(4) == 8
    assert launched == []


def test_called_inside_another_it_nests_as_a_group() -> None:
    @workflow
    def inner(x: Any) -> Any:
        return double(double(x))

    @workflow
    def middle(x: Any) -> Any:
        return {"it": inner(x), "more": total([x])}

    @workflow
    def outer() -> Any:
        a = extract("a")
        first = middle(a[0])
        again = inner(first["it"])
        return inner(again)

    dag = outer.build()
    assert names(dag) == [
        "extract", "middle/inner/double", "middle/inner/double-2", "middle/total",
        "inner/double", "inner/double-2", "inner-2/double", "inner-2/double-2",
    ]
    assert [n.group for n in dag.nodes][:5] == [
        "", "middle/inner", "middle/inner", "middle", "inner"
    ]
    assert list(dag.nodes[6].upstream) == [5]


def test_the_run_itself_is_outside_the_builder(launched: Any) -> None:
    @workflow
    def inner() -> Any:
        return double(1)

    @workflow
    def outer() -> Any:
        inner.run()
        return total([])

    outer.run()
    assert [r.names() for r in launched] == [["double"], ["total"]]


def test_a_body_that_raises_leaves_no_builder_behind() -> None:
    @workflow
    def broken() -> None:
        raise ValueError("in the body")

    with pytest.raises(ValueError):
        broken.build()
    assert double(2) == 4


@pytest.mark.fault(26)
def test_a_cycle_prints_its_path() -> None:
    @workflow
    def ring() -> None:
        a, b, c = double(1), double.options(name="b")(2), double.options(name="c")(3)
        a >> b >> c >> a

    with pytest.raises(CycleError, match=r"double → b → c → double|b → c → double → b"):
        ring.build().freeze()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"pth": "x"}, "did you mean 'path'"),
        ({"path": ["x"]}, "parameter 'path' of workflow 'pipeline'"),
    ],
)
def test_wrong_parameters_are_named(arguments: Any, says: str, launched: Any) -> None:
    with pytest.raises(ParameterError, match=says):
        pipeline.run(**arguments)
    assert launched == []


def test_parameters_of_a_nested_workflow_may_be_handles() -> None:
    @workflow
    def outer() -> Any:
        return pipeline(extract("x")[0])

    assert names(outer.build())[1:] == ["pipeline/extract", "pipeline/double", "pipeline/total"]

    @workflow
    def wrong() -> Any:
        return pipeline(3)

    with pytest.raises(ParameterError, match="'path'"):
        wrong.build()


def test_returning_a_task_is_an_error() -> None:
    @workflow
    def forgot() -> Any:
        return [double]

    with pytest.raises(DefinitionError, match=r"call it: double\(\.\.\.\)"):
        forgot.build()


def test_a_workflow_must_be_a_plain_function() -> None:
    with pytest.raises(DefinitionError, match="plain function"):
        @workflow
        async def later() -> None: ...
    with pytest.raises(DefinitionError, match="plain function"):
        @workflow
        def steps() -> Any:
            yield 1
    with pytest.raises(DefinitionError, match="decorates a function"):
        workflow(3)  # type: ignore[arg-type]


# -- settings ------------------------------------------------------------------------------


def test_settings_reach_the_run_and_options_override_them(launched: Any) -> None:
    @workflow("named", executor="process", workers=4, limits={"gpu": 2}, durability="none")
    def flow() -> Any:
        return double(1)

    flow.options(workers=2, fresh=True, home="/tmp/x").run()
    flow.run()
    first, second = launched
    assert first.name == "named"
    assert (first.options.executor, first.options.workers, first.options.fresh) == (
        "process", 2, True
    )
    assert (second.options.workers, second.options.fresh) == (4, None)
    assert second.options.limits == {"gpu": 2}


def test_a_workflow_is_named_after_its_function_unless_told_otherwise() -> None:
    assert workflow(lambda: 1, name="given").name == "given"
    assert workflow(name="given")(lambda: 1).name == "given"

    @workflow(workers=2)
    def plain() -> None: ...

    assert plain.name == "plain" and plain.settings.workers == 2
    with workflow() as block:
        double(1)
    assert block.name == "workflow"


def test_the_original_names_of_settings_are_accepted() -> None:
    flow = workflow("w", executor_type="process", max_workers=3)
    assert (flow.settings.executor, flow.settings.workers) == ("process", 3)
    with pytest.raises(DefinitionError, match="one option"):
        workflow("w", executor="thread", executor_type="process")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"executer": "thread"}, "did you mean 'executor'"),
        ({"colour": 1}, "the options are: durability, executor"),
    ],
)
def test_unknown_settings_are_errors(options: Any, says: str) -> None:
    with pytest.raises(UnknownOptionError, match=says):
        workflow("w", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"executor": "threads"}, {"workers": 0}, {"workers": True}, {"limits": {"gpu": 0}},
        {"limits": 3}, {"durability": "some"}, {"resume": "maybe"}, {"fresh": 1}, {"grace": -1},
        {"on_failure": "ignore"}, {"home": 3}, {"until": 3},
    ],
)
def test_wrong_settings_are_errors(options: Any) -> None:
    with pytest.raises(DefinitionError, match=next(iter(options))):
        workflow("w", **options)


# -- blocks --------------------------------------------------------------------------------


def test_the_original_block_runs_unchanged(launched: Any) -> None:
    with workflow("My Workflow") as wf:
        @task
        def step1() -> str:
            return "result1"

        @task
        def step2() -> str:
            return "result2"

        wf.dag.get_task("step2").add_dependency(wf.dag.get_task("step1"))
        wf.run()

    run = launched[0]
    assert (run.names(), run.name, run.form) == (["step1", "step2"], "My Workflow", "block")
    assert list(run.dag.nodes[1].upstream) == [0]
    assert run.file == str(Path(__file__).resolve())


def test_the_first_call_binds_a_declared_task_and_later_ones_add_nodes(launched: Any) -> None:
    with workflow("block") as wf:
        @task
        def late(x: int) -> int: ...

        @task
        def source() -> int: ...

        late(source())
        late(5)
        wf.run()

    nodes = launched[0].dag.nodes
    assert launched[0].names() == ["late", "source", "late-2"]
    assert list(nodes[0].upstream) == [1] and nodes[2].args == (5,)


def test_a_declared_task_is_bound_by_map_and_through_options() -> None:
    with workflow("block") as wf:
        @task
        def each(x: int) -> int: ...

        @task
        def named(x: int) -> int: ...

        each.map([1, 2])
        named.options(name="other", retries=2)(1)
        named(2)

    dag = wf.build()
    assert names(dag) == ["each", "other", "named"]
    assert dag.nodes[0].mapped is not None
    assert dag.nodes[1].spec.options.retry.retries == 2
    assert dag.get_task("other").args == (1,)


def test_a_declared_task_without_its_arguments_is_an_error() -> None:
    with workflow("block") as wf:
        @task
        def needy(x: int, y: int, z: int = 3) -> int: ...

    with pytest.raises(DefinitionError, match=r"'needy' was declared but never called.* x, y"):
        wf.run()


def test_tasks_name_their_node_in_order_statements() -> None:
    with workflow("block") as wf:
        @task
        def a() -> None: ...
        @task
        def b() -> None: ...
        @task
        def c() -> None: ...

        assert (a >> b) is b
        c.after(a, [b])
        c()

    assert [list(n.upstream) for n in wf.build().nodes] == [[], [0], [0, 1]]


def test_a_bare_name_called_twice_is_ambiguous() -> None:
    with workflow("block") as wf:
        @task
        def a() -> None: ...
        @task
        def b() -> None: ...

        a()
        a >> b
        a()
        with pytest.raises(AmbiguousNameError, match=r"called 2 times.*name="):
            a >> b
        with pytest.raises(AmbiguousNameError):
            wf.dag.get_task("a")

    @workflow
    def function() -> None:
        double(1)
        double(2)
        double >> total([])

    with pytest.raises(AmbiguousNameError):
        function.build()


def test_two_functions_of_one_name_can_still_be_told_apart_as_tasks() -> None:
    with workflow("block") as wf:
        steps = []
        for _ in range(2):
            @task
            def step() -> None: ...
            steps.append(step)
        steps[0] >> steps[1]

    assert names(wf.build()) == ["step", "step-2"]
    assert [list(n.upstream) for n in wf.build().nodes] == [[], [0]]


@pytest.mark.fault(28)
def test_two_tasks_of_one_given_name_are_an_error() -> None:
    with pytest.raises(DuplicateNameError), workflow("block"):
        @task(name="same")
        def a() -> None: ...
        @task(name="same")
        def b() -> None: ...


def test_ordering_by_a_task_that_is_no_node_is_an_error() -> None:
    with workflow("block"):
        @task
        def a() -> None: ...
        with pytest.raises(DefinitionError, match=r"call it first: double\(\.\.\.\)"):
            double >> a
    with pytest.raises(DefinitionError, match="while a workflow is built"):
        double >> total


def test_tasks_declared_in_a_workflow_function_become_nodes_when_called() -> None:
    @workflow
    def flow() -> Any:
        @task
        def unused(x: int) -> None: ...
        @task
        def used() -> None: ...
        return used()

    assert names(flow.build()) == ["used"]


def test_a_function_nested_in_a_block_and_a_block_in_a_function() -> None:
    with workflow("block") as wf:
        @task
        def first() -> Any: ...
        pipeline("x")
        with workflow("part") as part:
            @task
            def second() -> Any: ...
            part.dag.get_task("second").add_dependency(first.node)
            assert [n.name for n in part.dag.nodes] == ["part/second"]
            with pytest.raises(DefinitionError, match="nested"):
                part.run()
        @task
        def third() -> Any: ...

    assert names(wf.build()) == [
        "first", "pipeline/extract", "pipeline/double", "pipeline/total", "part/second", "third"
    ]


def test_a_block_takes_no_parameters_and_cannot_be_called(launched: Any) -> None:
    with workflow("block") as wf:
        double(1)
    with pytest.raises(ParameterError, match="takes no parameters"):
        wf.run(x=1)
    with pytest.raises(DefinitionError, match=r"\.run\(\)"):
        wf()
    with pytest.raises(DefinitionError, match="is a function"), pipeline:
        pass
    with pytest.raises(DefinitionError, match="no tasks yet"):
        workflow("empty").run()


def test_shell_commands_are_nodes_of_a_block() -> None:
    with workflow("block") as wf:
        shell("echo hi")
        shell(["gzip", extract("x")])
    assert names(wf.build()) == ["echo", "extract", "gzip"]


# -- events, workers, imports ----------------------------------------------------------------


def test_listeners_reach_the_run(launched: Any) -> None:
    heard: list[Any] = []
    flow = workflow("listened")(lambda: double(1))
    flow.on(TaskFailed, heard.append)

    @flow.on(RunEnded)
    def ended(notice: Any) -> None: ...

    cancel = bus.subscribe(TaskFailed, print)
    flow.run()
    cancel()
    flow.run()
    assert launched[0].handlers == [
        (TaskFailed, print), (TaskFailed, heard.append), (RunEnded, ended)
    ]
    assert launched[1].handlers == [(TaskFailed, heard.append), (RunEnded, ended)]


def test_options_keep_the_file_the_listeners_and_the_graph(launched: Any) -> None:
    with workflow("block") as wf:
        double(1)
    wf.on(TaskFailed, print)
    wf.options(workers=2).run()
    wf.options(workers=3).on(RunEnded, print)
    wf.run()
    pipeline.options(workers=2).run()
    first, second, third = launched
    assert first.names() == second.names() == ["double"]
    assert first.handlers == [(TaskFailed, print)]
    assert second.handlers == [(TaskFailed, print), (RunEnded, print)]
    assert {run.file for run in launched} == {str(Path(__file__).resolve())}
    assert third.form == "function" and first.options.workers == 2


def test_only_events_can_be_listened_for() -> None:
    from engine import errors

    for wrong in (errors.TaskFailed, "TaskFailed", Exception):
        with pytest.raises(DefinitionError, match="not an event"):
            pipeline.on(wrong, print)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="function of the notice"):
        pipeline.on(TaskFailed, 3)  # type: ignore[arg-type]


def test_a_workflow_pickles_without_its_graph() -> None:
    with workflow("block") as wf:
        double(1)
    data = cloudpickle.dumps(wf)
    assert pickle.loads(data).name == "block" and b"Node" not in data
    again = pickle.loads(cloudpickle.dumps(pipeline))
    assert again.name == "pipeline" and names(again.build()) == ["extract", "double", "total"]


def test_engine_is_imported_lazily_and_dsl_has_the_same_names() -> None:
    code = (
        "import sys, engine, engine.dsl\n"
        "assert not {'msgpack', 'asyncio', 'cloudpickle', 'sqlite3'} & set(sys.modules)\n"
        "from engine.dsl import workflow, task\n"
        "assert not {'msgpack', 'asyncio', 'cloudpickle', 'sqlite3'} & set(sys.modules)\n"
        "assert engine.task is task\n"
        "for name in engine.__all__: getattr(engine, name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_name_that_cannot_be_stored_is_refused(tmp_path):
    @task
    def one():
        return 1

    @workflow("half \ud800 a character")
    def odd():
        return one()

    with pytest.raises(DefinitionError, match="surrogate"):
        odd.options(home=tmp_path).run()
    assert not list(tmp_path.glob("runs/*"))
