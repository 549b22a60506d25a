"""How a state looks: a glyph, its ASCII stand-in, a word and a colour, never colour alone."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.core.states import RunState, TaskState


class Look(NamedTuple):
    """The look of one state."""

    glyph: str
    ascii: str
    word: str
    """As counts name it: "3 failed"."""
    colour: str
    """#rrggbb."""
    bold: bool = False
    dim: bool = False


# Green and orange that stay apart under protanopia and deuteranopia.
_GREY, _BLUE, _GREEN, _ORANGE, _YELLOW = "#8b949e", "#56b4e9", "#2fbf8f", "#ff6b3d", "#f0c742"

LOOKS: dict[TaskState, Look] = {
    TaskState.PENDING: Look("○", ".", "pending", _GREY),
    TaskState.QUEUED: Look("◔", "o", "queued", _GREY),
    TaskState.RUNNING: Look("●", ">", "running", _BLUE),
    TaskState.UP_FOR_RETRY: Look("↻", "~", "up for retry", _YELLOW),
    TaskState.SUCCESS: Look("✓", "+", "succeeded", _GREEN),
    TaskState.CACHED: Look("≡", "=", "cached", _GREEN),
    TaskState.FAILED: Look("✗", "X", "failed", _ORANGE, bold=True),
    TaskState.UPSTREAM_FAILED: Look("⊗", "x", "blocked", _GREY, dim=True),
    TaskState.SKIPPED: Look("⊘", "/", "skipped", _GREY, dim=True),
    TaskState.CANCELLING: Look("◌", "(", "cancelling", _BLUE),
    TaskState.CANCELLED: Look("–", "-", "cancelled", _GREY, dim=True),
}

RUN_COLOURS: dict[RunState, str] = {
    RunState.PENDING: _GREY, RunState.RUNNING: _BLUE, RunState.PAUSED: _YELLOW,
    RunState.CANCELLING: _BLUE, RunState.SUCCESS: _GREEN, RunState.FAILED: _ORANGE,
    RunState.CANCELLED: _GREY, RunState.INTERRUPTED: _YELLOW,
}


def takes_unicode(stream: Any) -> bool:
    """True if a text stream can write the glyphs."""
    encoding = getattr(stream, "encoding", None) or "utf-8"  # a StringIO has none
    try:
        "✓⊗…".encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def glyph(state: TaskState, *, unicode: bool = True) -> str:
    """A state's glyph, or what stands for it in ASCII."""
    look = LOOKS[state]
    return look.glyph if unicode else look.ascii
