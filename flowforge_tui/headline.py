"""What the first lines of a run's screen say. Pure: pieces by their worth, and a bar of states.

Rule 1: where room ends, pieces go in the order of their worth, whole; the name is cut first.
Rule 2: a state of the bar has a character of its own as well as a colour, and whatever there
        is of it has a cell: three failures of a million show.
Rule 3: what is not known (an end that cannot be told, a rate of nothing) is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.style import Style

from engine import RunState, TaskState
from engine.front import IS_TERMINAL
from flowforge_tui.amounts import brief_number, brief_seconds
from flowforge_tui.look import BOLD, DIM, FAINT, PLAIN, WARN, Look, run_style, state_style
from flowforge_tui.safe_text import safe_line
from flowforge_tui.strips import fit

if TYPE_CHECKING:
    from flowforge_tui.figures import Figures
    from flowforge_tui.model import RunView

#: Cells that the workflow's name has at least, before other pieces go, and at most.
_NAME_LEAST, _NAME_MOST = 8, 40

#: Cells of the view from which on a run's id is told in whole.
_WHOLE_ID = 110


class Piece(NamedTuple):
    """A piece of the line, with the spaces before it. Safe text."""

    worth: int
    """The lowest go first."""
    text: str
    style: Style


class Title(NamedTuple):
    """What a run is called. Untrusted text."""

    workflow: str
    run_id: str
    note: str = ""
    """What is special about this view of it: a moment of the past."""


#: Counts in the line, and what each is worth. Successes and cached ones count as one.
_COUNTS = (
    (TaskState.SUCCESS, 70), (TaskState.FAILED, 95), (TaskState.RUNNING, 80),
    (TaskState.UP_FOR_RETRY, 60), (TaskState.UPSTREAM_FAILED, 35), (TaskState.SKIPPED, 15),
    (TaskState.CANCELLED, 25), (TaskState.PENDING, 50),
)
_WITH = {
    TaskState.SUCCESS: (TaskState.SUCCESS, TaskState.CACHED),
    TaskState.RUNNING: (TaskState.RUNNING, TaskState.CANCELLING),
    TaskState.PENDING: (TaskState.PENDING, TaskState.QUEUED),
}


def headline(
    title: Title, view: RunView, figures: Figures, now: float, width: int, look: Look
) -> list[Piece]:
    """The pieces of the first line that fit into `width` cells, in order."""
    wholly = width >= _WHOLE_ID
    run_id = safe_line(title.run_id, 40) if wholly else safe_line(title.run_id[-4:])
    pieces = [
        Piece(30, f" {run_id}" if run_id else "", DIM),
        Piece(100, f" {view.run_state}", run_style(view.run_state)),
    ]
    if title.note:
        pieces.append(Piece(98, f" {safe_line(title.note, 40)}", WARN))
    if view.began:
        pieces.append(Piece(75, f" {_elapsed(view, now)}", PLAIN))
    pieces += _counts(view.totals, look)
    pieces += _speed(view, figures, now)
    name = safe_line(title.workflow, 200)
    return _fitted(name, [p for p in pieces if p.text], width - 1)


def _counts(totals: Sequence[int], look: Look) -> list[Piece]:
    pieces, gap = [], "  "
    for state, worth in _COUNTS:
        number = sum(totals[s] for s in _WITH.get(state, (state,)))
        if number:
            pieces.append(Piece(worth, f"{gap}{look.glyph(state)}{number:,}", state_style(state)))
            gap = " "
    return pieces


def _speed(view: RunView, figures: Figures, now: float) -> list[Piece]:
    if view.ended:
        return []
    pieces = []
    rate = figures.rate(now)
    if rate:
        pieces.append(Piece(40, f"  {brief_number(rate)}/s", DIM))
    eta = figures.eta(now)
    if eta is not None and view.run_state is RunState.RUNNING:
        pieces.append(Piece(55, f"  ETA {_rough(eta)}", PLAIN))
    return pieces


def _rough(seconds: float) -> str:
    """`40s`, `7m`, `2h 10m`, `3d 4h`: an estimate has no more digits than it is worth."""
    if seconds < 60:
        return f"{max(1, round(seconds)) if seconds < 10 else round(seconds, -1):.0f}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h {minutes}m" if minutes else f"{hours}h"
    return f"{hours // 24}d {hours % 24}h"


def _fitted(name: str, pieces: list[Piece], width: int) -> list[Piece]:
    """Leave out what does not fit; the name gets what is left."""
    least = min(cell_len(name), _NAME_LEAST)
    used = sum(cell_len(p.text) for p in pieces)
    for piece in sorted(pieces, key=lambda p: p.worth):
        if used + least <= width:
            break
        pieces.remove(piece)
        used -= cell_len(piece.text)
    room = max(0, min(_NAME_MOST, width - used))
    shown = fit(name, room) if cell_len(name) > room else name
    return [Piece(200, f" {shown}", BOLD), *pieces]


# -- the bar ----------------------------------------------------------------------------------

#: The bar's parts from left to right: states, the character for them, and its stand-in.
_PARTS = (
    ((TaskState.SUCCESS, TaskState.CACHED), "█", "#"),
    ((TaskState.SKIPPED, TaskState.CANCELLED), "▚", "/"),
    ((TaskState.UPSTREAM_FAILED,), "▞", "x"),
    ((TaskState.FAILED,), "▓", "X"),
    ((TaskState.UP_FOR_RETRY,), "▒", "~"),
    ((TaskState.RUNNING, TaskState.CANCELLING), "▒", ">"),
)


def bar(totals: Sequence[int], width: int, look: Look) -> list[tuple[str, Style]]:
    """How far a run is, in `width` cells: what ended well, badly, what runs, and the rest."""
    numbers = [sum(totals[s] for s in states) for states, _, _ in _PARTS]
    cells = shares([*numbers, sum(totals) - sum(numbers)], width)
    parts = []
    for (states, mark, ascii_mark), n in zip(_PARTS, cells, strict=False):
        if n:
            parts.append(((mark if look.unicode else ascii_mark) * n, state_style(states[0])))
    if cells[-1]:
        parts.append((look.marks.rest * cells[-1], FAINT))
    return parts


def shares(numbers: Sequence[int], width: int) -> list[int]:
    """`width` cells divided in proportion; what is more than nothing gets a cell, if it can be."""
    total = sum(numbers)
    if not total or width <= 0:
        return [0] * (len(numbers) - 1) + [max(0, width)]
    cells = [n * width // total for n in numbers]
    for i, n in enumerate(numbers):
        if n and not cells[i]:
            cells[i] = 1
    while sum(cells) < width:
        cells[_most(range(len(numbers)), [n * width / total - c
                                          for n, c in zip(numbers, cells, strict=True)])] += 1
    while sum(cells) > width:
        cells[_most(range(len(numbers)), cells)] -= 1
    return cells


def _most(places: range, worth: Sequence[float]) -> int:
    return max(places, key=lambda i: worth[i])


def percent(totals: Sequence[int]) -> int | None:
    """How much has ended; 100 only if all has. None if there is nothing."""
    total = sum(totals)
    if not total:
        return None
    return 100 * sum(n for s, n in enumerate(totals) if IS_TERMINAL[s]) // total


def _elapsed(view: RunView, now: float) -> str:
    """How long the run has taken; while it goes on in whole seconds, so that it ticks."""
    seconds = view.elapsed(now)
    return brief_seconds(seconds) if view.ended or seconds >= 60 else f"{int(seconds)}s"
