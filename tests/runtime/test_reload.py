"""Edit and retry: the code of a live run is mended, and the run goes on with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import RunError
from engine.runtime.options import RunOptions
from engine.runtime.request import Request
from engine.runtime.start import start
from engine.runtime.stored import StoredRun, open_stored
from engine.worker import classes
from tests.runtime.harness import Bench
from tests.runtime.live import Holder
from tests.waiting import wait_for

HEAD = """
from pathlib import Path
from engine import Dag, Scheduler, Task, current, task, workflow
import os

def note(name):
    with open(os.environ["LEDGER"], "a") as f:
        f.write(name + "\\n")
"""

FUNCTION = HEAD + """
@task
def make(n):
    note("make")
    return list(range(n))

@task
def check(x):
    note(f"check{x}")
    if x == 2:
        raise ValueError("broken")
    return x * 10

@task
def total(xs):
    note("total")
    return sum(xs)

@workflow
def flow(n: int = 4):
    return total(check.map(make(n)))
"""

BLOCK = HEAD + """
with workflow("flow") as wf:
    @task
    def make():
        note("make")
        return 4

    @task
    def check(x):
        note("check")
        raise ValueError("broken")

    @task
    def total(x):
        note("total")
        return x

    total(check(make()))
    wf.run()
"""

CLASSIC = HEAD + """
class Check(Task):
    def run(self, x):
        note("check")
        raise ValueError("broken")

def make():
    note("make")
    return 4

a = Task("make", make)
b = Check("check", args=(a,))
dag = Dag("flow")
dag.add_task(a)
dag.add_task(b)
b.add_dependency(a)
Scheduler(dag).run()
"""


class Hosted:
    """A flow file run as a screen would: on a thread, staying open after its end."""

    def __init__(self, bench: Bench, text: str, **more: Any) -> None:
        self.bench = bench
        self.file = bench.folder / "edited_flow.py"
        self.file.write_text(text)
        self.holder = Holder()
        self.run: Any = None
        self.error: BaseException | None = None
        options = RunOptions(**bench.options(**more))
        self.request = Request(
            options=options, reporter=lambda output: self.holder, linger=True)
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    def _go(self) -> None:
        try:
            self.run = start(self.request, self.file)
        except BaseException as error:
            self.error = error

    def edit(self, old: str, new: str, file: str = "") -> None:
        path = self.bench.folder / file if file else self.file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def until(self, state: str) -> None:
        def now() -> str:
            if self.error is not None:
                raise self.error
            live = getattr(self.holder, "live", None)
            return str(live.machine.run_state) if live is not None else ""

        wait_for(lambda: now() == state, f"the run to be {state}")

    def ask(self, command: str, *tasks: str, **more: Any) -> str:
        commands = self.holder.live.commands
        assert commands is not None
        return str(commands.handle({"command": command, "tasks": list(tasks), **more})["message"])

    def close(self) -> Any:
        assert self.holder.live.close is not None
        self.holder.live.close()
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.run

    def stored(self) -> StoredRun:
        return open_stored(self.bench.folder / "home", "latest")


@pytest.fixture(autouse=True)
def modules_as_before() -> Iterator[None]:
    flow, known, path = classes.flow_module(), set(sys.modules), list(sys.path)
    yield
    classes.set_flow_module(flow)
    for name in set(sys.modules) - known:
        if name in ("edited_flow", "helping"):
            del sys.modules[name]
    sys.path[:] = path


both = pytest.mark.parametrize("executor", ["thread", "process"])


@both
def test_a_failed_item_runs_its_edited_code_in_the_same_run(bench: Bench, executor: str):
    run = Hosted(bench, FUNCTION, executor=executor)
    run.until("FAILED")
    run.edit("if x == 2:", "if x == 22:")
    answer = run.ask("retry", "check[2]", reload=True)
    assert answer == ("1 task run will be tried again; new code of check; "
                      "3 results of the code before stand")
    run.until("SUCCESS")
    assert run.close().result == 60
    ran = bench.ledger.all()
    assert ran.count("make") == 1 and ran.count("check2") == 2 and ran.count("check1") == 1


@both
def test_a_later_resume_does_not_count_it_as_changed(bench: Bench, executor: str):
    run = Hosted(bench, FUNCTION, executor=executor)
    run.until("FAILED")
    run.edit("if x == 2:", "if x == 22:")
    run.edit("return sum(xs)", "raise OSError('later')")
    run.ask("retry", reload=True)
    run.until("FAILED")
    run.close()
    bench.ledger.new()
    run.edit("raise OSError('later')", "return sum(xs)")
    request = Request("resume", run.stored().run_id,
                      options=RunOptions(**bench.options(executor=executor)))
    ended = start(request, run.file)
    assert ended is not None and ended.result == 60
    assert bench.ledger.new() == ["total"]


@pytest.mark.parametrize("text", [BLOCK, CLASSIC], ids=["block", "classic"])
@both
def test_files_that_run_themselves_only_build_their_graph(
    bench: Bench, executor: str, text: str
):
    run = Hosted(bench, text, executor=executor)
    run.until("FAILED")
    run.edit('raise ValueError("broken")', "return x + 1")
    assert "new code of check" in run.ask("retry", reload=True)
    run.until("SUCCESS")
    run.close()
    assert bench.ledger.all().count("make") == 1
    assert bench.ledger.all().count("check") == 2
    assert len(bench.run_dirs) == 1
    stored = run.stored()
    assert stored.preview(stored.find("check")[0]) == "5"


@both
def test_an_edited_helper_beside_the_file_is_loaded_too(bench: Bench, executor: str):
    (bench.folder / "helping.py").write_text("def scale(x):\n    return x / 0\n")
    text = FUNCTION.replace("from pathlib", "import helping\nfrom pathlib").replace(
        "if x == 2:\n        raise ValueError(\"broken\")\n    return x * 10",
        "return helping.scale(x)")
    run = Hosted(bench, text, executor=executor)
    run.until("FAILED")
    run.edit("x / 0", "x * 7", file="helping.py")
    assert "new code of check" in run.ask("retry", reload=True)
    run.until("SUCCESS")
    assert run.close().result == 7 * (0 + 1 + 2 + 3)


@both
def test_results_of_the_flows_own_classes_are_of_the_classes_as_loaded_now(
    bench: Bench, executor: str
):
    text = HEAD + """
