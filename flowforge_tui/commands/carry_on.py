"""`flowforge resume`, `retry` and `rerun`: going on with a run that is there already."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import click

from flowforge_tui.flags import options_of, run_flags

if TYPE_CHECKING:
    from engine.front import PlanEntry, Request, RunOptions, StoredRun

Command = Literal["resume", "retry", "rerun"]

_DRY_RUN = click.option("--dry-run", is_flag=True,
                        help="Only tell what would run, with a reason per task.")
_JSON = click.option("--json", "as_json", is_flag=True,
                     help="With --dry-run, the plan as JSON; else as --output json.")


_RELOAD = click.option("--reload", is_flag=True,
                       help="On a live run: with the code as its file has it now.")


@click.command()
@click.argument("run", required=False)
@_DRY_RUN
@_JSON
@click.option("--force", is_flag=True, help="End a live owner on this machine first.")
@run_flags
def resume(
    run: str | None, dry_run: bool, as_json: bool, force: bool, flags: dict[str, Any]
) -> None:
    """Carry on a run: RUN, or else the newest one that is unfinished.

    What succeeded stays, unless its code changed; everything else runs.
    """
    sys.exit(_go_on("resume", run, (), flags, dry_run=dry_run, as_json=as_json, force=force))


@click.command()
@click.argument("run")
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
@_DRY_RUN
@_JSON
@_RELOAD
@run_flags
def retry(
    run: str, tasks: tuple[str, ...], dry_run: bool, as_json: bool, reload: bool,
    flags: dict[str, Any]
) -> None:
    """Run failed and cancelled tasks again, with what they blocked: the named, or all.

    On a live run this is a command to the process that owns it.
    """
    sys.exit(_go_on("retry", run, tasks, flags, dry_run=dry_run, as_json=as_json,
                    reload=reload))


@click.command()
@click.argument("run")
@click.argument("tasks", metavar="TASK...", nargs=-1, required=True)
@_DRY_RUN
@_JSON
@_RELOAD
@run_flags
def rerun(
    run: str, tasks: tuple[str, ...], dry_run: bool, as_json: bool, reload: bool,
    flags: dict[str, Any]
) -> None:
    """Discard the results of tasks and run them again, with everything downstream.

    On a live run this is a command to the process that owns it.
    """
    sys.exit(_go_on("rerun", run, tasks, flags, dry_run=dry_run, as_json=as_json,
                    reload=reload))


def _go_on(
    command: Command, name: str | None, tasks: tuple[str, ...], flags: dict[str, Any], *,
    dry_run: bool, as_json: bool, force: bool = False, reload: bool = False,
) -> int:
    from engine.front import open_stored, state_directory, unfinished_run

    home = state_directory()
    stored = open_stored(home, name if name is not None else unfinished_run(home))
    if command != "resume" and stored.owner is not None:
        return _tell_owner(stored, command, tasks, dry_run=dry_run, as_json=as_json,
                           reload=reload)
    if command == "retry" and not tasks:
        stored.check_retry()
    if as_json and not dry_run:
        flags["output"] = "json"
    return _start(stored, command, tasks, flags, dry_run=dry_run, as_json=as_json, force=force)


def _tell_owner(
    stored: StoredRun, command: Command, tasks: tuple[str, ...], *, dry_run: bool, as_json: bool,
    reload: bool,
) -> int:
    """The run is live: its owner does it, without a new plan; its code is loaded already."""
    from flowforge_tui.tables import shown, write

    if dry_run:
        _show_plan(stored.run_id, stored.would_run(command, tasks), as_json=as_json)
        return 0
    answer = stored.ask(command, tasks, reload=reload)
    write([json.dumps({"run_id": stored.run_id, "message": answer}) if as_json
           else shown(answer, 500)])
    return 0


def _start(
    stored: StoredRun, command: Command, tasks: tuple[str, ...], flags: dict[str, Any], *,
    dry_run: bool, as_json: bool, force: bool,
) -> int:
    from flowforge_tui.onscreen import run_on_screen, wants_screen
    from flowforge_tui.running import carry_out

    how = how_to_go_on(stored, command, tasks, options_of(flags))
    request = how.request
    request.dry_run, request.force = dry_run, force
    begin = run_on_screen if wants_screen(request) else carry_out
    code = begin(request, how.file, workflow=how.workflow, values=how.values)
    if dry_run and code == 0:
        entries = request.plan.entries() if request.plan is not None else ()
        _show_plan(stored.run_id, entries, as_json=as_json)
    return code


class HowToGoOn(NamedTuple):
    """What carries a stored run on: what is asked for, of which file."""

    request: Request
    file: str
    workflow: str
    values: Callable[[], Mapping[str, Any]]


def how_to_go_on(
    stored: StoredRun, command: str, tasks: Sequence[str], options: RunOptions | None = None
) -> HowToGoOn:
    """Find out, and go to where the run was started. Raises RunError if it has no file."""
    from engine.errors import RunError
    from engine.front import Request, RunOptions, options_from

    about = stored.about
    if not about.get("file"):
        raise RunError(f"run {stored.run_id} was started from an interactive session, without a "
                       "file; start its workflow there again, and it carries on")
    stored.check_mine()
    chosen = (options or RunOptions()).over(options_from(about.get("flags") or {}))
    chosen.home = str(stored.home)
    _go_to(about.get("cwd"))
    request = Request(cast(Command, command), stored.run_id, tuple(tasks), about["workflow"],
                      chosen)
    return HowToGoOn(request, about["file"], about["workflow"],
                     lambda: stored.parameters(trusted=True))


def _go_to(directory: str | None) -> None:
    """Where the run was started: its tasks may use relative paths."""
    from engine.front import wording  # noqa: F401 - notes where the user stands
    from flowforge_tui import exits

    if directory is None or Path(directory) == Path.cwd():
        return
    try:
        os.chdir(directory)
    except OSError as error:
        exits.say(f"the run was started in {directory}, which cannot be entered "
                  f"({error.strerror}); going on here")


# -- the plan ---------------------------------------------------------------------------------

_COLOURS = {"keep": "#8b949e", "run": "#56b4e9", "changed": "#f0c742", "new": "#2fbf8f",
            "gone": "#8b949e"}


def _show_plan(run_id: str, entries: Iterable[PlanEntry], *, as_json: bool) -> None:
    from flowforge_tui.tables import columns, paint, shown, write

    listed = list(entries)
    counts: dict[str, int] = {}
    for entry in listed:
        counts[entry.action] = counts.get(entry.action, 0) + entry.task_runs
    if as_json:
        told = [entry._asdict() for entry in listed]
        write([json.dumps({"run_id": run_id, "counts": counts, "entries": told})])
        return
    rows = [(paint(e.action, _COLOURS[e.action]), shown(e.name), shown(e.reason, 200))
            for e in listed]
    summed = ", ".join(f"{number:,} {action}" for action, number in counts.items())
    write([f"run {run_id}: {summed or 'nothing is recorded yet, all would run'}", *columns(rows)])
