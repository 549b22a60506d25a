"""`resume`, `retry`, `rerun`, and steering a live run from another terminal."""

from __future__ import annotations

import json
import signal
import subprocess

from tests.cli.flows import PIPE, Place
from tests.waiting import wait_for


def plan(place: Place, *args: str) -> dict[str, str]:
    """Task → what a dry run says will become of it."""
    told = json.loads(place.do(*args, "--dry-run", "--json").stdout)
    return {e["name"]: e["action"] for e in told["entries"]}


def state_of(place: Place, task: str) -> str:
    return json.loads(place.do("show", "latest", task, "--json").stdout)["state"]


def kill_at_the_gate(place: Place, *flags: str) -> None:
    process = place.start("run", "gate.py", *flags)
    place.wait_for("waiting")
    # An attempt is recorded as running a moment after it began.
    wait_for(lambda: state_of(place, "gate") == "RUNNING", "the record of the attempt")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def test_a_killed_run_is_shown_as_interrupted_and_resumed_where_it_was(place: Place) -> None:
    kill_at_the_gate(place)
    assert "INTERRUPTED" in place.do("runs").stdout
    assert state_of(place, "gate") == "INTERRUPTED"
    assert plan(place, "resume") == {"first": "keep", "gate": "run", "last": "run"}
    assert place.ran() == ["first"]
    place.write("go", "")
    done = place.do("resume")
    assert "carrying on run" in done.stderr and "1 done, 2 to go" in done.stderr
    assert place.ran() == []
    assert "SUCCESS" in place.do("show", "latest").stdout
    place.do("resume", code=2)


def test_a_resume_works_from_anywhere_in_the_runs_own_directory(place: Place) -> None:
    kill_at_the_gate(place)
    place.write("go", "")
    (place.path / "elsewhere").mkdir()
    away = Place(place.path / "elsewhere")
    away.env["FLOWFORGE_HOME"] = str(place.path / ".flowforge")
    away.env["FLOWFORGE_KEY_FILE"] = place.env["FLOWFORGE_KEY_FILE"]
    assert "SUCCESS" in away.do("resume").stderr
    assert not (away.path / "logs").exists()


def test_a_resume_takes_over_the_flags_of_the_run(place: Place) -> None:
    place.write("gate.py", (place.path / "gate.py").read_text().replace(
        "@task\ndef gate", "@task(limits={'gpu': 1})\ndef gate"))
    place.do("run", "gate.py", code=2)
    kill_at_the_gate(place, "--limit", "gpu=1")
    place.write("go", "")
    place.do("resume")


def test_a_resume_says_what_changed_and_runs_just_that(place: Place) -> None:
    place.write("broken", "")
    place.do("run", "pipe.py", code=1)
    place.ran()
    (place.path / "broken").unlink()
    place.write("pipe.py", PIPE.replace("    return x\n", "    return x + 0\n"))
    told = json.loads(place.do("resume", "--dry-run", "--json").stdout)
    reasons = {e["name"]: e["reason"] for e in told["entries"] if e["action"] == "changed"}
    assert "code of check changed" in reasons["check"]
    done = place.do("resume")
    assert "the workflow changed" in done.stderr and "code of check changed" in done.stderr
    assert place.ran() == [f"check {2 * i}" for i in range(5)]


def test_retry_runs_the_failure_and_what_it_blocked(place: Place) -> None:
    place.write("broken", "")
    place.do("run", "pipe.py", code=1)
    place.ran()
    assert plan(place, "retry", "latest") == {
        **{f"double[{i}]": "keep" for i in range(5)},
        **{f"check[{i}]": "run" if i == 3 else "keep" for i in range(5)}, "total": "run",
    }
    place.do("retry", "latest", "check[3]", code=1)
    assert place.ran() == ["check 6"]
    (place.path / "broken").unlink()
    done = place.do("retry", "latest", "--json")
    assert json.loads(done.stdout.splitlines()[-1])["counts"] == {"SUCCESS": 11}
    assert place.ran() == ["check 6"]
    assert "nothing to retry" in place.do("retry", "latest", code=2).stderr
    assert "nothing to retry" in place.do("retry", "latest", "total", code=2).stderr


def test_rerun_discards_a_success_and_all_that_followed_from_it(place: Place) -> None:
    place.do("run", "pipe.py")
    place.ran()
    assert plan(place, "rerun", "latest", "double[1]") == {
        **{f"double[{i}]": "run" if i == 1 else "keep" for i in range(5)},
        **{f"check[{i}]": "run" if i == 1 else "keep" for i in range(5)}, "total": "run",
    }
    assert place.ran() == []
    place.do("rerun", "latest", "double[1]")
    assert place.ran() == ["check 2", "double 1"]
    assert json.loads(place.do("show", "latest", "check[1]", "--json").stdout)["generation"] == 2
    assert "did you mean double" in place.do("rerun", "latest", "doubel", code=2).stderr


