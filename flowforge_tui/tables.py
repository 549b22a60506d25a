"""Columns of text for stdout: aligned, coloured on a terminal, plain in a pipe."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import click

from flowforge_tui.safe_text import safe_line

if TYPE_CHECKING:
    from engine import RunState, TaskState


def write(lines: Iterable[str]) -> None:
    """Lines on stdout. Raises BrokenPipeError if nobody reads them any more."""
    for line in lines:
        click.echo(_encodable(line))


def _encodable(line: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return line.encode(encoding, "replace").decode(encoding)


def columns(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> Iterable[str]:
    """Rows as aligned lines; cells may carry colour codes, which take no room."""
    table = [tuple(paint(h, dim=True) for h in header), *rows] if header else list(rows)
    if not table:
        return
    widths = [max(len(click.unstyle(row[i])) for row in table) for i in range(len(table[0]))]
    for row in table:
        cells = [cell + " " * (width - len(click.unstyle(cell)))
                 for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()


def paint(text: str, colour: str = "", *, bold: bool = False, dim: bool = False) -> str:
    """`text`, in a colour `#rrggbb` where stdout shows colours."""
    if not _colourful():
        return text
    rgb = (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)) if colour else None
    return click.style(text, fg=rgb, bold=bold or None, dim=dim or None)


@cache
def _colourful() -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    return not plain and sys.stdout.isatty()


def task_state(state: TaskState, word: str = "") -> str:
    """A task state's glyph and name in its colour."""
    from engine.front import LOOKS, glyph, takes_unicode

    look = LOOKS[state]
    text = f"{glyph(state, unicode=takes_unicode(sys.stdout))} {word or state.name}"
    return paint(text, look.colour, bold=look.bold, dim=look.dim)


def run_state(state: RunState | None) -> str:
    """A run state's name in its colour."""
    from engine.front import RUN_COLOURS

    return paint(str(state), RUN_COLOURS[state]) if state is not None else paint("UNREADABLE")


def moment(at: float) -> str:
    """A time in local time; `–` if it is not known."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else "–"


def shown(text: str, limit: int = 80) -> str:
    """A cell of text from outside."""
    return safe_line(text, limit)
