"""Code is loaded again for a retry when it was edited since, and not at every retry after that."""

from __future__ import annotations

import os
from pathlib import Path

from flowforge_tui.feed import LiveFeed
from flowforge_tui.screens.run import RunScreen


def test_code_that_the_run_has_is_not_loaded_again(tmp_path: Path) -> None:
    flow, helper = tmp_path / "flow.py", tmp_path / "helper.py"
    for file in (flow, helper):
        file.write_text("")
        os.utime(file, (1_000, 1_000))
    screen = RunScreen(LiveFeed())
    for file in (flow, helper):
        screen._watch(str(file))
    assert not screen.edited()
    os.utime(helper, (2_000, 2_000))
    edited = screen.edited()
    assert edited == {helper: 2_000}
    os.utime(helper, (3_000, 3_000))  # saved once more while the owner loads it
    screen.code_loaded(edited)
    assert screen.edited() == {helper: 3_000}
    screen.code_loaded(screen.edited())
    assert not screen.edited()
