"""A screen rests while nothing happens, and misses nothing by that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from textual.pilot import Pilot

from engine import RunState
from engine.core.events import RunMoved
from flowforge_tui.app import FlowForgeApp
from flowforge_tui.bell import Bell
from flowforge_tui.feed import CLOCK, LiveFeed
from flowforge_tui.hosting import Host
from flowforge_tui.screens import run as run_screen
from flowforge_tui.screens.run import RunScreen
from tests.screens.made import BEGAN, attempt, begun, started, succeeded
from tests.screens.pilot import picture, until


class Hosted(LiveFeed):
    """A run of this process, told by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.view = begun(("work", 2))
        self.run_id = "20330518-033320-8f3a"
        self.looks = 0

    def poll(self) -> bool:
        self.looks += 1
        return super().poll()

    def now(self) -> float:
        return BEGAN + 5.0

    def tell(self, *changes: object) -> None:
        """Changes, as the engine tells them: from a thread of its own."""
        teller = threading.Thread(target=self.changes, args=(changes,))
        teller.start()
        teller.join()

    def finish(self) -> None:
        self.tell(succeeded([attempt(0, 0.0, 1.0), attempt(1, 0.0, 1.0)]),
                  RunMoved(RunState.SUCCESS, "", BEGAN + 2.0))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It rests as soon as nothing has changed since the last look."""
    monkeypatch.setattr(run_screen, "CALM", 0.0)
    monkeypatch.setattr(run_screen, "SETTLED", 0.0)


def shown(feed: LiveFeed, act: Callable[[RunScreen, Pilot[None]], Awaitable[None]]) -> None:
    async def run() -> None:
        app = FlowForgeApp(lambda: RunScreen(feed))
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: isinstance(app.screen, RunScreen))
            screen = app.screen
            assert isinstance(screen, RunScreen)
            await until(pilot, lambda: screen.resting, "the screen to rest")
            await act(screen, pilot)

    asyncio.run(run())


def test_what_an_ended_run_shows_is_not_looked_at() -> None:
    feed = Hosted()
    feed.finish()

    async def act(screen: RunScreen, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "SUCCESS" in picture(pilot))
        await until(pilot, lambda: screen.resting and screen._slow is None, "its last look")
        assert not screen._fast._active.is_set()

    shown(feed, act)


def test_while_something_runs_only_the_clock_goes_on() -> None:
    feed = Hosted()
    feed.tell(started([attempt(0, 1.0)]))

    async def act(screen: RunScreen, pilot: Pilot[None]) -> None:
        assert screen._slow is not None and screen._slow._interval == CLOCK
        assert not screen._fast._active.is_set()

    shown(feed, act)


def test_news_wake_it() -> None:
    feed = Hosted()
    feed.finish()

    async def act(screen: RunScreen, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: screen.resting and screen._slow is None)
        feed.tell(RunMoved(RunState.RUNNING, "", BEGAN + 3.0), started([attempt(0, 3.0)]))
        await until(pilot, lambda: "RUNNING" in picture(pilot), "what a command did")
        await until(pilot, lambda: screen.resting, "the screen to rest again")
        feed.say("there is something to say")
        await until(pilot, lambda: any("something to say" in n.message
                                       for n in pilot.app._notifications))

    shown(feed, act)


def test_news_that_come_while_it_lies_down_are_not_missed() -> None:
    class Sudden(Hosted):
        """Tells something at the last moment before it could be rung for."""

        sudden = False

        @property
        def rest(self) -> float | None:
            if self.sudden:
                self.sudden = False
                self.tell(RunMoved(RunState.PAUSED, "", BEGAN + 3.0))
            return None

    feed = Sudden()

    async def act(screen: RunScreen, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: screen.resting)
        feed.sudden = True
        screen.stir()
        await until(pilot, lambda: "PAUSED" in picture(pilot))

    shown(feed, act)


@pytest.mark.parametrize("teller", [
    lambda feed: feed.say("news"),
    lambda feed: feed.changes([RunMoved(RunState.RUNNING, "", BEGAN + 3.0)]),
    lambda feed: feed.review(None),
    lambda feed: feed.end(None),
], ids=["news", "changes", "a question", "the end"])
def test_whoever_tells_something_has_it_looked_at(teller: Callable[[LiveFeed], None]) -> None:
    feed = Hosted()
    feed.finish()

    async def act(screen: RunScreen, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: screen.resting and screen._slow is None)
        looks = feed.looks
        threading.Thread(target=teller, args=(feed,), daemon=True).start()
        await until(pilot, lambda: feed.looks > looks, "a look at what was told")
        feed.close()

    shown(feed, act)


def test_the_end_of_hosting_rings_too() -> None:
    rung: list[bool] = []

    def work(feed: LiveFeed) -> None:
        feed.ring = lambda: rung.append(True)
        raise ValueError("it cannot run")

    host = Host(work)
    host.start()
    assert host.join(20.0) and isinstance(host.error, ValueError)
    assert rung == [True]


def test_a_key_wakes_it() -> None:
    feed = Hosted()
    feed.finish()

    async def act(screen: RunScreen, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: screen.resting and screen._slow is None)
        looks = feed.looks
        await pilot.press("j")
        await until(pilot, lambda: feed.looks > looks, "a look after the key")

    shown(feed, act)


# -- the bell -------------------------------------------------------------------------------------


def rung(times: int, *, listens: bool = True) -> int:
    """How many answers so many rings from a thread get."""
    answers: list[int] = []

    async def run() -> None:
        bell = Bell(lambda: answers.append(1))
        bell.listens = listens
        ringer = threading.Thread(target=lambda: [bell.ring() for _ in range(times)])
        ringer.start()
        ringer.join()  # the loop answers nothing meanwhile
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(run())
    return len(answers)


def test_however_often_it_is_rung_it_is_answered_once() -> None:
    assert rung(1_000) == 1


def test_where_nobody_listens_the_loop_is_left_alone() -> None:
    assert rung(10, listens=False) == 0


def test_it_rings_again_once_it_was_answered() -> None:
    answers: list[int] = []

    async def run() -> None:
        bell = Bell(lambda: answers.append(1))
        bell.listens = True
        for _ in range(3):
            bell.ring()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(run())
    assert len(answers) == 3


def test_ringing_for_a_screen_that_is_gone_harms_nobody() -> None:
    async def make() -> Bell:
        return Bell(lambda: None)

    bell = asyncio.run(make())
    bell.listens = True
    bell.ring()
