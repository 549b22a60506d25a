"""What the ordinary screen shows of a run when its own screen has closed: lines to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import RunState, TaskState
from engine.front import glyph, wording
from flowforge_tui.safe_text import safe_line

if TYPE_CHECKING:
    from flowforge_tui.feed import Feed

#: Failed task runs that are named.
NAMED = 10

#: Characters of a name that are shown.
_WIDTH = 80


def summary_lines(feed: Feed, *, unicode: bool = True) -> list[str]:
    """How the run stands, what failed, and the command that goes on with it."""
    view = feed.view
    if not feed.run_id:
        return []
    counts = {state: view.totals[state] for state in TaskState}
    took = wording.duration(view.elapsed(feed.now()))
    ended = wording.how_it_ended(counts) if not feed.live else wording.how_it_stands(counts)
    why = f" ({safe_line(view.run_why, _WIDTH)})" if view.run_why else ""
    lines = [f"{safe_line(feed.workflow, _WIDTH)} {feed.run_id}: {view.run_state}{why} "
             f"after {took}: {ended}"]
    failed = view.ids_of(TaskState.FAILED)
    for tid in failed[:NAMED]:
        error = view.errors.get(tid, ("", None))[1]
        lines.append(f"  {glyph(TaskState.FAILED, unicode=unicode)} "
                     f"{safe_line(view.name_of(tid), _WIDTH)}: {wording.error_line(error)}")
    if len(failed) > NAMED:
        lines.append(f"  … and {len(failed) - NAMED:,} more failed")
    return [*lines, *_next(feed)]


def _next(feed: Feed) -> list[str]:
    if feed.home is None:
        return []
    if feed.live and not feed.hosted:
        return ["  it goes on; come back with: "
                f"{wording.command('attach', feed.run_id, home=feed.home)}"]
    state = feed.view.run_state
    if state is RunState.RUNNING:
        state = RunState.INTERRUPTED
    step = wording.next_step(state, feed.run_id, feed.home)
    return [f"  {step[0]}: {step[1]}"] if step is not None else []
