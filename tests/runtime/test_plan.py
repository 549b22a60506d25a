"""Plans: what a resume keeps, runs and leaves behind after the workflow changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.core.dag import Dag
from engine.core.nodes import MapInfo, Node
from engine.core.states import TaskState
from engine.core.tasks import TaskOptions, TaskSpec
from engine.errors import CodeChanged
from engine.runtime.outline import Outline
from engine.runtime.plan import Plan, PlanEntry, make_plan

S, F, P = TaskState.SUCCESS, TaskState.FAILED, TaskState.PENDING


class Graph:
    """A graph under construction; a task's code is whatever text is said to be its version."""

    def __init__(self, **code: str) -> None:
        self.dag = Dag("w")
        self.code = code
        self.specs: dict[str, TaskSpec] = {}

    def __call__(self, task: str, *args: Any, mapped: Any = None, **more: Any) -> Any:
        node = self.dag.add(self.spec(task), args, mapped=mapped, **more)
        return node.handle

    def spec(self, task: str) -> TaskSpec:
        if task not in self.specs:
            options = TaskOptions(
                persist=not task.startswith("temp"),
                on_interrupt="fail" if task.startswith("once") else "retry")
            self.specs[task] = TaskSpec(task, lambda *a: None, options)
        return self.specs[task]

    def map(self, task: str, over: Any, *args: Any, key: Any = None, barrier: bool = False) -> Any:
        return self(task, *args, mapped=MapInfo({"x": over}, key, barrier))

    def outline(self) -> Outline:
        return Outline.of(
            self.dag.freeze(),
            fingerprints=lambda s: {"function": self.code.get(s.name, f"code of {s.name}")})


class Record:
    """States by old task-run id; success where none is given."""

    def __init__(
        self, states: dict[int, TaskState] | None = None,
        expansions: dict[int, tuple[int, int, Any]] | None = None,
    ) -> None:
        self.states = states or {}
        self.expansions = expansions or {}
        self.failures: dict[int, int] = {}

    def state_of(self, tid: int) -> TaskState:
        return self.states.get(tid, S)

    def expansion(self, node: int) -> tuple[int, int, Any] | None:
        return self.expansions.get(node)


Build = Callable[[Graph], Any]


def plan_of(
    before: Build, after: Build, record: Record | None = None, mode: Any = "rerun",
    **code: str,
) -> Plan:
    """`code`: tasks whose code is another in the new graph."""
    old, new = Graph(), Graph(**code)
    before(old)
    after(new)
    return make_plan(old.outline(), new.outline(), record or Record(), mode)


def actions(plan: Plan) -> dict[str, str]:
    return {e.name: e.action for e in plan.entries()}


def diamond(g: Graph) -> None:
    a = g("a", 1)
    g("d", g("b", a), g("c", a))


# -- what changed ---------------------------------------------------------------------------------


def test_nothing_changed() -> None:
    plan = plan_of(diamond, diamond)
    assert plan.same and plan.node_map == [0, 1, 2, 3] and not plan.stale and not plan.gone
    assert actions(plan) == dict.fromkeys("abcd", "keep")


def test_changed_code_makes_it_and_everything_below_stale() -> None:
    plan = plan_of(diamond, diamond, b="new")
    assert not plan.same
    assert plan.stale == {1: "code of b changed", 3: "runs after b, which changed"}
    assert actions(plan) == {"a": "keep", "b": "changed", "c": "keep", "d": "changed"}


def test_changed_arguments() -> None:
    def after(g: Graph) -> None:
        a = g("a", 2)
        g("d", g("b", a), g("c", a))

    plan = plan_of(diamond, after)
    assert plan.stale[0] == "its arguments changed"
    assert set(plan.stale) == {0, 1, 2, 3}


def test_an_inserted_call_shifts_ids_and_names_but_changes_nothing() -> None:
    def calls(*values: int) -> Build:
        return lambda g: [g("g", g("f", v)) for v in values]

    plan = plan_of(calls(1, 2), calls(0, 1, 2))
    assert plan.node_map == [-1, -1, 0, 1, 2, 3] and plan.stale == {}
    assert not plan.same
    assert plan.new.names[2] == "f-2" and plan.old.names[0] == "f"
    assert [e.action for e in plan.entries()] == ["new", "new", "keep", "keep", "keep", "keep"]


def test_a_removed_call_is_gone() -> None:
    plan = plan_of(lambda g: [g("f", 1), g("f", 2)], lambda g: g("f", 2))
    assert plan.node_map == [1] and plan.gone == [0]
    assert list(plan.entries())[-1] == PlanEntry("f", "gone", "no longer in the workflow")


