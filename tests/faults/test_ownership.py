"""Who owns a run, when owners die, sleep, and are many; on whole runs and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine import task, workflow
from engine.errors import RunError
from engine.runtime.stored import open_stored
from engine.state.ownership import LOCK_FILE, process_start
from tests.cli.flows import Place
from tests.runtime.harness import Bench, note, until_told
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals, /proc")


def killed_at_the_gate(place: Place) -> None:
    """Leave a run whose owner was SIGKILLed in its middle."""
    process = place.start("run", "gate.py")
    place.wait_for("waiting")
    process.kill()
    process.communicate()
    (place.path / "waiting").unlink()
    assert place.ran() == ["first"]


@pytest.mark.fault(36)
def test_of_twenty_that_resume_nineteen_exit_4(place: Place):
    killed_at_the_gate(place)
    racers = [place.start("resume", "latest") for _ in range(20)]
    wait_for(lambda: sum(r.poll() is not None for r in racers) == 19, "nineteen refusals")
    place.write("go", "")
    told = [r.communicate(timeout=60)[1] for r in racers]
    codes = [r.returncode for r in racers]
    assert sorted(codes) == [0, *[4] * 19], told
    assert all("attach" in text for text, code in zip(told, codes, strict=True) if code == 4)
    assert place.ran() == []  # `first` was done
    assert len(json.loads(place.do("runs", "--json").stdout)) == 1
    assert json.loads(place.do("show", "latest", "--json").stdout)["state"] == "SUCCESS"


#: Stops inside the transaction in which a success is recorded, the first time.
ASLEEP = """
import os, signal
from pathlib import Path
from engine.state.sqlite_store import SqliteStore

real = SqliteStore._insert

def insert(self, seq, data):
    if not Path("gate-passed").exists():
        return real(self, seq, data)
    self._execute("BEGIN IMMEDIATE")
    written = real(self, seq, data)
    Path("asleep").write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)
    self._execute("COMMIT")
    return written

if not Path("woken").exists():
    Path("woken").touch()
    SqliteStore._insert = insert
