"""Through a run's time: the same screen, at a moment of its past.

Rule 1: the past is looked at; what acts on the run says so and does nothing.
Rule 2: the run goes on meanwhile, and `t` is back at once.
"""

from __future__ import annotations

from textual import on

from flowforge_tui.history import Travel
from flowforge_tui.model import RunView
from flowforge_tui.screens.inspecting import Inspecting
from flowforge_tui.widgets.scrubber import Scrubber

#: Actions that there are only while somebody travels. Their keys have other meanings else.
_ONLY_THEN = frozenset({"step", "leap", "tenth"})


class Travelling(Inspecting):
    """`t`, and the keys that move through time."""

    travel: Travel | None = None
    """Where in the past the screen is; None: it shows the present."""

    def seen(self) -> tuple[RunView, float]:
        """(the view that is shown, what is now in it)."""
        if self.travel is None:
            return self.feed.view, self.feed.now()
        return self.travel.view(), self.travel.moment

    @property
    def scrubber(self) -> Scrubber:
        """Where in time this is."""
        return self.query_one(Scrubber)

    def frame(self, changed: bool = True) -> None:
        """Draw what looks different now."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys of travelling mean something else while nobody travels."""
        if action in _ONLY_THEN:
            return self.travel is not None
        return super().check_action(action, parameters)

    def action_travel(self) -> None:
        """Into the past, and back to the present."""
        past = self.feed.view.past
        if self.travel is not None:
            self.travel = None
        elif past is None or not len(past):
            self.own.tell("nothing has happened yet that could be looked back on",
                          severity="warning")
            return
        else:
            self.travel = Travel(past)
        self._show_where()
        self.frame()
        self.call_after_refresh(self.frame)

    def _show_where(self) -> None:
        self.in_past = self.travel is not None
        self.set_class(self.in_past, "-past")

    def be_present(self) -> None:
        """End any travelling."""
        self.travel = None
        self._show_where()

    def action_step(self, number: int) -> None:
        """Some changes on, or back."""
        if self.travel is not None:
            self.travel.by_steps(number)
            self.frame()

    def action_leap(self, number: int) -> None:
        """Some twentieths of the run's time on, or back."""
        if self.travel is not None:
            self.travel.leap(number)
            self.frame()

    def action_tenth(self, number: int) -> None:
        """To a tenth of the run's time."""
        if self.travel is not None:
            self.travel.to_fraction(number / 10)
            self.frame()

    @on(Scrubber.Wanted)
    def _point_in_time(self, event: Scrubber.Wanted) -> None:
        if self.travel is not None:
            self.travel.to_fraction(event.fraction)
            self.frame()
