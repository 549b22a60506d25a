"""The tree in an app of its own: what it shows, what keys do, what a frame costs."""

from __future__ import annotations

from flowforge_tui.look import Look
from flowforge_tui.widgets.tree import TaskTree
from tests.screens.pilot import drive, picture
from tests.screens.scenes import NOW, nightly_etl


def lines_of(pilot) -> list[str]:
    return [line.rstrip() for line in picture(pilot).splitlines()]


def test_the_tree_shows_what_the_mock_up_shows():
    scene = nightly_etl()

    async def act(tree, pilot):
        tree.focus()
        tree.frame(NOW)
        await pilot.pause()
        text = picture(pilot)
        assert "▾ ✗ extract" in text and "1,000/1,000 ✗2" in text
        assert "✗ extract[17]         ValueError: bad row 17   try 3/3     1.2s" in text
        assert "… 998 ok  (o: show)" in text
        assert "60,208/98,000 ✗1 ↻1 ●32" in text
        assert "↻ transform[41877]    in 12.0s · ConnReset" in text
        assert "● transform[60240]    w00" in text
        assert "37,759 queued, 60,207 ok" in text
        assert "load" in text and "waits: transform" in text
        assert "blocked by extract[17]" in text

    drive(lambda: TaskTree(scene.view), act)


def test_the_same_in_ascii_has_only_ascii():
    scene = nightly_etl()

    async def act(tree, pilot):
        tree.focus()
        for width, height in ((80, 24), (120, 40), (40, 10), (200, 50)):
            await pilot.resize_terminal(width, height)
            tree.frame(NOW)
            await pilot.pause()
            text = picture(pilot)
            assert text.isascii(), [c for c in text if not c.isascii()]
            assert "X extract" in text

    drive(lambda: TaskTree(scene.view, Look(unicode=False)), act)