from dataclasses import dataclass

@dataclass
class Row:
    n: int

@task
def make():
    note("make")
    return [Row(1), Row(2)]

@task
def check(rows):
    note("check")
    raise ValueError("broken")

@workflow
def flow():
    return check(make())
"""
    run = Hosted(bench, text, executor=executor)
    run.until("FAILED")
    run.edit('raise ValueError("broken")',
             "return sum(r.doubled() for r in rows if isinstance(r, Row))")
    run.edit("    n: int\n", "    n: int\n\n    def doubled(self):\n        return 2 * self.n\n")
    run.ask("retry", reload=True)
    run.until("SUCCESS")
    assert run.close().result == 6
    assert bench.ledger.all().count("make") == 1


def test_a_rerun_takes_the_new_code_too(bench: Bench):
    run = Hosted(bench, FUNCTION.replace("if x == 2:", "if x == 22:"))
    run.until("SUCCESS")
    run.edit("return x * 10", "return x * 100")
    assert "3 results" in run.ask("rerun", "check[1]", reload=True)
    run.until("SUCCESS")
    assert run.close().result == 0 + 100 + 20 + 30


def test_unchanged_code_is_said_to_be_so(bench: Bench):
    run = Hosted(bench, FUNCTION)
    run.until("FAILED")
    assert "the code is as it was" in run.ask("retry", reload=True)
    run.until("FAILED")
    run.close()


REFUSED = [
    ("return x * 10", "return x *", "not valid Python"),
    ("return total(check", "return undefined(check", "undefined"),
    ("def total(xs):", "def sums(xs):", "NameError"),
    ("return total(check.map(make(n)))", "return check.map(make(n))", "has no total"),
    ("return total(check.map(make(n)))", "make(7); return total(check.map(make(n)))",
     "also has make-2"),
    ("return total(check.map(make(n)))", "make(n); return total(check.map([1, 2]))",
     "other tasks than before"),
    ("@task\ndef total", "@task(executor='process')\ndef total", "another executor"),
    ("@task\ndef total", "@task(trigger_rule='all_done')\ndef total", "another trigger_rule"),
    ("@workflow\ndef flow", "@workflow\ndef other", "no workflow 'flow'"),
    ("@workflow\ndef flow", "raise SystemExit(3)\n@workflow\ndef flow", "ends the program"),
]


@pytest.mark.parametrize(("old", "new", "said"), REFUSED, ids=[r[2] for r in REFUSED])
def test_what_cannot_be_taken_over_is_refused_and_nothing_changes(
    bench: Bench, old: str, new: str, said: str
):
    run = Hosted(bench, FUNCTION)
    run.until("FAILED")
    machine = run.holder.live.machine
    before, graph = bytes(machine.state), machine.graph
    # The machine knows before the journal does.
    wait_for(lambda: str(run.stored().record.run_state) == "FAILED", "that to be recorded")
    rows = run.stored().history.seq
    module, flow = sys.modules["edited_flow"], classes.flow_module()
    run.edit(old, new)
    with pytest.raises(RunError, match=said):
        run.ask("retry", reload=True)
    assert bytes(machine.state) == before and machine.graph is graph
    assert run.stored().history.seq == rows
    assert sys.modules["edited_flow"] is module and classes.flow_module() == flow
    # And the run goes on with the code that it has.
    run.ask("retry")
    run.until("FAILED")
    run.close()


def test_with_nothing_to_retry_the_code_stays_as_it_was(bench: Bench):
    run = Hosted(bench, FUNCTION.replace("if x == 2:", "if x == 22:"))
    run.until("SUCCESS")
    graph = run.holder.live.machine.graph
    run.edit("return x * 10", "return x * 100")
    with pytest.raises(RunError, match="nothing to retry"):
        run.ask("retry", "check[1]", reload=True)
    assert run.holder.live.machine.graph is graph
    run.close()


def test_a_file_that_runs_another_workflow_first_is_not_run(bench: Bench):
    other = "\n@workflow\ndef other():\n    make(1)\n\nother.run()\n"
    run = Hosted(bench, FUNCTION)
    run.until("FAILED")
    made = bench.ledger.all().count("make")
    run.file.write_text(FUNCTION + other)
    with pytest.raises(RunError, match="runs the workflow 'other' itself"):
        run.ask("retry", reload=True)
    assert bench.ledger.all().count("make") == made
    run.close()


@both
def test_attempts_under_way_end_with_the_code_they_began_with(bench: Bench, executor: str):
    text = HEAD + """
