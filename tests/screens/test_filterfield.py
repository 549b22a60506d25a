"""The filter's field offers how the text may go on."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot

from flowforge_tui.widgets.filterfield import FilterField
from tests.screens.pilot import drive, until


def test_what_is_offered_is_taken_with_the_arrow() -> None:
    async def act(field: FilterField, pilot: Pilot[Any]) -> None:
        field.focus()
        await pilot.press(*"st")
        await until(pilot, lambda: field._suggestion == "state:", "the field's name")
        await pilot.press("right")
        assert field.value == "state:"
        await pilot.press("f")
        await until(pilot, lambda: field._suggestion == "state:failed", "the state")
        field.value = ""
        await pilot.press(*"task:ex")
        await until(pilot, lambda: field._suggestion == "task:extract", "the task")
        await pilot.press("q")
        await until(pilot, lambda: field._suggestion == "", "nothing to be offered")
        await pilot.press("right")
        assert field.value == "task:exq"

    drive(lambda: FilterField(lambda: ["load", "extract"]), act)
