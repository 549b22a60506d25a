"""`flowforge attach`: following a run that another process owns, or looking at an ended one."""

from __future__ import annotations

import click

from flowforge_tui.commands.logs import View
from flowforge_tui.commands.show import run_lines


@click.command()
@click.argument("run", default="latest")
def attach(run: str) -> None:
    """Follow the output of a run until it ends, then show how it ended.

    Leaving with Ctrl-C does not stop the run.
    """
    from engine.front import open_stored, state_directory
    from flowforge_tui.tables import write

    home = state_directory()
    stored = open_stored(home, run)
    if stored.owner is not None:
        write(run_lines(stored))
        view = View(stored, None, times=True, as_json=False)
        write(view.lines(view.read(follow=True, last=20)))
    write(run_lines(open_stored(home, stored.run_id)))