def test_calls_in_another_order_are_the_same_calls() -> None:
    plan = plan_of(
        lambda g: [g("g", g("f", 1)), g("h", 1)], lambda g: [g("h", 1), g("g", g("f", 1))])
    assert plan.node_map == [2, 0, 1] and plan.stale == {} and not plan.same


def test_equal_calls_keep_to_their_own_inputs() -> None:
    def before(g: Graph) -> None:
        a, b = g("draw"), g("draw")
        g("use", a), g("use", b)

    def after(g: Graph) -> None:
        a, b = g("draw"), g("draw")
        g("use", b), g("use", a)

    plan = plan_of(before, after)
    assert plan.node_map == [0, 1, 3, 2] and plan.stale == {}


def test_an_explicit_name_decides() -> None:
    plan = plan_of(
        lambda g: [g("f", 1, name="x"), g("f", 2, name="y")],
        lambda g: [g("f", 2, name="x"), g("f", 1, name="y")])
    assert plan.node_map == [0, 1]
    assert plan.stale == {0: "its arguments changed", 1: "its arguments changed"}


def test_a_renamed_function_is_known_by_its_code() -> None:
    def flow(name: str) -> Build:
        return lambda g: g("h", g(name, 1))

    plan = plan_of(flow("old"), flow("new"), new="code of old")
    assert plan.node_map == [0, 1] and plan.stale == {} and not plan.same
    plan = plan_of(flow("old"), flow("new"))
    assert plan.node_map == [-1, 1] and plan.gone == [0]
    assert plan.stale == {1: "it reads new where it read old"}


def test_of_several_renamed_with_one_code_none_is_guessed() -> None:
    plan = plan_of(
        lambda g: [g("a", 1), g("b", 1)], lambda g: [g("c", 1), g("d", 1)],
        c="code of a", d="code of a")
    assert plan.node_map == [-1, -1]


def test_another_input_or_part_of_it() -> None:
    base = lambda g: g("h", (g("f", 1), g("g", 1))[0])  # noqa: E731
    plan = plan_of(base, lambda g: g("h", (g("f", 1), g("g", 1))[1]))
    assert plan.stale == {2: "it reads g where it read f"}
    plan = plan_of(base, lambda g: g("h", (g("f", 1), g("g", 1))[0]["k"]))
    assert plan.stale == {2: "its arguments changed"}


def test_order_only_edges() -> None:
    def flow(edge: bool) -> Build:
        def build(g: Graph) -> None:
            a, b = g("a"), g("b")
            if edge:
                a >> b

        return build

    assert plan_of(flow(False), flow(True)).stale == {1: "it waits for a now"}
    assert plan_of(flow(True), flow(False)).stale == {1: "it no longer waits for a"}
    assert plan_of(flow(True), flow(True), a="new").stale[1] == "runs after a, which changed"


def test_a_new_task_above() -> None:
    def after(g: Graph) -> None:
        a, n = g("a", 1), g("n")
        n >> a

    plan = plan_of(lambda g: g("a", 1), after)
    assert plan.stale == {0: "it waits for n now"}
    assert actions(plan) == {"a": "changed", "n": "new"}


def test_a_plain_task_that_became_a_map_is_another() -> None:
    plan = plan_of(lambda g: g("f", 1), lambda g: g.map("f", [1]))
    assert plan.node_map == [-1] and plan.gone == [0]


# -- maps -----------------------------------------------------------------------------------------


def pipeline(*values: int) -> Build:
    def build(g: Graph) -> None:
        xs = g("extract", *values)
        m = g.map("double", xs)
        g("total", g.map("half", m))

    return build


def test_a_changed_producer_has_the_items_matched_again() -> None:
    plan = plan_of(pipeline(), pipeline(), extract="new")
    assert set(plan.stale) == {0, 3} and set(plan.rematch) == {1, 2}
    assert plan.rematch[1] == (
        "its items are compared with those before: is mapped over what extract, which changed, "
        "made")
    assert plan.stale[3] == "runs after extract, which changed"


def test_a_replaced_producer_too() -> None:
    plan = plan_of(
        lambda g: g.map("f", g("a")), lambda g: g.map("f", g("b")))
    assert plan.node_map == [-1, 1] and plan.stale == {} and set(plan.rematch) == {1}


