"""The field that a filter is typed into: it offers how the text may go on, and → takes that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from textual.suggester import Suggester
from textual.widgets import Input

from flowforge_tui.filtering import completions


class FilterField(Input):
    """An `Input` that knows the language of filters."""

    def __init__(self, tasks: Callable[[], Sequence[str]], **kwargs: Any) -> None:
        """`tasks` gives the names of the declared tasks."""
        super().__init__(suggester=_Completions(tasks),
                         placeholder="state:failed dur>10 err:Timeout name…", **kwargs)


class _Completions(Suggester):
    def __init__(self, tasks: Callable[[], Sequence[str]]) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._tasks = tasks

    async def get_suggestion(self, value: str) -> str | None:
        """As in `Suggester`: the likeliest text that begins with what is typed."""
        found = completions(value, self._tasks())
        return next((text for text in found if text.startswith(value)), None)
