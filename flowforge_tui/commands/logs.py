"""`flowforge logs`: what tasks printed and logged."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from engine.front import LogLine, StoredRun

#: Seconds between two looks for new lines.
PAUSE = 0.2


@click.command()
@click.argument("run")
@click.argument("task", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("-n", "--last", type=click.IntRange(min=1), metavar="N", help="Only the last N.")
@click.option("-t", "--times", is_flag=True, help="With the time of each line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def logs(
    run: str, task: str | None, follow: bool, last: int | None, times: bool, as_json: bool
) -> None:
    """Show the output of a run's tasks in the order in which it came, or of one task."""
    from engine.front import open_stored, state_directory
    from flowforge_tui.tables import write

    stored = open_stored(state_directory(), run)
    view = View(stored, task, times=times, as_json=as_json)
    write(view.lines(view.read(follow=follow, last=last)))


class View:
    """One look at a run's log."""

    def __init__(self, stored: StoredRun, task: str | None, *, times: bool, as_json: bool) -> None:
        self.stored = stored
        self.wanted = frozenset(stored.find(task)) if task is not None else None
        self._one = task is not None and len(self.wanted or ()) == 1
        self._times, self._json = times, as_json
        self._attempt: tuple[int, int] | None = None

    def read(self, *, follow: bool, last: int | None) -> Iterator[LogLine]:
        """The lines that are wanted; with `follow`, until the run ends."""
        from engine.front import LogReader

        only = next(iter(self.wanted)) if self._one and self.wanted else None
        tail = LogReader(self.stored.logs).follow(only, last=last)
        while True:
            # Looked at before the log is: what a run writes at its very end is then read too.
            live = follow and self.stored.owner is not None
            for line in tail.poll(final=not live):
                if self.wanted is None or line.tid in self.wanted:
                    yield line
            if not live:
                return
            time.sleep(PAUSE)

    def lines(self, found: Iterable[LogLine]) -> Iterator[str]:
        """As they are printed."""
        for line in found:
            if self._json:
                yield json.dumps(self._fields(line))
                continue
            if self._one:
                yield from self._heading(line)
            yield self._text(line)

    def _heading(self, line: LogLine) -> Iterator[str]:
        """A rule where another try begins."""
        attempt = (line.generation, line.attempt)
        if self._attempt not in (None, attempt):
            from flowforge_tui.tables import paint

            yield paint(f"── try {line.attempt} ──", dim=True)
        self._attempt = attempt

    def _text(self, line: LogLine) -> str:
        from flowforge_tui.safe_text import safe
        from flowforge_tui.tables import paint, shown

        stamp = time.strftime("%H:%M:%S  ", time.localtime(line.time)) if self._times else ""
        name = "" if self._one else f"{shown(self._name(line.tid), 40)}  "
        return f"{paint(stamp + name, dim=True)}{safe(line.text)}"

    def _fields(self, line: LogLine) -> dict[str, Any]:
        return {"task": self._name(line.tid), **{
            k: v for k, v in line._asdict().items() if k != "tid"}}

    def _name(self, tid: int) -> str:
        from engine.front import open_stored

        if tid >= len(self.stored.record.state):  # an item of a map that was made since
            self.stored = open_stored(self.stored.home, self.stored.run_id)
        known = 0 <= tid < len(self.stored.record.state)
        return self.stored.name_of(tid) if known else "(unknown)"
