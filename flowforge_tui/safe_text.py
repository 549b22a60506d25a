"""Text from outside, made safe for a terminal and for rich, which reads markup in strings.

The cleaning itself is the engine's (`engine.telemetry.safe_text`), since its own console
needs it too. What is added here keeps `[bold]` and `[@click=…]` from being taken for markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.front import safe, safe_line

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["plain", "safe", "safe_line"]


def plain(text: str, style: str = "", limit: int = 0) -> Text:
    """One safe line as rich text, in which markup is only text."""
    from rich.text import Text

    return Text(safe_line(text, limit), style=style, no_wrap=True, overflow="ellipsis")
