"""The whole screen of a run, made by hand, as it looks: in colour, without, and in ASCII.

What is compared is text: the rows, and below them a row of letters for each, which stand for
styles. `UPDATE_SNAPSHOTS=1 pytest tests/screens/test_snapshots.py` writes them anew; look at
what has changed before you commit it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.style import Style
from textual.pilot import Pilot
from textual.strip import Strip

from flowforge_tui.app import FlowForgeApp
from flowforge_tui.feed import Feed
from flowforge_tui.filters import contrast
from flowforge_tui.look import Look
from flowforge_tui.screens.run import RunScreen
from tests.screens.pilot import until
from tests.screens.scenes import NOW, nightly_etl

KEPT = Path(__file__).with_name("snapshots")
SIZES = ((80, 24), (120, 40), (200, 50))


class Recorded(Feed):
    """A run at one moment of it."""

    live = True

    def __init__(self) -> None:
        super().__init__()
        self.view = nightly_etl().view
        self.run_id, self.workflow, self.home = "20330518-033320-8f3a", "nightly_etl", "/state"

    def poll(self) -> bool:
        return False

    def now(self) -> float:
        return NOW


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One time zone, and no wishes of whoever runs the tests."""
    for name in ("NO_COLOR", "FLOWFORGE_ASCII", "TEXTUAL_THEME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def shot(size: tuple[int, int], *, unicode: bool = True, theme: str = "") -> list[Strip]:
    """The rows of the screen, with the first failure's error open."""
    feed, rows = Recorded(), list[Strip]()

    async def run() -> None:
        app = FlowForgeApp(lambda: RunScreen(feed), look=Look(unicode=unicode))
        async with app.run_test(size=size) as pilot:
            if theme:
                app.theme = theme
            await until(pilot, lambda: isinstance(app.screen, RunScreen))
            await pilot.press("n")
            await _settled(pilot, app.screen)  # type: ignore[arg-type]
            rows.extend(_rows(app))

    asyncio.run(run())
    return rows


async def _settled(pilot: Pilot[None], screen: RunScreen) -> None:
    """Until the details that are fetched are there, and all is drawn with them."""
    await until(pilot, lambda: screen.pane.details is not None)
    seen: list[str] = []
    while len(seen) < 3 or len(set(seen[-3:])) > 1:  # until it stays as it is
        screen._last_figures = 0.0
        screen.frame()
        await pilot.pause()
        seen.append("\n".join(strip.text for strip in _rows(screen.app)))
        assert len(seen) < 100, "it never stays as it is"


def _rows(app: object) -> list[Strip]:
    """As the driver would get them: through the filters for NO_COLOR and ANSI colours."""
    screen = app.screen  # type: ignore[attr-defined]
    strips = [Strip.join(map(Strip, row)) if isinstance(row, list) else Strip(row)
              for row in screen._compositor.render_strips()]
    for line_filter in app.get_line_filters():  # type: ignore[attr-defined]
        strips = [strip.apply_filter(line_filter, screen.background_colors[1])
                  for strip in strips]
    return strips


def drawn(rows: list[Strip]) -> str:
    """Text and styles, as they are kept."""
    letters: dict[str, str] = {}
    words = [strip.text.rstrip() for strip in rows]
    styles = ["".join(_letter(s.style, letters) * s.cell_length for s in strip) for strip in rows]
    legend = [f"{letter}  {style}" for style, letter in letters.items()]
    return "\n".join([*words, "", *styles, "", *legend, ""])


def _letter(style: Style | None, letters: dict[str, str]) -> str:
    known = str(Style(color=style.color, bgcolor=style.bgcolor, bold=style.bold, dim=style.dim,
                      reverse=style.reverse)) if style else "none"
    signs = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return letters.setdefault(known, signs[len(letters) % len(signs)])


def compare(name: str, made: str) -> None:
    """Fail if a snapshot differs from the kept one."""
    file = KEPT / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(made, encoding="utf-8")
    assert made == file.read_text(encoding="utf-8"), (
        f"{file.name} differs; UPDATE_SNAPSHOTS=1 writes it anew")


VARIANTS: dict[str, Callable[[pytest.MonkeyPatch], dict[str, object]]] = {
    "colour": lambda patch: {},
    "no_color": lambda patch: patch.setenv("NO_COLOR", "1") or {},
    "ascii": lambda patch: {"unicode": False},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_the_run_screen_looks_as_it_did(
    size: tuple[int, int], variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = VARIANTS[variant](monkeypatch)
    compare(f"{variant}_{size[0]}x{size[1]}", drawn(shot(size, **given)))  # type: ignore[arg-type]


def test_without_colour_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    for strip in shot((120, 40)):
        for segment in strip:
            for colour in (segment.style.color, segment.style.bgcolor) if segment.style else ():
                if colour is not None and colour.triplet is not None:
                    assert len(set(colour.triplet)) == 1, (segment.text, colour)


def test_in_ascii_there_is_nothing_else() -> None:
    for strip in shot((120, 40), unicode=False):
        assert strip.text.isascii(), strip.text


@pytest.mark.parametrize(
    "theme", ["textual-light", "solarized-light", "nord", "ansi-dark", "ansi-light"])
def test_other_themes_can_be_read(theme: str) -> None:
    """Each piece of text stands out from what is behind it."""
    for strip in shot((120, 40), theme=theme):
        for segment in strip:
            style = segment.style
            if not segment.text.strip() or style is None or style.color is None:
                continue
            front, back = style.color.triplet, style.bgcolor and style.bgcolor.triplet
            if front is not None and back is not None:
                assert contrast(front, back) > 1.6, (segment.text, style)
