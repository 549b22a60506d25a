"""`flowforge run`."""

from __future__ import annotations

import sys
from typing import Any

import click

from flowforge_tui.flags import options_of, parameters_of, run_flags


@click.command()
@click.argument("target", metavar="FILE[:WORKFLOW]")
@click.option("-p", "--param", "pairs", metavar="NAME=VALUE", multiple=True,
              help="A parameter of the workflow; as often as needed.")
@click.option("--resume/--fresh", "resume", default=None,
              help="Carry on the last unfinished run, or start anew whatever there is.")
@click.option("--detach", is_flag=True, help="Run in a process of its own, which no terminal ends.")
@run_flags
def run(
    target: str, pairs: tuple[str, ...], resume: bool | None, detach: bool, flags: dict[str, Any]
) -> None:
    """Run a workflow. If its last run with the same parameters is unfinished, carry that on.

    Exit codes: 0 success, 1 the run failed or was cancelled, 2 usage or definition error,
    3 the engine failed, 4 another process owns the run, 130 or 143 interrupted.
    """
    from engine.front import Request
    from flowforge_tui.onscreen import run_on_screen, wants_screen
    from flowforge_tui.running import carry_out

    options = options_of(flags)
    if resume is not None:
        options.resume = True if resume else None
        options.fresh = None if resume else True
    file, workflow = split_target(target)
    request = Request(options=options)
    screen = wants_screen(request)
    if detach:
        from flowforge_tui.detached import detach as in_background

        sys.exit(in_background(sys.argv[1:], attach=screen))
    begin = run_on_screen if screen else carry_out
    sys.exit(begin(request, file, workflow=workflow, written=parameters_of(pairs)))


def split_target(target: str) -> tuple[str, str | None]:
    """`FILE:WORKFLOW` in its two parts; a colon inside the file's own name is left alone."""
    from pathlib import Path

    file, colon, workflow = target.rpartition(":")
    if not colon or Path(target).exists() or not workflow or "/" in workflow or "\\" in workflow:
        return target, None
    return file, workflow
