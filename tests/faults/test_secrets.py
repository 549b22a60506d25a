"""A secret is sent through every sink there is; then all that was written is searched for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.cli.flows import ROOT, Place

pytestmark = pytest.mark.fault(45)

VALUE = "s3cr3t/V\"al'ue?ä-hunter2"
LINES = "-----BEGIN-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END-----"

FLOW = r'''
import base64, logging, os, subprocess, sys, threading, time, traceback, warnings
from dataclasses import dataclass
from engine import Secret, Skip, current, shell, task, workflow, TaskFailed

TOKEN = Secret.env("API_TOKEN")

@dataclass
class Config:
    url: str
    token: Secret

@task
def said(token):
    v = token.get()
    print("printed", v)
    print(v, file=sys.stderr)
    sys.stdout.write(v[:5]); sys.stdout.write(v[5:] + "\n")
    print("x" * 8190 + v + "y" * 9000)
    sys.stdout.buffer.write(f"bytes {v}\n".encode())
    print({"token": v}, repr(v), v.encode(), base64.b64encode(v.encode()))
    logging.getLogger("lib").warning("logged %s", v)
    current().log.info("logged by the task: %s", v)
    warnings.warn(f"warned {v}")
    for line in Secret.env("KEY").get().splitlines():
        print(line)
    thread = threading.Thread(target=lambda: 1 / len(v[999:]), name=v)
    thread.start(); thread.join()
    return len(v)

@task
def written_by_a_child(token):
    v = token.get()
    if EXECUTOR == "process":
        os.write(1, f"by the descriptor {v}\n".encode())
        subprocess.run(["echo", "by a child", v], check=True)

@task
def raised(token):
    v = token.get()
    def inner(header):
        raise ConnectionError(f"refused: {header}")
    try:
        inner(f"Bearer {v}")
    except ConnectionError as error:
        error.add_note(f"with {v}")
        raise RuntimeError({"authorization": v}) from error

@task
def grouped():
    v = Secret.env("API_TOKEN").get()   # made in the task: the engine has not seen it
    raise ExceptionGroup(f"all of {v}", [ValueError(v), KeyError(v)])

class Odd(Exception):
    def __str__(self):
        return f"odd {self.args[0]}"

@task(retries=1, retry_delay=0)
def odd(config):
    raise Odd(config.token.get())

@task
def skipped(token):
    raise Skip(f"no need of {token.get()}")

@task
def returned(token):
    return {"headers": {"Authorization": f"Bearer {token.get()}"}}

@task
def returned_large(token):
    return [token.get(), b"x" * 400_000]

@task
def returned_text(token):
    return token.get()

@task(persist=False)
def handed_on(token):
    return "Bearer " + token.get()

@task
def used(header):
    assert header.endswith("hunter2")
    return len(header)

@task
def keyed(x):
    return 1

@task
def kept(token):
    return token

@task
def read_again(token):
    return len(token.get())

def heard(event):
    raise RuntimeError(f"a listener with {TOKEN.get()} in hand")

@workflow(on_failure="continue")
def flow(token: Secret = TOKEN):
    said(TOKEN); written_by_a_child(TOKEN); raised(TOKEN); grouped(); skipped(TOKEN)
    odd(Config("https://example.org", TOKEN))
    returned(TOKEN); returned_large(TOKEN); returned_text(TOKEN)
    used(handed_on(TOKEN))
    keyed.map([1, 2], key=lambda x: f"{TOKEN.get()}-{x}")
    read_again(kept(TOKEN))
    shell(["sh", "-c", "echo in a shell $1; echo $1 >&2; exit 3", "sh", TOKEN], name="failing")
    shell("echo $API_TOKEN", name="echoed")

flow.on(TaskFailed, heard)
EXECUTOR = os.environ["MODE"]

if __name__ == "__main__":
    run = flow.options(executor=EXECUTOR, workers=2).run()
    try:
        run.result
    except Exception:
        traceback.print_exc()
    raise run.raise_for_failure()
'''


def leaks(data: bytes) -> list[str]:
    """Parts of the secret that stand in it, in any of its forms."""
    import base64

    forms = {
        VALUE, repr(VALUE)[1:-1], json.dumps(VALUE)[1:-1], quote(VALUE), "s3cr3t", "hunter2",
        base64.b64encode(VALUE.encode()).decode(), *LINES.splitlines()[1:3],
    }
    return [form for form in forms if form.encode() in data]


def around(data: bytes) -> bytes:
    at = data.find(leaks(data)[0].encode())
    return data[max(0, at - 200):at + 200]


def files_with_a_leak(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "flow.py":
            data = path.read_bytes()
            if leaks(data):
                found[str(path.relative_to(folder))] = around(data)
    return found


@pytest.mark.parametrize("mode", ["thread", "process", "sequential"])
def test_a_secret_sent_through_every_sink(place: Place, mode: str):
    place.env |= {"API_TOKEN": VALUE, "KEY": LINES, "MODE": mode, "HOME": str(place.path)}
    place.write("flow.py", FLOW)
    runs = [
        place.do("run", "flow.py", "--executor", mode, code=1),
        place.do("run", "flow.py", "--executor", mode, "--fresh", "--output", "json", code=1),
        subprocess.run([sys.executable, "flow.py"], cwd=place.path, env=place.env, text=True,
                       capture_output=True, check=False),
    ]
    shown = [place.do(*words, code=code) for words, code in (
        (("runs",), 0), (("show", "latest"), 0), (("show", "latest", "--json"), 0),
        *(((("show", "latest", task), 0)) for task in
          ("raised", "grouped", "odd", "skipped", "returned", "failing", "echoed", "keyed")),
        (("logs", "latest"), 0), (("logs", "latest", "--json"), 0), (("graph", "flow.py"), 0),
        (("resume", "latest", "--dry-run"), 0), (("retry", "latest"), 1),
    )]
    for done in (*runs, *shown):
        said = (done.stdout + done.stderr).encode()
        assert not leaks(said), (done.args, around(said))
    assert not files_with_a_leak(place.path)
    # What was to run did, and what was refused says why.
    states = {t["task"]: next(iter(t["counts"])) for t in
              json.loads(place.do("show", "latest", "--json").stdout)["tasks"]}
    good = {"said", "written_by_a_child", "used", "handed_on", "keyed", "kept", "read_again"}
    assert {t for t, s in states.items() if s == "SUCCESS"} == good
    assert states["skipped"] == "SKIPPED"
    for task in ("returned", "returned_large", "returned_text", "echoed"):
        text = place.do("show", "latest", task).stdout
        assert "holds the value of the secret API_TOKEN" in text, (task, text)
    log = place.do("logs", "latest").stdout
    assert log.count("***") > 12


def test_a_parameter_with_a_secrets_value_is_refused(place: Place):
    place.env |= {"API_TOKEN": VALUE}
    place.write("flow.py", """
