"""`run --detach`: the same command in a session of its own, which no terminal can end.

The new process tells its events on a pipe until the run has begun; then the pipe is closed,
which it takes in silence, and it goes on alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import click

from flowforge_tui.safe_text import safe


def detach(arguments: Sequence[str], *, attach: bool) -> int:
    """Start the command in the background; returns an exit code once the run has begun.

    `attach`: show it on the screen then, which may be left while the run goes on.
    """
    command = [sys.executable, "-m", "flowforge_tui", *_without(arguments), "--headless",
               "--output", "json"]
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            start_new_session=True,
        )
        assert child.stdout is not None
        for line in child.stdout:
            event = json.loads(line)
            if event.get("event") == "run.started":
                child.stdout.close()
                return _begun(str(event["run_id"]), child.pid, attach=attach)
        code = child.wait()
        errors.seek(0)
        click.echo(safe(errors.read().decode("utf-8", "replace")), err=True, nl=False)
        return code


def _without(arguments: Sequence[str]) -> list[str]:
    return [a for a in arguments if a not in ("--detach", "--tui")]


def _begun(run_id: str, pid: int, *, attach: bool) -> int:
    if attach:
        from engine.front import state_directory
        from flowforge_tui.onscreen import attach_on_screen

        return attach_on_screen(state_directory(), run_id)
    click.echo(run_id)
    click.echo(f"runs in the background as process {pid}; follow it with: "
               f"flowforge logs {run_id} -f", err=True)
    return 0
