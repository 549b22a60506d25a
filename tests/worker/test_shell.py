import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.core.dag import Dag
from engine.core.events import Attempt
from engine.core.tasks import TaskSpec
from engine.errors import AttemptStopped
from engine.worker import shell as shells
from engine.worker.context import HERE, RunScope
from engine.worker.shell import ShellCommand, ShellError, ShellResult
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")

run = ShellCommand()


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    node = Dag("w").add(TaskSpec("t", lambda: None))
    trial = Attempt(0, node, -1, 1, 1, None)
    trial.run = RunScope("run-1")
    token = HERE.set(trial)
    yield trial
    HERE.reset(token)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_output_exit_code_and_streams(capsys: pytest.CaptureFixture[str]) -> None:
    result = run("echo out; echo err >&2")
    assert (result.exit_code, result.returncode) == (0, 0)
    assert (result.stdout, result.stderr, result.truncated) == ("out\n", "err\n", False)
    assert str(result) == "out" and result.seconds > 0
    assert capsys.readouterr() == ("out\n", "err\n")


def test_a_list_is_not_seen_by_the_shell() -> None:
    words = ["printf", "%s|", "$HOME; ls *", ["a", ("b",)], 3, Path("x"), ShellResult(0, "r\n")]
    assert run(words).stdout == "$HOME; ls *|a|b|3|x|r|"


def test_folder_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "yes")
    result = run("pwd; echo $KEPT $GIVEN", cwd=tmp_path, env={"GIVEN": 3})
    assert result.stdout == f"{tmp_path}\nyes 3\n"


def test_a_secret_word_is_revealed_to_the_command_and_masked_in_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.worker.secrets import Secret

    monkeypatch.setenv("THE_TOKEN", "s3cret-value")
    assert run(["printf", "%s", Secret.env("THE_TOKEN")]).stdout == "s3cret-value"
    with pytest.raises(ShellError) as caught:
        run(["false", Secret.env("THE_TOKEN")])
    assert "s3cret-value" not in str(caught.value)


def test_another_exit_code_raises_with_the_end_of_stderr() -> None:
    with pytest.raises(ShellError, match=r"(?s)exit code 3: echo oops.*\noops$") as caught:
        run("echo oops >&2; exit 3")
    assert (caught.value.exit_code, caught.value.stderr) == (3, "oops")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.exit_code) == (str(caught.value), 3)
    assert ShellCommand(check=False)("exit 3").exit_code == 3


def test_death_by_a_signal_is_named() -> None:
    with pytest.raises(ShellError, match="ended by SIGKILL"):
        run("kill -9 $$")


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        run(["/no/such/program"])
    with pytest.raises(ShellError, match="exit code 127"):
        run("no-such-program-anywhere")
    with pytest.raises(ValueError, match="empty"):
        run([[]])


def test_lines_arrive_while_it_runs(tmp_path: Path) -> None:
    gate, seen = tmp_path / "gate", []

    class Out:
        def write(self, text: str) -> int:
            seen.append(text)
            gate.touch()
            return len(text)

    old, sys.stdout = sys.stdout, Out()  # type: ignore[assignment]
    try:
        run(f"echo first; while [ ! -e {gate} ]; do sleep 0.01; done; printf 'no newline'")
    finally:
        sys.stdout = old
    assert seen == ["first\n", "no newline\n"]


@pytest.mark.fault(41)
def test_split_characters_and_invalid_bytes() -> None:
    code = (
        "import sys; out = sys.stdout.buffer\n"
        "for byte in 'é→'.encode() + b'\\xff\\0!': out.write(bytes([byte])); out.flush()"
    )
    assert run([sys.executable, "-c", code]).stdout == "é→\ufffd\0!"


@pytest.mark.fault(42)
def test_a_flood_is_kept_only_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shells, "KEPT", 100_000)
    result = run("yes | head -c 1000000; printf end")
    assert result.truncated and 100_000 <= len(result.stdout) <= 100_000 + 65536
    assert result.stdout.endswith("y\nend")


def test_a_line_without_end_is_passed_on_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shells, "LONGEST_LINE", 1000)
    pieces: list[str] = []
    monkeypatch.setattr(shells._Stream, "_write", lambda self, text: pieces.append(text))
    run("head -c 300000 /dev/zero | tr '\\0' x")
    assert len(pieces) > 1 and "".join(pieces).strip() == "x" * 300_000


def test_what_is_left_in_the_background_is_killed(tmp_path: Path) -> None:
    result = run("sleep 600 & echo $!")
    pid = int(result.stdout)
    wait_for(lambda: not alive(pid))


def test_a_cancelled_attempt_ends_the_whole_group(attempt: Attempt, tmp_path: Path) -> None:
    pid_file = tmp_path / "pids"
    command = f"sleep 600 & echo $! $$ > {pid_file}.part; mv {pid_file}.part {pid_file}; wait"

    def cancel() -> None:
        wait_for(pid_file.exists)
        attempt.cancelled = True

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(AttemptStopped):
        run(command)
    thread.join()
    for pid in map(int, pid_file.read_text().split()):
        wait_for(lambda pid=pid: not alive(pid))


def test_a_command_that_ignores_term_is_killed_after_its_grace(
    attempt: Attempt, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"

    def cancel() -> None:
        wait_for(ready.exists)
        attempt.cancelled = True

    thread = threading.Thread(target=cancel)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(AttemptStopped):
        ShellCommand(grace=0.1)(f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done")
    thread.join()
    assert time.monotonic() - begun < 5


def test_an_exception_from_outside_ends_the_command_too(tmp_path: Path) -> None:
    """A process worker stops an attempt by an exception raised in its main thread."""
    pid_file = tmp_path / "pid"

    def interrupt(*_: Any) -> None:
        raise AttemptStopped("from outside")

    def poke() -> None:
        wait_for(pid_file.exists)
        os.kill(os.getpid(), signal.SIGUSR1)

    old = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=poke)
    thread.start()
    try:
        with pytest.raises(AttemptStopped):
            run(f"echo $$ > {pid_file}.part; mv {pid_file}.part {pid_file}; sleep 600")
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, old)
    wait_for(lambda: not alive(int(pid_file.read_text())))


def test_it_pickles() -> None:
    command = pickle.loads(pickle.dumps(ShellCommand(check=False, grace=1.0)))
    assert (command.check, command.grace) == (False, 1.0)
