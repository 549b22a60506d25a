"""`flowforge cancel`, `pause`, `unpause`, `workers`, `undo`: for a live run of another process."""

from __future__ import annotations

import click


@click.command()
@click.argument("run")
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
def cancel(run: str, tasks: tuple[str, ...]) -> None:
    """Cancel a live run, or some of its tasks. Running attempts are asked to stop first."""
    _ask("cancel", run, tasks)


@click.command()
@click.argument("run")
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
def pause(run: str, tasks: tuple[str, ...]) -> None:
    """Start nothing new, of a live run or of some of its tasks; what runs goes on."""
    _ask("pause", run, tasks)


@click.command()
@click.argument("run")
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
def unpause(run: str, tasks: tuple[str, ...]) -> None:
    """Start tasks again."""
    _ask("unpause", run, tasks)


@click.command(context_settings={"ignore_unknown_options": True})  # -1 is no option
@click.argument("run")
@click.argument("amount", metavar="[+N|-N|N]", required=False)
def workers(run: str, amount: str | None) -> None:
    """Have more or fewer workers in a live run, or tell how many there are.

    One that is busy and too many ends its attempt first.
    """
    _ask("workers", run, () if amount is None else (amount,))


@click.command()
@click.argument("run")
def undo(run: str) -> None:
    """Take back the last retry, rerun, cancel, pause or unpause of a live run.

    Within five seconds, and if nothing of it has started.
    """
    _ask("undo", run, ())


def _ask(command: str, run: str, tasks: tuple[str, ...]) -> None:
    from engine.front import open_stored, state_directory
    from flowforge_tui.tables import shown, write

    write([shown(open_stored(state_directory(), run).ask(command, tasks), 500)])