from engine import Secret, task, workflow

@task
def use(x):
    return len(x)

@workflow
def flow(token: str):
    return use(token)

if __name__ == "__main__":
    flow.run(token=Secret.env("API_TOKEN").get())
""")
    done = subprocess.run([sys.executable, "flow.py"], cwd=place.path, env=place.env, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 1 and "secret API_TOKEN" in done.stderr
    assert not leaks(done.stderr.encode())
    runs = place.path / ".flowforge" / "runs"
    assert not runs.exists() or not list(runs.iterdir())


def test_the_environment_is_stored_nowhere(place: Place):
    """Of no variable, declared a secret or not."""
    place.env |= {"SOME_VARIABLE": "value-of-some-variable"}
    place.do("run", "pipe.py", "--executor", "process")
    for path in place.path.rglob("*"):
        if path.is_file():
            assert b"value-of-some-variable" not in path.read_bytes(), path


def test_a_secret_that_changed_is_masked_in_both_forms(place: Place):
    place.env |= {"API_TOKEN": VALUE, "MODE": "thread"}
    place.write("flow.py", FLOW)
    place.do("run", "flow.py", code=1)
    place.env["API_TOKEN"] = "rotated-since-hunter2"
    done = place.do("retry", "latest", code=1)
    assert not leaks((done.stdout + done.stderr).encode())
    assert not files_with_a_leak(place.path)


def test_a_fault_of_ours_shows_no_secret(place: Place):
    """The traceback that asks to be reported."""
    place.env |= {"API_TOKEN": VALUE}
    code = """
import sys
from engine import Secret
from flowforge_tui import exits
value = Secret.env("API_TOKEN").get()
try:
    raise AssertionError("a fault with " + value)
except AssertionError as error:
    sys.exit(exits.tell(error))
"""
    done = subprocess.run([sys.executable, "-c", code], env={**place.env, "PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "fault of FlowForge" in done.stderr
    assert not leaks(done.stderr.encode())