import time

@task
def slow(folder):
    note("slow began")
    while not Path(folder, "go").exists():
        time.sleep(0.002)
    return "old"

@task
def check(folder):
    note("check")
    raise ValueError("broken")

@workflow
def flow(folder: str = "."):
    return slow(folder), check(folder)
"""
    run = Hosted(bench, text, executor=executor, workers=2)
    wait_for(lambda: {"slow began", "check"} <= set(bench.ledger.path.read_text().splitlines())
             if bench.ledger.path.exists() else False, "both to begin")
    wait_for(lambda: run.holder.live.machine.failed, "check to fail")
    run.edit('return "old"', 'return "new"')
    run.edit('raise ValueError("broken")', "return 1")
    run.ask("retry", "check", reload=True)
    (bench.folder / "go").touch()
    run.until("SUCCESS")
    assert run.close().result == ("old", 1)
    assert bench.ledger.path.read_text().count("slow began") == 1


def test_killed_right_after_it_resumes_without_counting_it_as_changed(bench: Bench):
    (bench.folder / "flow.py").write_text(FUNCTION + """
if __name__ == "__main__":
    from engine.runtime.request import Request, requested
    with requested(Request(linger=True)):
        flow.run()
""")
    home = bench.folder / "home"
    env = {**os.environ, "FLOWFORGE_HOME": str(home), "FLOWFORGE_OUTPUT": "plain",
           "PYTHONPATH": str(Path(__file__).parents[2])}
    owner = subprocess.Popen([sys.executable, "flow.py"], cwd=bench.folder, env=env,
                             stdout=subprocess.DEVNULL)
    try:
        def state() -> str:
            try:
                return str(open_stored(home, "latest").record.run_state)
            except Exception:
                return ""

        wait_for(lambda: state() == "FAILED", "the failure")
        file = bench.folder / "flow.py"
        file.write_text(file.read_text().replace("if x == 2:", "if x == 22:").replace(
            "return sum(xs)", "os.kill(os.getppid(), 0); import time; time.sleep(60)"))
        done = subprocess.run(
            [sys.executable, "-m", "flowforge_tui", "retry", "latest", "--reload"],
            cwd=bench.folder, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "new code of check" in done.stdout
        wait_for(lambda: "total" in bench.ledger.all(), "total to begin")
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    bench.ledger.new()
    file.write_text(file.read_text().replace(
        "os.kill(os.getppid(), 0); import time; time.sleep(60)", "return sum(xs)"))
    done = subprocess.run(
        [sys.executable, "-m", "flowforge_tui", "resume", "latest"], cwd=bench.folder, env=env,
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert bench.ledger.new() == ["total"]
