"""`flowforge cancel`, `pause` and `unpause`: commands to a live run of another process."""

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


def _ask(command: str, run: str, tasks: tuple[str, ...]) -> None:
    from engine.front import open_stored, state_directory
    from flowforge_tui.tables import shown, write

    write([shown(open_stored(state_directory(), run).ask(command, tasks), 500)])
