"""Runs made by hand: an outline, and changes at moments of one's own choosing."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from engine import RunState, TaskState
from engine.core.events import Attempt, Change, ErrorInfo, Failed, RunMoved, Started, Succeeded
from engine.runtime.outline import MapOutline, Outline, SpecOutline
from flowforge_tui.model import RunView
from flowforge_tui.shape import Shape

#: When made runs begin: in 2033, so that nothing agrees with the real clock by chance.
BEGAN = 2e9


def shape(*sections: tuple[str, int], maps: dict[int, MapOutline] | None = None) -> Shape:
    """Sections of so many independent nodes each."""
    outline = Outline("made")
    outline.groups = [""]
    for place, (name, count) in enumerate(sections):
        outline.specs.append(SpecOutline(name, "function", True, "retry", "all_success", {}))
        outline.names += [name if count == 1 else f"{name}-{i}" for i in range(count)]
        outline.spec_of.extend([place] * count)
    n = len(outline.names)
    outline.group_of = array("I", bytes(4 * n))
    outline.offsets = array("I", bytes(4 * (n + 1)))
    outline.maps = maps or {}
    return Shape(outline)


def begun(*sections: tuple[str, int], **more: Any) -> RunView:
    """A view of a run that began at BEGAN."""
    view = RunView(shape(*sections, **more))
    view.apply([RunMoved(RunState.RUNNING, "", BEGAN)])
    return view


def attempt(
    tid: int, start: float, seconds: float = 0.0, *, number: int = 1, worker: int | None = 0
) -> Attempt:
    """One that began `start` seconds after BEGAN."""
    made = Attempt(tid, None, -1, number, 1, None)  # type: ignore[arg-type]
    made.start, made.end = BEGAN + start, BEGAN + start + seconds
    if worker is not None:
        made.worker = worker
    return made


def succeeded(attempts: Iterable[Attempt]) -> Change:
    """They ended well."""
    return Succeeded(list(attempts))


def failed(made: Attempt, *, due: float | None = None, error: str = "bad row") -> Change:
    """It failed; `due`, seconds after BEGAN: and is tried again then."""
    made.fail(ErrorInfo("ValueError", error, "", "flow.py", 7))
    if due is None:
        return Failed(made, TaskState.FAILED, 0.0)
    return Failed(made, TaskState.UP_FOR_RETRY, BEGAN + due)


def started(attempts: Sequence[Attempt]) -> Change:
    """They run."""
    for made in attempts:
        made.end = 0.0
    return Started(attempts)
