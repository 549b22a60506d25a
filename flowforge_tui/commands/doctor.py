"""`flowforge doctor`: is everything here that a run needs, and are the runs in order?"""

from __future__ import annotations

import json
import sys

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def doctor(as_json: bool) -> None:
    """Check the installation, the state directory, and every run in it.

    Nothing is changed. Exit code 3 if something is wrong.
    """
    from engine.errors import FlowForgeError
    from engine.front import Finding, check_up, state_directory
    from flowforge_tui.exits import ENGINE_FAILED
    from flowforge_tui.tables import columns, write

    try:
        found = list(check_up(state_directory()))
    except FlowForgeError as error:  # of the settings
        found = [Finding("wrong", "settings", str(error))]
    good = all(f.verdict != "wrong" for f in found)
    if as_json:
        write([json.dumps({"good": good, "findings": [f._asdict() for f in found]}, indent=1)])
    else:
        write(columns([_row(f.verdict, f.what, f.told) for f in found]))
    if not good:
        sys.exit(ENGINE_FAILED)


def _row(verdict: str, what: str, told: str) -> tuple[str, str, str]:
    from engine import TaskState
    from flowforge_tui.tables import shown, task_state

    colour = {"ok": TaskState.SUCCESS, "note": TaskState.UP_FOR_RETRY, "wrong": TaskState.FAILED}
    return task_state(colour[verdict], verdict), what, shown(told, 300)
