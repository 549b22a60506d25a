"""The flags that a run takes, shared by all commands that start one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from engine.front import RunOptions

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_FLAGS: tuple[Decorator, ...] = (
    click.option("--executor", metavar="NAME",
                 help="sequential, thread or process.  [default: thread]"),
    click.option("-j", "--workers", metavar="N", help="How many.  [default: the usable CPUs]"),
    click.option("--limit", "limits", metavar="NAME=N", multiple=True,
                 help="Tokens of a named limit."),
    click.option("--on-failure", metavar="continue|stop",
                 help="What a failure does to independent branches.  [default: continue]"),
    click.option("--until", metavar="TASK", multiple=True,
                 help="Only it and all it needs; the rest is left to a resume."),
    click.option("--only", metavar="TASK", multiple=True, help="Only it."),
    click.option("--durability", metavar="full|process|none",
                 help="full survives a power cut, process a crash.  [default: full]"),
    click.option("--on-code-change", metavar="rerun|reuse|fail",
                 help="What a resume does with changed tasks.  [default: rerun]"),
    click.option("--grace", metavar="SECONDS",
                 help="From asking a task to stop to making it.  [default: 5]"),
    click.option("--output", metavar="auto|rich|plain|json",
                 help="json: one event a line on stdout.  [default: auto]"),
    click.option("--headless", is_flag=True, help="Without the screen, as in a pipe."),
    click.option("--tui", is_flag=True,
                 help="With the screen, or not at all.  [default: on a terminal]"),
)


def _only_ascii(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given:
        os.environ["FLOWFORGE_ASCII"] = "1"


#: For each command that opens the screen. Known to what it starts, too, as a variable.
ascii_flag: Decorator = click.option(
    "--ascii", is_flag=True, expose_value=False, callback=_only_ascii,
    help="Nothing but ASCII on the screen.  [default: as the terminal's encoding]")


def run_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of a run; it gets them as one mapping, `flags`."""
    def gathered(**given: Any) -> Any:
        tui, headless = given.pop("tui"), given.pop("headless")
        if tui and headless:
            raise click.UsageError("--tui and --headless exclude each other; leave one out.")
        flags = {name: given.pop(name) for name in _NAMES}
        flags["screen"] = True if tui else False if headless else None
        return command(flags=flags, **given)

    gathered.__name__, gathered.__doc__ = command.__name__, command.__doc__
    # What was declared on the command itself comes first in its help.
    gathered.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    wrapped: Callable[..., Any] = gathered
    for flag in reversed((*_FLAGS, ascii_flag)):
        wrapped = flag(wrapped)
    return wrapped


_NAMES = ("executor", "workers", "limits", "on_failure", "until", "only", "durability",
          "on_code_change", "grace", "output")


def options_of(flags: dict[str, Any]) -> RunOptions:
    """The flags as settings. Raises ConfigError naming the flag."""
    from engine.front import RunOptions, parse_option

    options = RunOptions()
    for name, value in flags.items():
        if value in (None, ()):
            continue
        if name == "limits":
            value = _limits(value)
        setattr(options, name, parse_option(name, value, f"--{name.replace('_', '-')}"))
    return options


def _limits(pairs: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, number = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--limit takes NAME=N, such as gpu=2, not {pair!r}.")
        found[name] = number
    return found


def parameters_of(pairs: tuple[str, ...]) -> dict[str, str]:
    """`-p key=value`, as often as given, as a mapping."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"-p takes NAME=VALUE, such as path=data.csv, not {pair!r}.")
        found[name.strip().replace("-", "_")] = value
    return found
