"""What every line of the screen goes through last, whoever made it: ours, or Textual's.

Rule 1: with ASCII alone, lines, blocks and bars of the drawing are signs of ASCII, and of one
        cell as before; letters that users wrote stay.
Rule 2: on a light theme, a colour that is too near to what is behind it is made darker: the
        colours of states are chosen for a dark one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.filter import LineFilter

if TYPE_CHECKING:
    from rich.color_triplet import ColorTriplet
    from textual.color import Color as TextualColor

#: Contrast, as WCAG has it, that text in large type needs at least.
_LEAST = 3.0

#: Box drawing (U+2500…), then blocks (U+2580…).
_BOXES = {code: "-|"[(code - 0x2500) // 2 % 2] for code in range(0x2500, 0x250C)}
_BOXES |= dict.fromkeys(range(0x250C, 0x2550), "+")
_BOXES |= dict.fromkeys(range(9552, 9588), "+") | {0x2550: "=", 0x2551: "|"}
_BOXES |= {code: "-|"[code % 2] for code in range(0x2574, 0x2580)}
_BLOCKS = dict.fromkeys(range(0x2580, 0x25A0), "#") | dict.fromkeys((0x2581, 0x2594), "_")
_BLOCKS |= {0x2591: ".", 0x2592: ":", 0x2590: "|", 0x258C: "|", 0x258F: "|", 0x2595: "|"}
_SIGNS = {ord(sign): plain for sign, plain in zip("✗…·–→←↑↓", "X~.-><^v", strict=True)}
_ASCII = {**_BOXES, **_BLOCKS, **_SIGNS}


class Ascii(LineFilter):
    """Draws lines and blocks with ASCII."""

    def apply(self, segments: list[Segment], background: TextualColor) -> list[Segment]:
        """As in `LineFilter`."""
        return [s if s.text.isascii() else Segment(s.text.translate(_ASCII), s.style)
                for s in segments]


class Legible(LineFilter):
    """Makes text darker that could hardly be read."""

    def apply(self, segments: list[Segment], background: TextualColor) -> list[Segment]:
        """As in `LineFilter`."""
        behind = background.rich_color
        return [Segment(s.text, _legible(s.style, behind)) if s.style is not None else s
                for s in segments]


@lru_cache(1024)
def _legible(style: Style, behind: Color) -> Style:
    front = style.color.triplet if style.color is not None else None
    back = (style.bgcolor or behind).triplet
    if front is None or back is None or _light(back) < 0.2:
        return style
    while contrast(front, back) < _LEAST:
        front = front._replace(red=front.red * 7 // 8, green=front.green * 7 // 8,
                               blue=front.blue * 7 // 8)
    return style + Style(color=Color.from_triplet(front))


def contrast(one: ColorTriplet, other: ColorTriplet) -> float:
    """How far two colours stand apart, from 1 to 21, as WCAG 2 has it."""
    dark, light = sorted((_light(one), _light(other)))
    return (light + 0.05) / (dark + 0.05)


def _light(colour: ColorTriplet) -> float:
    red, green, blue = (
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
