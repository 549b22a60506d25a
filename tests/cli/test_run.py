"""`flowforge run`: exit codes, what goes to stdout and stderr, and the JSON events."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.cli.flows import GATE, ROOT, Place
from tests.waiting import wait_for

BLOCK = """
from engine import task, workflow

with workflow("My block") as wf:
    @task
    def one():
        return 1
    run = wf.run()
print("state is", run.state)
"""


def events(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_that_succeeds_exits_0_and_says_so_on_stderr(place: Place) -> None:
    done = place.do("run", "pipe.py", "-p", "n=3")
    assert done.stdout == ""
    assert "pipe: run " in done.stderr and "SUCCESS" in done.stderr
    assert "7 succeeded" in done.stderr
    assert "result: 6" in done.stderr


def test_a_run_that_fails_exits_1_with_the_users_line_and_the_command_to_retry(
    place: Place,
) -> None:
    place.write("broken", "")
    done = place.do("run", "pipe.py", code=1)
    assert "check[3]: ValueError: bad row 6 (pipe.py:17)" in done.stderr
    run_id = json.loads(place.do("runs", "--json").stdout)[0]["run_id"]
    assert f"flowforge retry {run_id}" in done.stderr


def test_usage_and_definition_errors_exit_2_in_one_message(place: Place) -> None:
    place.write("ring.py", "from engine import task, workflow\n@task\ndef a(): ...\n"
                "@task\ndef b(): ...\n@workflow\ndef w():\n    x, y = a(), b()\n"
                "    x >> y\n    y >> x\n")
    for args, told in [
        (("run", "nosuch.py"), "there is no file nosuch.py"),
        (("run", "pipe.py", "-p", "n=many"), "parameter 'n'"),
        (("run", "pipe.py", "-p", "m=3"), "has no parameter 'm'; it has: n"),
        (("run", "pipe.py", "-p", "n"), "-p takes NAME=VALUE"),
        (("run", "pipe.py:pip"), "no workflow 'pip'"),
        (("run", "pipe.py", "-j", "0"), "--workers: '0' does not do"),
        (("run", "pipe.py", "--executor", "threads"), "did you mean 'thread'"),
        (("run", "pipe.py", "--tui"), "needs a terminal"),
        (("run", "ring.py"), "cycle"),
        (("rnu", "pipe.py"), "Did you mean 'run'"),
        (("show", "latest"), "there are no runs"),
        (("resume",), "is unfinished"),
    ]:
        done = place.do(*args, code=2)
        assert told in done.stderr, (args, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stdout == ""


def test_an_error_while_loading_shows_the_users_frames_alone(place: Place) -> None:
    place.write("bad.py", "def helper():\n    return 1 / 0\nhelper()\n")
    done = place.do("run", "bad.py", code=2)
    assert 'bad.py", line 2, in helper' in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "load.py" not in done.stderr


def test_a_storage_error_exits_3(place: Place) -> None:
    (place.path / "real").mkdir()
    (place.path / ".flowforge").symlink_to(place.path / "real")
    done = place.do("run", "pipe.py", code=3)
    assert "symbolic link" in done.stderr


def test_a_file_that_runs_itself_is_the_run_and_goes_on_after_it(place: Place) -> None:
    place.write("block.py", BLOCK)
    done = place.do("run", "block.py", "-j", "1")
    assert done.stdout == "state is SUCCESS\n"
    assert json.loads(place.do("runs", "--json").stdout)[0]["workflow"] == "My block"


def test_parameters_for_a_file_that_runs_itself_are_refused(place: Place) -> None:
    place.write("block.py", BLOCK)
    done = place.do("run", "block.py", "-p", "x=1", code=2)
    assert "leave -p out" in done.stderr
    assert json.loads(place.do("runs", "--json").stdout) == []


def test_an_error_behind_the_run_is_shown_and_exits_1(place: Place) -> None:
    place.write("block.py", BLOCK + "raise OSError('afterwards')\n")
    done = place.do("run", "block.py", code=1)
    assert "OSError: afterwards" in done.stderr


def test_json_output_is_events_and_nothing_else(place: Place) -> None:
    place.write("broken", "")
    place.write("talk.py", "print('loading')\nimport os\nos.write(1, b'raw')\n" + (
        place.path / "pipe.py").read_text())
    done = place.do("run", "talk.py", "--output", "json", code=1)
    told = events(done.stdout)
    assert "loading" in done.stderr and "raw" in done.stderr
    assert told[0]["event"] == "run.started" and told[-1]["event"] == "run.ended"
    assert {e["run_id"] for e in told} == {told[0]["run_id"]}
    assert sorted(e["task"] for e in told if e["event"] == "task.succeeded") == sorted(
        [f"double[{i}]" for i in range(5)] + [f"check[{i}]" for i in (0, 1, 2, 4)])
    failed = next(e for e in told if e["event"] == "task.failed")
    assert failed["task"] == "check[3]" and failed["reason"] == "error"
    assert failed["error"]["type"] == "ValueError" and failed["error"]["line"] == 20
    blocked = next(e for e in told if e["event"] == "task.blocked")
    assert blocked["task"] == "total"
    assert told[-1]["state"] == "FAILED"
    assert told[-1]["counts"] == {"SUCCESS": 9, "FAILED": 1, "UPSTREAM_FAILED": 1}
    assert [f["task"] for f in told[-1]["failed"]] == ["check[3]"]


@pytest.mark.fault(48)
def test_a_reader_that_goes_away_does_not_stop_the_run(place: Place) -> None:
    process = place.start("run", "gate.py", "--output", "json")
    assert process.stdout is not None and process.stderr is not None
    assert json.loads(process.stdout.readline())["event"] == "run.started"
    process.stdout.close()
    place.wait_for("waiting")
    place.write("go", "")
    assert process.wait(timeout=30) == 0
    assert process.stderr.read() == ""


@pytest.mark.fault(48)
def test_a_closed_pipe_is_quiet(place: Place) -> None:
    place.do("run", "pipe.py", "-p", "n=400")
    for command in ("show latest double", "logs latest", "show latest double --json"):
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m flowforge_tui {command} | head -1"],
            cwd=place.path, env=place.env, capture_output=True, text=True, timeout=60,
        )
        assert done.stdout.count("\n") == 1
        assert done.stderr == ""


@pytest.mark.fault(46, 47)
def test_signals_exit_130_and_143_and_leave_a_run_that_can_be_resumed(place: Place) -> None:
    # The second Ctrl-C stops the task, which looks for it.
    for signals, code in (((signal.SIGINT, signal.SIGINT), 130), ((signal.SIGTERM,), 143)):
        (place.path / "waiting").unlink(missing_ok=True)
        process = place.start("run", "gate.py")
        place.wait_for("waiting")
        for number in signals:
            process.send_signal(number)
            assert process.stderr is not None
            assert "stopping" in _line_with(process.stderr, "stopping")
        assert process.wait(timeout=30) == code
        assert "flowforge resume" in process.stderr.read()
        assert json.loads(place.do("runs", "--json").stdout)[0]["state"] == "INTERRUPTED"
    assert place.ran() == ["first"]
    place.write("go", "")
    place.do("resume")
    assert place.ran() == []


@pytest.mark.parametrize("command", [["-m", "flowforge_tui", "run"], []], ids=["run", "python"])
def test_code_behind_a_run_that_sigterm_ended_does_not_go_on(
    place: Place, command: list[str]
) -> None:
    place.write("itself.py", GATE + "\ngated.run()\nPath('after').touch()\n")
    process = subprocess.Popen([sys.executable, *command, "itself.py"], cwd=place.path,
                               env=place.env, stderr=subprocess.DEVNULL)
    place.wait_for("waiting")
    process.terminate()
    assert process.wait(timeout=30) == 143
    assert not (place.path / "after").exists()
    assert json.loads(place.do("runs", "--json").stdout)[0]["state"] == "INTERRUPTED"


@pytest.mark.fault(47)
def test_the_third_ctrl_c_leaves_a_task_that_has_the_callers_own_thread(place: Place) -> None:
    place.write("deaf.py", "import time\nfrom pathlib import Path\n"
                "from engine import task, workflow\n@task\ndef deaf():\n"
                "    Path('waiting').touch()\n    while True:\n"
                "        try:\n            time.sleep(60)\n"
                "        except BaseException:\n            pass\n"
                "@workflow\ndef w():\n    deaf()\n")
    process = place.start("run", "deaf.py", "--executor", "sequential")
    place.wait_for("waiting")
    assert process.stderr is not None
    for told in ("stopping: no new task", "stopping the running"):
        process.send_signal(signal.SIGINT)
        _line_with(process.stderr, told)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert json.loads(place.do("runs", "--json").stdout)[0]["state"] == "INTERRUPTED"


def _line_with(stream: object, word: str) -> str:
    for line in stream:  # type: ignore[attr-defined]
        if word in line:
            return line
    raise AssertionError(f"no line with {word!r}")


def test_a_run_that_somebody_owns_exits_4_and_can_be_taken_by_force(place: Place) -> None:
    process = place.start("run", "gate.py")
    place.wait_for("waiting")
    done = place.do("run", "gate.py", code=4)
    assert "attach" in done.stderr and "--fresh" in done.stderr
    place.do("resume", "latest", code=4)
    place.write("go", "")
    forced = place.do("resume", "latest", "--force")
    assert "SUCCESS" in forced.stderr
    process.communicate(timeout=30)
    assert place.ran() == ["first"]


def test_detach_prints_the_id_and_leaves_the_run_to_itself(place: Place) -> None:
    run_id = place.do("run", "gate.py", "--detach").stdout.strip()
    place.wait_for("waiting")
    assert json.loads(place.do("show", run_id, "--json").stdout)["owner"] is not None
    place.write("go", "")
    wait_for(lambda: json.loads(place.do("show", run_id, "--json").stdout)["state"] == "SUCCESS",
          "the detached run's end")


def test_an_error_of_the_workflows_own_code_is_no_fault_of_the_engine(place: Place) -> None:
    place.write("odd.py", "from engine import workflow\n@workflow\ndef w(n: int):\n"
                "    raise KeyError('mine')\n")
    told = place.do("run", "odd.py", "-p", "n=1", code=2).stderr
    assert "odd.py raised an error while its workflow was built" in told
    assert "line 4, in w" in told and "KeyError: 'mine'" in told
    assert "workflows.py" not in told and "fault of FlowForge" not in told


def test_a_mistyped_selection_makes_no_run_and_hides_no_unfinished_one(place: Place) -> None:
    place.write("broken", "")
    place.do("run", "pipe.py", code=1)
    runs = place.do("runs", "--json").stdout
    for typed in ("--until totl", "--fresh --until totl", "--fresh --only total"):
        place.do("run", "pipe.py", *typed.split(), code=2)
    assert place.do("runs", "--json").stdout == runs
    assert "carrying on" in place.do("run", "pipe.py", code=1).stderr


def test_detach_tells_an_error_that_comes_before_the_run(place: Place) -> None:
    done = place.do("run", "nosuch.py", "--detach", code=2)
    assert "there is no file nosuch.py" in done.stderr


def test_help_imports_neither_rich_nor_the_engines_inside(place: Place) -> None:
    code = (
        "import sys\nfrom flowforge_tui.cli import cli\n"
        "try: cli(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('rich', 'msgpack', 'asyncio')"
        " or m.startswith(('engine.', 'flowforge_tui.commands'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**place.env, "PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Carry on an unfinished run." in done.stdout


def test_flags_can_be_set_in_the_environment_and_in_pyproject(place: Place) -> None:
    place.write("pyproject.toml", '[tool.flowforge]\noutput = "json"\nworkers = 1\n')
    assert events(place.do("run", "pipe.py").stdout)[0]["event"] == "run.started"
    place.env["FLOWFORGE_OUTPUT"] = "plain"
    assert place.do("run", "pipe.py", "--fresh").stdout == ""


def test_a_flag_counts_by_its_own_name_too(place: Place) -> None:
    place.write("gpu.py", "from engine import task, workflow\n@task(limits={'gpu': 1})\n"
                "def a(): ...\n@workflow\ndef w(): a()\n")
    assert "add limits=" in place.do("run", "gpu.py", code=2).stderr
    place.write("pyproject.toml", "[tool.flowforge]\nlimit = {gpu = 1}\nheadless = true\n")
    place.do("run", "gpu.py")
    place.env["FLOWFORGE_HEADLESS"] = "perhaps"
    assert "FLOWFORGE_HEADLESS: 'perhaps'" in place.do("run", "gpu.py", code=2).stderr
    place.write("pyproject.toml", "[tool.flowforge]\nascii = true\nlimit = {gpu = 1}\n")
    place.env["FLOWFORGE_HEADLESS"] = "1"
    place.do("run", "gpu.py")  # a key of screens is none of a run's, and no mistake
    place.env |= {"FLOWFORGE_HEADLESS": "1", "FLOWFORGE_LIMIT": "gpu=0"}
    assert "FLOWFORGE_LIMIT: 'gpu=0'" in place.do("run", "gpu.py", code=2).stderr


def test_a_file_named_engine_in_the_working_directory_is_refused(place: Place) -> None:
    place.write("engine.py", "")
    told = place.do("run", "pipe.py", code=2).stderr
    assert "rename it" in told and "Traceback" not in told