"""


@pytest.mark.fault(37)
def test_an_owner_asleep_inside_a_transaction_is_ended_before_another_writes(place: Place):
    gate = (place.path / "gate.py").read_text()
    place.write("gate.py", ASLEEP + gate.replace(
        "    return x\n", "    Path('gate-passed').touch()\n    return x\n", 1))
    sleeper = place.start("run", "gate.py")
    place.wait_for("waiting")
    place.write("go", "")
    place.wait_for("asleep")
    wait_for(lambda: _state(sleeper.pid) == "T", "the owner to stop")
    forced = place.do("resume", "latest", "--force")
    assert "SUCCESS" in forced.stderr
    sleeper.communicate(timeout=30)
    assert sleeper.returncode != 0
    assert place.ran() == ["first"]
    shown = json.loads(place.do("show", "latest", "--json").stdout)
    assert shown["state"] == "SUCCESS" and not shown.get("damage")


@pytest.mark.fault(37)
def test_an_owner_that_lost_its_lock_in_its_sleep_writes_nothing_more(bench: Bench):
    """As on a network file system that forgot the lock: the epoch alone keeps them apart."""
    @task
    def wait(i: int, folder: str):
        note(f"wait{i}")
        until_told(folder, f"go{i}")
        return i

    @workflow
    def flow(folder: str):
        x = wait.options(name="w0")(0, folder)
        return wait.options(name="w1")(1, folder).after(x)

    parameters = {"folder": str(bench.folder)}
    owner = bench.start(flow, parameters=parameters)
    bench.ledger.until("wait0")
    owner.signal(signal.SIGSTOP)
    wait_for(lambda: _state(owner.pid) == "T", "the owner to stop")
    run_dir = bench.run_dirs[0]
    # The lock goes with its file: a new one is free to take.
    text = (run_dir / LOCK_FILE).read_bytes()
    os.unlink(run_dir / LOCK_FILE)
    (run_dir / LOCK_FILE).write_bytes(text)
    (bench.folder / "go0").touch()
    second = bench.start(flow, parameters=parameters)
    bench.ledger.until("wait1")
    owner.signal(signal.SIGCONT)
    assert owner.ended() == 71 and "taken over" in owner.text(), owner.text()
    (bench.folder / "go1").touch()
    assert second.ended() == 0, second.text()
    stored = open_stored(bench.folder / "home", "latest")
    assert stored.state == "SUCCESS" and not stored.history.damage
    assert bench.ledger.all() == ["wait0", "wait0", "wait1"]


@pytest.mark.fault(38)
def test_a_stranger_with_the_dead_owners_pid_is_left_alone(place: Place):
    killed_at_the_gate(place)
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        run_dir = next((place.path / ".flowforge" / "runs").iterdir())
        owner = json.loads((run_dir / LOCK_FILE).read_text())
        assert owner["started"] != process_start(stranger.pid)
        (run_dir / LOCK_FILE).write_text(json.dumps({**owner, "pid": stranger.pid}))
        place.write("go", "")
        assert "INTERRUPTED" in place.do("show", "latest").stdout
        assert "nothing runs it" in place.do("cancel", "latest", code=2).stderr
        place.do("resume", "latest", "--force")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.fault(39)
@pytest.mark.parametrize("command", ["retry", "rerun"])
def test_a_button_pressed_by_many_at_once_is_one_generation(bench: Bench, command: str):
    @task
    def fails(folder: str):
        note("fails")
        if not Path(folder, "mended").exists():
            raise ValueError
        wait_for(Path(folder, "go").exists, "the word")

    @task
    def works(folder: str):
        note("works")
        if Path(folder, "mended").exists():
            wait_for(Path(folder, "go").exists, "the word")

    @task
    def gate(folder: str):
        wait_for(Path(folder, "go").exists, "the word")

    @workflow
    def flow(folder: str):
        gate(folder)
        fails(folder)
        works(folder)

    name = "fails" if command == "retry" else "works"
    session = bench.start(flow, parameters={"folder": str(bench.folder)}, workers=4)
    home = bench.folder / "home"
    bench.ledger.until("fails", "works")
    wait_for(lambda: {_word(home, "fails"), _word(home, "works")} == {"FAILED", "SUCCESS"},
             "both to end")
    (bench.folder / "mended").touch()
    answers: list[str] = []

    def press() -> None:
        try:
            answers.append(open_stored(home, "latest").ask(command, [name]))
        except RunError as error:
            answers.append(str(error))

    presses = [threading.Thread(target=press) for _ in range(12)]
    for thread in presses:
        thread.start()
    for thread in presses:
        thread.join()
    bench.ledger.until(name)
    (bench.folder / "go").touch()
    session.ended()
    assert sum("1 task run" in a for a in answers) == 1, answers
    assert sum(f"nothing to {command}" in a for a in answers) == 11, answers
    record = open_stored(home, "latest").record
    tid = open_stored(home, "latest").find(name)[0]
    assert record.generation.get(tid, 1) == (2 if command == "rerun" else 1)
    assert bench.ledger.all().count(name) == 2


def _word(home: Path, name: str) -> str:
    stored = open_stored(home, "latest")
    return stored.state_word(stored.find(name)[0])


@pytest.mark.fault(40)
@pytest.mark.parametrize("command", [["cancel"], ["pause"], ["unpause"], ["cancel", "gate"]])
def test_a_command_to_a_dead_owner_is_refused_in_words(place: Place, command: list[str]):
    killed_at_the_gate(place)
    verb, *tasks = command
    done = place.do(verb, "latest", *tasks, code=2)
    assert "INTERRUPTED" in done.stderr and f"{verb} is for a live run" in done.stderr
    place.write("go", "")
    place.do("resume", "latest")  # and changed nothing


@pytest.mark.fault(40)
def test_a_command_whose_owner_dies_over_it_is_not_lost_without_a_word(place: Place):
    process = place.start("run", "gate.py")
    place.wait_for("waiting")
    process.send_signal(signal.SIGSTOP)  # it is there, and does not answer
    wait_for(lambda: _state(process.pid) == "T", "the owner to stop")
    asked = place.start("cancel", "latest", "gate")
    wait_for(lambda: _connected(asked.pid), "the command to be sent")
    process.kill()
    process.communicate()
    _, told = asked.communicate(timeout=30)
    assert asked.returncode == 2 and "it may just have ended" in told


def _connected(pid: int) -> bool:
    """True if it waits for an answer on a socket."""
    try:
        links = [os.readlink(p) for p in Path(f"/proc/{pid}/fd").iterdir()]
        return any(x.startswith("socket:") for x in links) and _state(pid) == "S"
    except OSError:
        return False


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
