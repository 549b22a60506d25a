"""A run on a thread of its own, looked at and steered while it lasts."""

from __future__ import annotations

import threading
from typing import Any

from engine.errors import FlowForgeError
from engine.runtime.reporting import Live
from engine.runtime.request import Request
from engine.runtime.stored import open_stored
from tests.runtime.harness import Bench
from tests.waiting import wait_for


class LiveRun:
    """A run on a thread of its own, kept from ending by a task that waits for a file."""

    def __init__(self, bench: Bench, wf: Any, **more: Any) -> None:
        self.bench = bench
        self.outcome: Any = None
        self._thread = threading.Thread(target=self._go, args=(wf, more), daemon=True)
        self._thread.start()

    def _go(self, wf: Any, more: dict[str, Any]) -> None:
        self.outcome = self.bench.run(wf, parameters={"folder": str(self.bench.folder)}, **more)

    def ask(self, command: str, *tasks: str, **more: Any) -> str:
        return open_stored(self.bench.folder / "home", "latest").ask(command, tasks, **more)

    def state(self, name: str) -> str:
        try:
            stored = open_stored(self.bench.folder / "home", "latest")
            return stored.state_word(stored.find(name)[0])
        except FlowForgeError:
            return "not there yet"

    def until(self, name: str, state: str) -> None:
        wait_for(lambda: self.state(name) == state, f"{name} to be {state}")

    def run_until(self, state: str) -> None:
        """Wait for the run as a whole to be recorded in a state."""
        def recorded() -> str:
            try:
                return str(open_stored(self.bench.folder / "home", "latest").record.run_state)
            except FlowForgeError:
                return "not there yet"

        wait_for(lambda: recorded() == state, f"the run to be {state}")

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> Any:
        (self.bench.folder / "go").touch()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the run does not end"
        return self.outcome


class Holder:
    """A reporter that keeps what it is told of the run."""

    live: Live

    def begin(self, live: Live) -> None:
        self.live = live

    def changes(self, batch: Any) -> None: ...

    def say(self, text: str) -> None: ...

    def plan(self, plan: Any) -> None: ...

    def end(self, run: Any) -> None: ...


class Watched(LiveRun):
    """A live run whose `Live` is at hand."""

    def __init__(self, bench: Bench, wf: Any, **more: Any) -> None:
        self.holder = Holder()
        request = Request(reporter=lambda output: self.holder, linger=more.pop("linger", False))
        super().__init__(bench, wf, request=request, **more)

    @property
    def live(self) -> Live:
        wait_for(lambda: hasattr(self.holder, "live"), "the run to begin")
        return self.holder.live


