import pickle
from typing import Any

import cloudpickle
import pytest

from engine import Dag, Scheduler, Task, TaskFailed, task
from engine.errors import CycleError, DefinitionError, DuplicateNameError, UnknownOptionError


def fn_a() -> str:
    return "a"


def fn_b(x: Any = None) -> str:
    return f"b{x}"


class Doubled(Task):
    def __init__(self, name: str, factor: int) -> None:
        super().__init__(name, retries=2)
        self.factor = factor

    def run(self, x: int = 1) -> int:
        return x * self.factor


def test_the_original_classic_snippet_runs_unchanged(launched: Any) -> None:
    dag = Dag("classic")
    a, b = Task("a", fn_a), Task("b", fn_b)
    b.add_dependency(a)
    dag.add_task(a); dag.add_task(b)  # noqa: E702 - as in the original
    Scheduler(dag, executor_type="thread", max_workers=4).run()

    run = launched[0]
    assert (run.names(), run.name, run.form) == (["a", "b"], "classic", "classic")
    assert list(run.dag.nodes[1].upstream) == [0]
    assert (run.options.executor, run.options.workers) == ("thread", 4)
    assert run.file == __file__
    assert [n.spec.fn for n in run.dag.nodes] == [fn_a, fn_b]


def test_subclasses_run_their_own_method() -> None:
    dag = Dag("sub")
    dag.add_task(Doubled("x", 3))
    node = dag.build().nodes[0]
    assert node.spec.fn(5) == 15
    assert node.spec.options.retry.retries == 2
    copy = pickle.loads(cloudpickle.dumps(node.spec.fn))
    assert copy(2) == 6


def test_values_go_along_arguments() -> None:
    dag = Dag("values")
    b = Task("b", fn_b, args=[["x"]])
    c = Task("c", lambda p, q: None, args=(b,), kwargs={"q": {"k": [b]}})
    dag.add_task(c), dag.add_task(b)
    nodes = dag.build().nodes
    assert [list(n.upstream) for n in nodes] == [[1], []]
    assert nodes[0].args[0].node is nodes[1] and nodes[0].kwargs["q"]["k"][0].node is nodes[1]


def test_a_missing_argument_is_an_error() -> None:
    dag = Dag("needy")
    dag.add_task(Task("c", lambda p, q=1: None))
    with pytest.raises(DefinitionError, match=r"'c' needs the argument p; .*args="):
        dag.build()


def test_names_lookups_and_cycles() -> None:
    dag = Dag("d")
    a = dag.add_task(Task("alpha", fn_a))
    assert dag.get_task("alpha") is a and dag.add_task(a) is a
    with pytest.raises(DefinitionError, match="did you mean 'alpha'"):
        dag.get_task("alhpa")
    with pytest.raises(DuplicateNameError, match="rename"):
        dag.add_task(Task("alpha", fn_b))
    b = dag.add_task(Task("beta", fn_b))
    assert (a >> b) is b
    assert ([b] >> a) is a
    with pytest.raises(CycleError, match="alpha"):
        dag.build().freeze()


def test_what_is_not_in_the_dag_cannot_be_depended_on() -> None:
    dag = Dag("d")
    dag.add_task(Task("a", fn_a)).add_dependency(Task("lost", fn_b))
    with pytest.raises(DefinitionError, match=r"'lost', which is not in dag 'd'.*add_task"):
        dag.build()


def test_wrong_uses_are_errors() -> None:
    with pytest.raises(DefinitionError, match="nothing to do"):
        Task("a")
    with pytest.raises(DefinitionError, match="takes a function"):
        Task("a", 3)  # type: ignore[arg-type]
    with pytest.raises(UnknownOptionError, match="'retries'"):
        Task("a", fn_a, retires=3)
    with pytest.raises(DefinitionError, match="Task objects"):
        Dag("d").add_task(fn_a)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="depend on a Task"):
        Task("a", fn_a).add_dependency("b")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="takes a Dag"):
        Scheduler("d")  # type: ignore[arg-type]
    with pytest.raises(UnknownOptionError, match="max_workers"):
        Scheduler(Dag("d"), max_worker=3)


def test_a_dag_may_be_run_again_and_listened_to(launched: Any) -> None:
    dag = Dag("twice")
    dag.add_task(Task("a", task(fn_a)))
    scheduler = Scheduler(dag)
    scheduler.on(TaskFailed, print)
    scheduler.run()
    scheduler.run()
    first, second = launched
    assert first.dag is not second.dag and first.names() == second.names() == ["a"]
    assert first.handlers == [(TaskFailed, print)]


def test_a_task_object_can_be_called_in_a_test() -> None:
    assert Task("b", fn_b)(3) == "b3" and Doubled("x", 2)(4) == 8
