"""What a filter keeps of a run, section by section, as the run goes on. Pure.

Rule: a filter that only narrows the one before looks at what that kept; one that stays looks
      again at the sections that changed, and at nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowforge_tui.blocks import Block
from flowforge_tui.filter_terms import Filter
from flowforge_tui.model import RunView


class Kept:
    """The task runs of a view for which a filter holds, or held when it last looked."""

    def __init__(
        self, filter: Filter, view: RunView, now: float, before: Kept | None = None
    ) -> None:
        """`before`: what another filter keeps of the same view."""
        self.filter = filter
        self.stale: set[int] = set()
        """Sections that changed since it looked at them."""
        self.of_section: dict[int, Sequence[int]] = {}
        """Without those of which it keeps nothing."""
        self._view = view
        if before is not None and not before.stale and filter.narrows(before.filter):
            for place, ids in before.of_section.items():
                self._look_at(place, ids, now)
        else:
            self._look_at_all(range(len(view.shape.sections)), now)

    def __len__(self) -> int:
        return sum(map(len, self.of_section.values()))

    def of(self, block: Block) -> Sequence[int]:
        """What it keeps of a block, in order of definition."""
        if len(block.places) == 1:
            return self.of_section.get(block.places[0], ())
        return [tid for place in block.places for tid in self.of_section.get(place, ())]

    def look_again(self, now: float) -> None:
        """At what changed. `now`: seconds since the epoch."""
        self._look_at_all(self.stale, now)
        self.stale.clear()

    def _look_at_all(self, places: Iterable[int], now: float) -> None:
        for place in places:
            self._look_at(place, self._view.runs_of(self._view.shape.sections[place]), now)

    def _look_at(self, place: int, ids: Sequence[int], now: float) -> None:
        found = self.filter.select(self._view, ids, now)
        if found:
            self.of_section[place] = found
        else:
            self.of_section.pop(place, None)
