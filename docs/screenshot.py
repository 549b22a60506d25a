"""Takes the pictures in docs/ from the real program: `python docs/screenshot.py`.

Each is what the screen itself draws of a run that happens here and now, headless, at a moment
that is waited for. Nothing in a picture is made by hand.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine import TaskState

HERE = Path(__file__).resolve().parent
FLOWS = HERE.parent / "sample_flows"
SIZE = (120, 36)

_DONE = (TaskState.SUCCESS, TaskState.CACHED)

#: Seconds that anything may take.
PATIENCE = 120.0


class Studio:
    """The screen, opened for one picture."""

    def __init__(self, app: Any, pilot: Any) -> None:
        self.app, self.pilot = app, pilot

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for a moment."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError("the moment for the picture never came")
            await self.pilot.pause(0.05)

    @property
    def view(self) -> Any:
        """The run that is shown."""
        return self.app.feed.view

    def done(self) -> float:
        """How much of the run is done, from 0 to 1."""
        totals = self.view.totals
        return sum(totals[state] for state in _DONE) / max(1, sum(totals))

    @property
    def text(self) -> str:
        """What the screen shows now."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(s.text for s in strip) for strip in strips)

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other, and let the screen follow."""
        for key in keys:
            await self.pilot.press(key)
        await self.pilot.pause(0.5)

    def shoot(self, name: str, title: str) -> None:
        """Write docs/NAME.svg."""
        svg = self.app.export_screenshot(title=title)
        # Fonts from the net have no place in a picture of ours: the reader's own will do.
        svg = re.sub(r"@font-face {.*?}\s*", "", svg, flags=re.S)
        svg = svg.replace("Fira Code, monospace", "Fira Code, Menlo, Consolas, monospace")
        (HERE / f"{name}.svg").write_text(svg, encoding="utf-8")


@asynccontextmanager
async def opened(first: Callable[[], Any], host: Any = None) -> Any:
    """The screen, while a picture is taken."""
    from flowforge_tui.app import FlowForgeApp

    app = FlowForgeApp(first, host=host)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        yield Studio(app, pilot)
        if host is not None:
            host.stop(3)
            host.close()


def hosted(file: str, **flags: Any) -> tuple[Callable[[], Any], Any]:
    """The screen of a workflow that is run now, and what runs it."""
    from engine.front import Request, RunOptions
    from flowforge_tui.hosting import Host
    from flowforge_tui.onscreen import _host_of
    from flowforge_tui.screens.run import RunScreen

    host: Host = _host_of(Request(options=RunOptions(**flags)), file)
    return lambda: RunScreen(host.feed, host), host


async def census() -> None:
    """A run in the middle of its work."""
    async with opened(*hosted("flows/census.py", fresh=True, workers=4)) as studio:
        await studio.until(lambda: "modules in" in studio.text and studio.done() > 0.5)
        studio.shoot("census", "flowforge run census.py")


async def error() -> None:
    """A failure, at its line, with its values."""
    async with opened(*hosted("flows/trouble.py", fresh=True, output="silent")) as studio:
        await studio.until(lambda: studio.view.ended)
        await studio.press("n", "n", "n")
        studio.shoot("error", "flowforge run trouble.py")


async def timeline() -> None:
    """All workers over time."""
    async with opened(*hosted("flows/census.py", fresh=True, workers=8)) as studio:
        await studio.until(lambda: studio.view.ended)
        await studio.press("g")
        studio.shoot("timeline", "flowforge run census.py")


async def launcher() -> None:
    """What can be run here, and what was."""
    from flowforge_tui.screens.launcher import LauncherScreen
    from flowforge_tui.widgets.runs import RunList, WorkflowList

    nothing: Any = None
    async with opened(lambda: LauncherScreen(nothing, nothing, nothing, nothing)) as studio:
        screen = studio.app.screen
        await studio.until(lambda: screen.query_one(RunList).looked
                           and screen.query_one(WorkflowList).looked)
        await studio.press("j")
        studio.shoot("launcher", "flowforge")


#: The launcher last, for it shows the runs of the others.
PICTURES: dict[str, Callable[[], Awaitable[None]]] = {
    "census": census, "error": error, "timeline": timeline, "launcher": launcher,
}


def main(names: list[str]) -> int:
    """Take the pictures that are named, or all."""
    with tempfile.TemporaryDirectory(prefix="flowforge") as folder:
        shutil.copytree(FLOWS, Path(folder, "flows"))
        os.chdir(folder)
        os.environ["FLOWFORGE_KEY_FILE"] = str(Path(folder, "key"))
        for name in names or PICTURES:
            asyncio.run(PICTURES[name]())
            print(f"docs/{name}.svg")
        os.chdir(HERE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
