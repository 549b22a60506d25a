"""The bar of time travel: where it is, what failed when, and how to get back."""

from __future__ import annotations

import time

import pytest
from textual.pilot import Pilot

from flowforge_tui.history import Past, Travel
from flowforge_tui.look import Look
from flowforge_tui.widgets.scrubber import Scrubber
from tests.screens.made import attempt, begun, failed, succeeded
from tests.screens.pilot import drive, text_of


def travel() -> Travel:
    view = begun(("a", 300))
    past = Past(view)
    for i in range(100):
        view.apply([failed(attempt(i, i, 1.0)) if i == 74 else succeeded([attempt(i, i, 1.0)])])
    made = Travel(past)
    made.to_fraction(0.5)
    return made


def rows_of(width: int, look: Look | None = None) -> list[str]:
    rows: list[str] = []

    async def act(widget: Scrubber, pilot: Pilot[None]) -> None:
        widget.frame(travel())
        await pilot.pause()
        rows.extend(text_of(widget))

    drive(lambda: Scrubber(look), act, (width, 4))
    return rows


def test_it_says_where_this_is_and_what_keys_do() -> None:
    rows = rows_of(100)

    at = time.strftime("%H:%M:%S", time.localtime(travel().moment))
    assert len(rows) == 2
    for told in (" PAST ", "0:49 of 1:39", at, "change 50 of 100", "t live", ", . step", "< > 5 %"):
        assert told in rows[0]
    assert rows[1].index("◆") == pytest.approx(50, abs=1)
    assert rows[1].index("╳") == pytest.approx(1 + 0.75 * 98, abs=1.5)


@pytest.mark.parametrize("width", [24, 40, 60, 80])
def test_where_room_ends_the_way_back_is_named_still(width: int) -> None:
    rows = rows_of(width)

    assert all(len(row) <= width for row in rows)
    assert "PAST" in rows[0]
    assert width < 40 or "t live" in rows[0]


def test_in_ascii_there_is_nothing_else() -> None:
    assert "".join(rows_of(100, Look(unicode=False))).isascii()


def test_a_click_asks_for_a_moment() -> None:
    heard: list[float] = []

    class Listening(Scrubber):
        def on_scrubber_wanted(self, message: Scrubber.Wanted) -> None:
            heard.append(message.fraction)

    async def act(widget: Scrubber, pilot: Pilot[None]) -> None:
        widget.frame(travel())
        await pilot.click(widget, offset=(1, 1))
        await pilot.click(widget, offset=(98, 1))
        assert heard == [0.0, 1.0]

    drive(Listening, act, (100, 4))