def test_a_changed_map_makes_what_follows_it_item_by_item_stale() -> None:
    plan = plan_of(pipeline(), pipeline(), double="new")
    assert set(plan.stale) == {1, 2, 3} and plan.rematch == {}


def test_a_map_is_stale_by_what_all_its_items_get() -> None:
    def flow(g: Graph) -> None:
        g.map("f", g("xs"), g("rate"))

    plan = plan_of(flow, flow, rate="new")
    assert set(plan.stale) == {1, 2} and plan.rematch == {}
    plan = plan_of(flow, flow, xs="new")
    assert set(plan.stale) == {0} and set(plan.rematch) == {2}


def test_a_barrier_map_over_a_changed_map_is_matched_again() -> None:
    def flow(g: Graph) -> None:
        g.map("g", g.map("f", g("xs")), barrier=True)

    plan = plan_of(flow, flow, f="new")
    assert set(plan.stale) == {1} and set(plan.rematch) == {2}


def literal(values: Any, key: Any = None) -> Build:
    return lambda g: g("total", g.map("f", values, key=key))


def test_a_literal_that_changed() -> None:
    plan = plan_of(literal([1, 2]), literal([1, 2, 3]))
    assert set(plan.rematch) == {0}
    assert plan.stale == {1: "runs after f, whose items may have changed"}
    assert plan_of(literal(range(9)), literal(range(9))).same
    assert set(plan_of(literal([1]), literal([1], key=str)).rematch) == {0}
    plan = plan_of(literal([1, 2]), literal([1, 2, 3]), f="new")
    assert set(plan.stale) == {0, 1} and plan.rematch == {}


def test_long_maps_are_told_in_lines_short_ones_item_by_item() -> None:
    states = {0: TaskState.RUNNING, 1: P, 5: F, 7: TaskState.RUNNING}
    record = Record(states, {0: (4, 4, ["eu", "us", "ap", "x"])})
    short = plan_of(literal([1] * 4), literal([1] * 4), record)
    assert [(e.name, e.action, e.reason) for e in short.entries()] == [
        ("f[eu]", "keep", "had succeeded"), ("f[us]", "run", "had failed"),
        ("f[ap]", "keep", "had succeeded"), ("f[x]", "run", "was running when the run stopped"),
        ("total", "run", "had not started")]
    record = Record({**states, 50: F}, {0: (4, 100, None)})
    plan = plan_of(literal(range(100)), literal(range(100)), record)
    assert list(plan.entries())[:3] == [
        PlanEntry("f", "keep", "97 of 100 had succeeded", 97),
        PlanEntry("f", "run", "2 of 100 had failed", 2),
        PlanEntry("f", "run", "1 of 100 was running when the run stopped", 1)]
    assert plan.to_json()["counts"] == {"keep": 97, "run": 4, "changed": 0, "new": 0, "gone": 0}


def test_a_changed_map_is_one_line() -> None:
    plan = plan_of(literal([1] * 4), literal([1] * 4), Record({}, {0: (4, 4, None)}), f="new")
    assert next(plan.entries()) == PlanEntry("f", "changed", "code of f changed", 4)


# -- what had not ended well ----------------------------------------------------------------------


@pytest.mark.parametrize("state, action", [
    (s, "keep" if s in (S, TaskState.CACHED, TaskState.SKIPPED) else "run") for s in TaskState])
def test_every_state_has_its_verdict(state: TaskState, action: str) -> None:
    plan = plan_of(lambda g: g("f"), lambda g: g("f"), Record({0: state}))
    (entry,) = plan.entries()
    assert entry.action == action and entry.reason
    assert plan.same


def test_what_succeeded_upon_a_failure_runs_again() -> None:
    def flow(g: Graph) -> None:
        a = g("a")
        b = g("cleanup", a)
        g("report", b)
        g("other")

    plan = plan_of(flow, flow, Record({0: F}))
    assert plan.again == {1: "ran upon the end of a, which runs again",
                          2: "ran upon the end of cleanup, which runs again"}
    assert actions(plan) == {"a": "run", "cleanup": "run", "report": "run", "other": "keep"}
    assert plan_of(flow, flow, Record({0: P})).again == {}


def test_upon_a_failed_item_only_its_own_followers_run_again() -> None:
    def flow(g: Graph) -> None:
        m = g.map("f", g("xs"))
        g("total", g.map("g", m))

    record = Record({5: F, 3: P}, {1: (4, 3, None), 2: (7, 3, None)})
    plan = plan_of(flow, flow, record)
    assert set(plan.again) == {8}
    record = Record({5: F}, {1: (4, 3, None), 2: (7, 3, None)})
    assert set(plan_of(flow, flow, record).again) == {8, 3}


