"""Looks at task runs, live and stored: where the code is, what goes in, what comes out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from engine import Secret, Task, task, workflow
from engine.core.tasks import TaskSpec
from engine.errors import RunError
from engine.runtime.gauges import Gauges, Lane
from engine.runtime.looking import preview
from engine.runtime.places import find_place, place_of
from engine.runtime.stored import open_stored
from engine.worker.secrets import forget_all
from tests.runtime.harness import Bench
from tests.runtime.live import Watched
from tests.waiting import wait_for

# -- code -------------------------------------------------------------------------------------


@task
def plain(x):
    # a comment of its own
    return x


class Classy(Task):
    def run(self, x):
        return x


def test_the_place_of_a_function_is_its_file_line_and_text():
    place = find_place(*place_of(plain.spec))
    assert place is not None
    assert Path(place.file) == Path(__file__).resolve()
    assert place.source.startswith("@task\ndef plain(x):\n    # a comment")
    assert place.source.endswith("return x")
    assert Path(__file__).read_text().splitlines()[place.line - 1] == "def plain(x):"


def test_the_place_of_an_object_task_is_its_method():
    place = find_place(*place_of(Classy("c").declared().spec))
    assert place is not None and place.source == "    def run(self, x):\n        return x"


@task
class Declared:
    def run(self, x):
        return x


def test_the_place_of_a_class_is_the_class():
    place = find_place(*place_of(Declared.spec))
    assert place is not None and place.source.startswith("@task\nclass Declared:")


def test_a_function_that_moved_is_found_by_its_name(tmp_path: Path):
    file = tmp_path / "flow.py"
    file.write_text("def other(): ...\n\n\ndef f():\n    return 1\n")
    assert find_place(str(file), 1, "f") == (str(file), 4, "def f():\n    return 1")


def test_what_is_gone_is_said_by_an_empty_text(tmp_path: Path):
    file = tmp_path / "flow.py"
    assert find_place(str(file), 7, "f") == (str(file), 7, "")
    file.write_text("def broken(:\n")
    assert find_place(str(file), 7, "f") == (str(file), 7, "")
    assert find_place("", 0, "f") is None


def test_a_command_has_no_place():
    spec = TaskSpec("ls", print, kind="shell", source="ls -l")
    assert place_of(spec) == ("", 0, "")


# -- values -----------------------------------------------------------------------------------


def test_previews_are_short_and_masked(monkeypatch: pytest.MonkeyPatch):
    class Rude:
        def __repr__(self) -> str:
            raise ValueError

    monkeypatch.setenv("PASSWORD", "hunter2hunter2")
    Secret.env("PASSWORD").get()
    try:
        assert preview({"password": "hunter2hunter2"}) == "{'password': '***'}"
        assert len(preview("x" * 100_000)) < 600
        assert preview(list(range(1000))).endswith("...]")
        assert "Rude" in preview(Rude())
    finally:
        forget_all()


def gated(wait: Path) -> Any:
    @task
    def numbers(n):
        return list(range(n))

    @task(retries=4, timeout=9.0)
    def scale(x, *, by):
        return x * by

    @task
    def label(x):
        return f"#{x}"

    @task
    def total(xs, labels, note="none"):
        while not wait.exists():
            pass
        return sum(xs)

    @workflow
    def flow(folder: str):
        xs = scale.partial(by=10).map(numbers(4))
        return total(xs, label.map(xs), note="by hand")

    return flow


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_inputs_and_results_of_a_live_run_by_name(bench: Bench, executor: str):
    run = Watched(bench, gated(bench.folder / "go"), executor=executor, workers=2)
    run.until("total", "RUNNING")
    look, names = run.live.look, run.live.names
    assert look is not None

    def tid(name: str) -> int:
        return names.find(name)[0]

    assert look.inputs(tid("numbers")) == {"n": "4"}
    assert look.inputs(tid("scale[2]")) == {"x": "2", "by": "10"}
    assert look.inputs(tid("label[3]")) == {"x": "30"}
    assert look.inputs(tid("scale")) == {}
    assert look.inputs(tid("total")) == {
        "xs": "[0, 10, 20, 30]", "labels": "['#0', '#10', '#20', '#30']", "note": "'by hand'"}
    assert look.output(tid("scale[2]")) == "20"
    assert look.output(tid("total")) == ""
    # Another process asks the owner, and is told the same.
    stored = open_stored(bench.folder / "home", "latest")
    assert stored.inputs(stored.find("scale[2]")[0]) == {"x": "2", "by": "10"}
    place = look.place(tid("scale[1]"))
    assert place is not None and "def scale(x, *, by):" in place.source
    run.end()
    # Of an ended one, what it read from is known, and not how it was called.
    stored = open_stored(bench.folder / "home", "latest")
    assert stored.inputs(stored.find("scale[2]")[0]) == {"numbers[2]": "2"}
    assert stored.inputs(stored.find("label[3]")[0]) == {"scale[3]": "30"}
    assert stored.inputs(stored.find("total")[0]) == {
        "scale": "[0, 10, 20, 30]", "label": "['#0', '#10', '#20', '#30']"}
    assert stored.inputs(stored.find("numbers")[0]) == {}
    assert stored.place(stored.find("scale[1]")[0]) == place
    spec = stored.history.outline.spec(stored.record.node_of(stored.find("scale[1]")[0]))
    assert (spec.retries, spec.timeout) == (4, 9.0)


def test_a_look_at_a_result_that_was_let_go_changes_nothing(bench: Bench):
    @task
    def make():
        return list(range(1000))

    @task
    def use(xs):
        return len(xs)

    @task
    def wait(n, folder):
        while not Path(folder, "go").exists():
            pass

    @workflow
    def flow(folder: str):
        wait(use(make()), folder)

    run = Watched(bench, flow)
    run.until("wait", "RUNNING")
    live = run.live
    assert live.look is not None
    values = live.look._values  # what a look must leave alone
    before = list(values.slots)
    assert live.look.inputs(1)["xs"].startswith("[0, 1, 2")
    assert live.look.output(0).startswith("[0, 1, 2")
    assert values.slots == before and not values._live
    run.end()


def test_a_look_before_the_inputs_are_there_says_so(bench: Bench):
    run = Watched(bench, gated(bench.folder / "go"), executor="sequential")
    run.until("total", "RUNNING")
    run.end()

    @task
    def first(folder):
        while not Path(folder, "stop").exists():
            pass

    @task
    def second(x):
        return x

    @workflow
    def flow(folder: str):
        second(first(folder))

    run = Watched(bench, flow)
    run.until("first", "RUNNING")
    assert run.live.look is not None
    assert "RUNNING" in run.live.look.inputs(1)["x"]
    (bench.folder / "stop").touch()
    run.end()


# -- gauges ------------------------------------------------------------------------------------


def test_gauges_show_workers_queues_limits_and_pauses(bench: Bench):
    @task(limits={"gpu": 1})
    def hold(i, folder):
        while not Path(folder, "go").exists():
            pass

    @task
    def after(i, folder):
        while not Path(folder, "go").exists():
            pass

    @workflow(limits={"gpu": 1})
    def flow(folder: str):
        for i in range(3):
            hold(i, folder)
        for i in range(5):
            after(i, folder)

    run = Watched(bench, flow, workers=2)
    live = run.live
    assert live.gauges is not None

    def now() -> Gauges:
        assert live.gauges is not None
        return live.gauges()

    wait_for(lambda: now().lanes[0].busy == 2, "both workers busy")
    wait_for(lambda: now().limits[0].waiting == 2, "two to wait for the limit")
    gauges = now()
    assert gauges.state == "RUNNING"
    assert gauges.lanes == (Lane("thread", 2, 2, 4),)
    assert gauges.limits == (("gpu", 1, 1, 2),)
    stored = open_stored(bench.folder / "home", "latest")
    asked = stored.gauges()
    assert asked is not None and asked[1:5] == gauges[1:5]
    wait_for(lambda: now().sample is not None, "a first sample of the process")
    asked = stored.gauges()
    assert asked is not None and asked.sample is not None and asked.sample.memory > 1_000_000
    run.end()
    assert stored.gauges() is None


# -- stopping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_host_without_signals_stops_the_run_as_ctrl_c_does(bench: Bench, level: int):
    @task
    def busy(folder):
        import time

        from engine import current
        Path(folder, "began").touch()
        while not current().cancelled() and not Path(folder, "go").exists():
            time.sleep(0.002)

    @task
    def after(x):
        return x

    @workflow
    def flow(folder: str):
        after(busy(folder))

    run = Watched(bench, flow)
    wait_for((bench.folder / "began").exists, "busy to begin")
    assert run.live.stop is not None
    run.live.stop(level)
    if level == 1:
        (bench.folder / "go").touch()
    run._thread.join(30)
    assert str(run.outcome.state) == "INTERRUPTED"
    assert run.state("after") in ("PENDING", "QUEUED")


def test_only_plain_files_are_looked_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (str(tmp_path / "pipe"), "/dev/zero", str(tmp_path)):
        assert find_place(file, 3, "f") == (file, 3, "")


def test_a_task_in_a_nested_workflow_is_offered_by_its_whole_name(bench: Bench):
    @task
    def double(x):
        return 2 * x

    @workflow
    def inner():
        return double.map([1, 2])

    @workflow
    def outer():
        return inner()

    bench.run(outer)
    stored = open_stored(bench.folder / "home", "latest")
    for asked, meant in (("double", "inner/double"), ("double[1]", r"inner/double\[1\]")):
        with pytest.raises(RunError, match=rf"did you mean {meant}\?"):
            stored.find(asked)