def test_a_live_run_takes_commands(place: Place) -> None:
    process = place.start("run", "gate.py")
    place.wait_for("waiting")
    try:
        assert plan(place, "rerun", "latest", "first") == {"first": "run"}
        assert "paused" in place.do("pause", "latest").stdout
        assert "PAUSED" in place.do("show", "latest").stdout
        assert "paused already" in place.do("pause", "latest", code=2).stderr
        assert "goes on" in place.do("unpause", "latest").stdout
        assert "nothing to retry" in place.do("retry", "latest", code=2).stderr
        assert "nothing to cancel" in place.do("cancel", "latest", "first", code=2).stderr
        assert "cancelled" in place.do("cancel", "latest", "gate").stdout
    finally:
        place.write("go", "")
        process.communicate(timeout=30)
    assert process.returncode == 1
    assert state_of(place, "gate") == "CANCELLED"
    assert "nothing runs it" in place.do("cancel", "latest", code=2).stderr
    assert "workers is for a live run" in place.do("workers", "latest", code=2).stderr
    place.do("retry", "latest")
    assert place.ran() == ["first"]


def test_a_ready_task_says_what_it_waits_for_and_a_paused_run_how_it_goes_on(
    place: Place,
) -> None:
    place.write("wide.py", "import time\nfrom pathlib import Path\n"
                "from engine import task, workflow\n"
                "@task(limits={'gpu': 1})\ndef use(i):\n    Path('waiting').touch()\n"
                "    while not Path('go').exists():\n        time.sleep(0.01)\n"
                "@workflow(limits={'gpu': 1}, workers=2)\ndef w():\n    use.map([1, 2])\n")
    process = place.start("run", "wide.py")
    place.wait_for("waiting")
    try:
        assert "waits for  limit gpu" in place.do("show", "latest", "use[1]").stdout
        place.do("pause", "latest")
        told = place.do("show", "latest").stdout
        assert "go on: flowforge unpause" in told and "ended" not in told
        shown = json.loads(place.do("show", "latest", "use[1]", "--json").stdout)
        assert shown["waits_for"] == "the run is paused"
        place.do("unpause", "latest")
    finally:
        place.write("go", "")
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_cancelled_run_says_so(place: Place) -> None:
    process = place.start("run", "gate.py")
    place.wait_for("waiting")
    place.do("cancel", "latest")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "CANCELLED in" in err and "flowforge retry" in err


def test_attach_and_logs_follow_a_run_to_its_end(place: Place) -> None:
    process = place.start("run", "gate.py")
    place.wait_for("waiting")
    followers: list[subprocess.Popen[str]] = [
        place.start("attach"), place.start("logs", "latest", "-f")]
    assert followers[0].stdout is not None
    wait_for(lambda: "RUNNING" in followers[0].stdout.readline(), "the follower")  # type: ignore[union-attr]
    place.write("go", "")
    process.communicate(timeout=30)
    out, _ = followers[0].communicate(timeout=30)
    assert "SUCCESS" in out
    followers[1].communicate(timeout=30)
    assert [f.returncode for f in followers] == [0, 0]


def test_an_interactive_run_cannot_be_resumed_by_a_command(place: Place) -> None:
    place.write("exec.py", "exec(compile(open('pipe.py').read() + '\\nopen(\"broken\", \"w\")\\n"
                           "pipe.run()', '<session>', 'exec'), {'__name__': 'session'})\n")
    place.do("run", "exec.py", code=1)
    assert "without a file" in place.do("retry", "latest", code=2).stderr


def test_a_part_of_a_run_is_a_success_and_a_resume_does_the_rest(place: Place) -> None:
    done = place.do("run", "pipe.py", "--only", "total", code=2)
    assert "use --until total" in done.stderr
    done = place.do("run", "pipe.py", "--until", "double")
    assert "PAUSED in" in done.stderr and "flowforge resume" in done.stderr
    assert place.ran() == [f"double {i}" for i in range(5)]
    assert json.loads(place.do("runs", "--json").stdout)[0]["state"] == "PAUSED"
    assert "which has not run" in place.do("run", "pipe.py", "--only", "total", code=2).stderr
    place.do("resume")
    assert place.ran() == [f"check {2 * i}" for i in range(5)]


def test_what_cannot_be_done_leaves_the_run_as_it_was(place: Place) -> None:
    place.do("run", "pipe.py")
    before = place.do("show", "latest", "--json").stdout
    place.do("retry", "latest", "nosuch", code=2)
    assert "nothing to retry" in place.do("retry", "latest", "total", code=2).stderr
    assert place.do("show", "latest", "--json").stdout == before
