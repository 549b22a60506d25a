"""`flowforge attach`: following a run that another process owns, or looking at an ended one."""

from __future__ import annotations

import sys

import click

from flowforge_tui.commands.logs import View
from flowforge_tui.commands.show import run_lines
from flowforge_tui.flags import ascii_flag


@click.command()
@click.argument("run", default="latest")
@click.option("--headless", is_flag=True, help="In lines, as in a pipe: its output, then its end.")
@ascii_flag
def attach(run: str, headless: bool) -> None:
    """Show a run of another process, or one long ended, on the screen; in a pipe, in lines.

    Leaving does not stop the run.
    """
    from engine.front import open_stored, state_directory
    from flowforge_tui.onscreen import attach_on_screen, on_a_terminal
    from flowforge_tui.tables import write

    home = state_directory()
    if on_a_terminal() and not headless:
        sys.exit(attach_on_screen(home, run))
    stored = open_stored(home, run)
    if stored.owner is not None:
        write(run_lines(stored))
        view = View(stored, None, times=True, as_json=False)
        write(view.lines(view.read(follow=True, last=20)))
    write(run_lines(open_stored(home, stored.run_id)))
