"""The application as its own screens and widgets see it.

Rule: what a `FlowForgeApp` alone shows is `Owned`; the rest knows no more than Textual's `App`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from textual.app import App

    from flowforge_tui.app import FlowForgeApp


class _Shown(Protocol):
    @property
    def app(self) -> App[Any]:
        """As Textual has it."""


class Owned:
    """Beside a screen or a widget among the bases."""

    @property
    def own(self: _Shown) -> FlowForgeApp:
        """The application."""
        return own_app(self)


def own_app(shown: _Shown) -> FlowForgeApp:
    """The application that shows this, and no other shows."""
    return cast("FlowForgeApp", shown.app)