def test_on_interrupt_fail_is_told() -> None:
    plan = plan_of(lambda g: g("once"), lambda g: g("once"), Record({0: TaskState.RUNNING}))
    (entry,) = plan.entries()
    assert entry.action == "keep" and "on_interrupt" in entry.reason


def test_a_result_that_was_not_kept_is_computed_again_where_it_is_needed() -> None:
    def flow(g: Graph) -> None:
        t = g("temp2", g("temp1", g("a")))
        g("use", t)
        g("temp3")

    plan = plan_of(flow, flow, Record({3: F}))
    assert plan.recompute == {
        2: "its result was not kept, and use needs it",
        1: "its result was not kept, and temp2 needs it"}
    assert plan_of(flow, flow).recompute == {}
    assert set(plan_of(flow, flow, use="new").recompute) == {1, 2}


# -- modes ----------------------------------------------------------------------------------------


def test_reuse_keeps_what_is_recorded() -> None:
    plan = plan_of(diamond, diamond, mode="reuse", b="new")
    assert plan.same and set(actions(plan).values()) == {"keep"}
    plan = plan_of(literal([1]), literal([1, 2]), mode="reuse", f="new")
    assert plan.stale == {} and set(plan.rematch) == {0}
    plan = plan_of(lambda g: g("f", 1), lambda g: [g("f", 1), g("g", 1)], mode="reuse")
    assert actions(plan) == {"f": "keep", "g": "new"}


def test_fail_names_what_changed() -> None:
    with pytest.raises(CodeChanged, match="b: code of b changed") as caught:
        plan_of(diamond, diamond, mode="fail", b="new")
    assert "--on-code-change=rerun" in str(caught.value)
    with pytest.raises(CodeChanged, match="g: new in the workflow"):
        plan_of(lambda g: g("f"), lambda g: [g("f"), g("g")], mode="fail")
    with pytest.raises(CodeChanged, match="g: no longer"):
        plan_of(lambda g: [g("f"), g("g")], lambda g: g("f"), mode="fail")
    many = lambda g: [g("f", i) for i in range(50)]  # noqa: E731
    with pytest.raises(CodeChanged, match="and 40 more"):
        plan_of(many, many, mode="fail", f="new")


def test_fail_does_not_mind_the_order_of_definition() -> None:
    plan = plan_of(lambda g: [g("a"), g("b")], lambda g: [g("b"), g("a")], mode="fail")
    assert plan.node_map == [1, 0]


# -- as data, and large ---------------------------------------------------------------------------


def test_as_json() -> None:
    data = plan_of(diamond, diamond, Record({3: F}), b="new").to_json()
    assert data["same"] is False
    assert data["counts"] == {"keep": 2, "run": 0, "changed": 2, "new": 0, "gone": 0}
    assert data["entries"][1] == {
        "name": "b", "action": "changed", "reason": "code of b changed", "task_runs": 1}


@pytest.mark.fault(27)
def test_a_chain_of_a_hundred_thousand_is_neither_too_deep_nor_slow() -> None:
    def chain(first: int) -> Build:
        def build(g: Graph) -> None:
            h = g("f", first)
            for _ in range(100_000):
                h = g("g", h)

        return build

    old, new = Graph(), Graph()
    chain(1)(old), chain(2)(new)
    before, after = old.outline(), new.outline()
    began = time.process_time()
    plan = make_plan(before, after, Record())
    assert len(plan.stale) == 100_001
    assert plan.stale[100_000] == "runs after f, which changed"
    assert make_plan(before, before, Record()).same
    assert time.process_time() - began < 8.0  # 1.5 s where nothing else runs


def test_nodes_may_be_declared_before_what_they_wait_for() -> None:
    def flow(g: Graph) -> None:
        a: Node = g.dag.add(g.spec("a"))
        b: Node = g.dag.add(g.spec("b"))
        a.wait_for(b)

    assert plan_of(flow, flow, b="new").stale == {
        1: "code of b changed", 0: "runs after b, which changed"}


def test_what_had_failed_and_was_queued_again_is_not_said_not_to_have_started() -> None:
    record = Record(dict.fromkeys((1, 2), TaskState.QUEUED))
    record.failures[1] = 1
    reasons = {e.name: e.reason for e in plan_of(diamond, diamond, record).entries()}
    assert (reasons["b"], reasons["c"]) == ("was waiting for its next try", "had not started")
