"""`flowforge serve`: the screen in a browser."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from flowforge_tui.browser.server import Server


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("target", metavar="[RUN | FILE[:WORKFLOW]]", required=False)
@click.argument("arguments", metavar="[FLAGS OF run]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Where to listen; anywhere but there, other machines can reach it.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535),
              help="Where to listen; 0 takes any free port.")
def serve(target: str | None, arguments: tuple[str, ...], host: str, port: int) -> None:
    """Show the screen in a browser: the launcher, a run, or a workflow that is run there.

    Every tab has a screen of its own. Closing a tab stops the run that it started, which can be
    resumed, and only leaves a run that it was attached to. Ctrl-C ends the server and its tabs.
    """
    command = [sys.executable, "-m", "flowforge_tui", *_shown(target, arguments)]
    try:
        from flowforge_tui.browser.server import Server
    except ModuleNotFoundError as error:
        raise click.UsageError(
            f"The browser needs a package that is not installed ({error.name}): "
            "pip install 'flowforge[serve]'") from None
    sys.exit(_serve(Server(command, host, port), host, port))


def _shown(target: str | None, arguments: Sequence[str]) -> list[str]:
    """The command that each tab runs. Raises UsageError, RunNotFound for what none could show."""
    from pathlib import Path

    from flowforge_tui.commands.run import split_target

    if target is None:
        return []
    if target.startswith("-"):
        raise click.UsageError(f"No such option: {target}. Flags of `run` come after a FILE.")
    if target.endswith(".py") or Path(split_target(target)[0]).is_file():
        _check_file(target, arguments)
        return ["run", target, *arguments]
    if arguments:
        raise click.UsageError(f"{target} is a run; {arguments[0]} is for a FILE that is run.")
    from engine.front import open_stored, state_directory

    open_stored(state_directory(), target)
    return ["attach", target]


def _check_file(target: str, arguments: Sequence[str]) -> None:
    """What would be wrong in every tab is told at once."""
    from pathlib import Path

    from flowforge_tui.commands.run import run, split_target

    file = split_target(target)[0]
    if not Path(file).is_file():
        raise click.UsageError(f"There is no file {file}.")
    if run.make_context("flowforge serve", [target, *arguments]).params["headless"]:
        raise click.UsageError("--headless leaves nothing for a browser to show; leave it out.")


def _serve(server: Server, host: str, port: int) -> int:
    import asyncio

    from flowforge_tui import exits
    from flowforge_tui.browser.gate import is_loopback

    if not is_loopback(host):
        shown = port or "PORT"
        exits.say("warning: others can reach this, and what passes is not encrypted; safer: "
                  f"leave out --host, and use: ssh -L {shown}:127.0.0.1:{shown} HERE")
    try:
        asyncio.run(server.run(_show_address, exits.say))
    except OSError as error:
        exits.say(f"error: cannot listen on {host}, port {port}: {error.strerror or error}; "
                  "choose others with --host and --port")
        return exits.USAGE
    return exits.SUCCESS


def _show_address(url: str) -> None:
    click.echo(f"FlowForge is at {url}\n"
               "Whoever has this address can run programs as you. Ctrl-C ends it.")
