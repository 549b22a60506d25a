"""The command line: `flowforge`, or `python -m flowforge_tui`.

Rule 1: a command's module is imported when the command is used, and what it needs of the
        engine inside its function: `flowforge --help` must answer at once.
Rule 2: every way out is an exit code of `exits`.
Rule 3: answers go to stdout; news of a run, and errors, to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

import click

#: Command → its module below `flowforge_tui.commands`, and the line that `--help` shows of it.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "Run a workflow, or carry on its last unfinished run."),
    "resume": ("carry_on", "Carry on an unfinished run."),
    "retry": ("carry_on", "Run failed and cancelled tasks again, with what they blocked."),
    "rerun": ("carry_on", "Run tasks again though they succeeded, and all downstream."),
    "runs": ("runs", "List the runs, newest first."),
    "show": ("show", "Show a run, or one of its tasks."),
    "logs": ("logs", "Show what a run's tasks printed and logged."),
    "attach": ("attach", "Show a run of another process, or one that has ended."),
    "cancel": ("steer", "Cancel a live run, or some of its tasks."),
    "pause": ("steer", "Start no new tasks; what runs goes on."),
    "unpause": ("steer", "Start tasks again after a pause."),
    "workers": ("steer", "Have more or fewer workers in a live run."),
    "undo": ("steer", "Take back the last command to a live run."),
    "export": ("export", "Write a run out as JSON, a trace or an HTML page."),
    "serve": ("serve", "Show the screen in a browser."),
    "graph": ("graph", "Show a workflow's tasks and dependencies; nothing is run."),
    "doctor": ("doctor", "Check the installation and the state directory."),
}


class FlowForge(click.Group):
    """The commands, imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of use, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"flowforge_tui.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a hint where a command is misspelt."""
        name = args[0]
        if name not in COMMANDS:
            from difflib import get_close_matches

            near = get_close_matches(name, list(COMMANDS), 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"There is no command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """As click does, but silent at Ctrl-C: its empty line for it may have nowhere to go."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            from flowforge_tui import exits

            ctx.exit(exits.INTERRUPTED)

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command and leave with its exit code."""
        run: Callable[..., Any] = super().main
        if not standalone_mode:
            return run(*args, standalone_mode=False, **extra)
        try:
            code = run(*args, standalone_mode=False, **extra)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except BaseException as error:
            _leave(error)
        sys.exit(code if isinstance(code, int) else 0)


def _leave(error: BaseException) -> NoReturn:
    from flowforge_tui import exits

    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, click.Abort):
        sys.exit(exits.INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        exits.let_go_of(sys.stdout)
        sys.exit(exits.SUCCESS)
    sys.exit(exits.tell(error))


def _version() -> str:
    from engine import __version__

    return __version__


@click.group(
    cls=FlowForge, invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(_version(), prog_name="flowforge")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Durable workflows in plain Python: run, watch, kill, resume.

    RUN is a run's id, a unique beginning of one, or `latest`. Every flag of `run` can also be
    set as FLOWFORGE_… in the environment and in [tool.flowforge] of pyproject.toml.
    """
    if ctx.invoked_subcommand is None:
        from flowforge_tui.onscreen import launcher, on_a_terminal

        if on_a_terminal():
            sys.exit(launcher())
        click.echo(ctx.get_help())


def main() -> None:
    """The entry point."""
    from engine.front import hold_standard_streams, working_directory

    hold_standard_streams()
    if working_directory() is None:
        sys.exit("error: the working directory was deleted; change to another one")
    cli(prog_name="flowforge")
