"""`flowforge runs`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from engine.front import RunSummary


@click.command()
@click.option("-n", "--last", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
def runs(last: int | None, as_json: bool) -> None:
    """List the runs in the state directory, newest first."""
    from engine.front import list_runs, state_directory
    from flowforge_tui.tables import columns, write

    home = state_directory()
    found = list_runs(home, last)
    if as_json:
        write([json.dumps([_fields(run) for run in found], indent=1)])
    elif found:
        write(columns([_row(run) for run in found],
                      ("RUN", "STATE", "WORKFLOW", "STARTED", "TOOK", "FILE")))
    else:
        write([f"no runs in {home} yet; start one with: flowforge run FILE"])


def _row(run: RunSummary) -> tuple[str, ...]:
    from engine.front import wording
    from flowforge_tui.tables import moment, run_state, shown

    return (
        run.run_id, run_state(run.state), shown(run.workflow, 40), moment(run.created),
        wording.duration(run.took) if run.took > 0 else "–", shown(run.problem or run.file, 100),
    )


def _fields(run: RunSummary) -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(run), "state": str(run.state) if run.state is not None else None}
