"""The rows of the detail pane where no task run is chosen: what a section, or the run, comes to.

Rule: of a section's failures the first ones alone are looked at, and it is said where those are
      not all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from rich.cells import cell_len

from engine.front import wording
from flowforge_tui.charts import area
from flowforge_tui.detail_canvas import FAILED, Canvas, Row, count_words
from flowforge_tui.figures import histogram
from flowforge_tui.look import ACCENT, BAD, BOLD, DIM, FAINT, WARN
from flowforge_tui.strips import Line

if TYPE_CHECKING:
    from engine.front import Durations
    from flowforge_tui.shape import Section

#: Failures of a section that are looked at for its list of errors, and errors that are listed.
_LOOKED_AT, _ERRORS = 20_000, 12

#: Rows of a histogram.
_BARS = 3


def section_rows(
    canvas: Canvas, section: Section, durations: Durations | None
) -> Iterator[Row]:
    """What the task runs of a section come to."""
    view = canvas.view
    counts = view.counts[section.place]
    total = sum(counts)
    line = Line().add(" ").put(section.name, BOLD, limit=60)
    yield Row(line.add(f"  {wording.amount(total, 'task run')}", DIM))
    if section.group:
        yield Row(Line().add(" in ", DIM).put(section.group, DIM))
    yield Row(count_words(Line(), canvas.look, counts))
    if durations is not None and durations.count:
        yield from _duration_rows(canvas, durations)
    yield from _error_rows(canvas, section)


def _duration_rows(canvas: Canvas, durations: Durations) -> Iterator[Row]:
    yield from canvas.title("durations", f"of {durations.count:,} that succeeded")
    line = Line().add(" ")
    for name, value in (("p50", durations.percentile(0.5)), ("p95", durations.percentile(0.95)),
                        ("max", durations.longest), ("mean", durations.mean)):
        line.add(f"{name} ", DIM).add(f"{canvas.span(value):<9}")
    yield Row(line)
    bins, low, high = histogram(durations, min(48, canvas.width - 4))
    for bars in area(bins, _BARS, unicode=canvas.look.unicode):
        yield Row(Line().add("  ").add(bars, ACCENT))
    foot = f"{canvas.span(low)}{canvas.span(high):>{max(1, len(bins) - 6)}}"
    yield Row(Line().add(f"  {foot}", FAINT))


def _error_rows(canvas: Canvas, section: Section) -> Iterator[Row]:
    """Its errors by type and message, the most frequent first; Enter goes to the first of one."""
    view = canvas.view
    found, first = Counter[tuple[str, str]](), dict[tuple[str, str], int]()
    failing = [tid for state in FAILED for tid in islice(view.hot[state][section.place],
                                                          _LOOKED_AT)]
    for tid in failing:
        error = view.errors.get(tid, ("", None))[1]
        if error is not None:
            kind = (error.type, error.message)
            found[kind] += 1
            first.setdefault(kind, tid)
    if not found:
        return
    most = max(view.counts[section.place][s] for s in FAILED)
    more = f"of the first {_LOOKED_AT:,} failures each" if most > _LOOKED_AT else ""
    yield from canvas.title("errors", more)
    for (type_, message), count in found.most_common(_ERRORS):
        text = f"{type_}: {message}" if message else type_
        yield Row(Line().add(f" {count:>6,}  ", DIM).put(text, BAD), first[type_, message])
    if len(found) > _ERRORS:
        yield Row(Line().add(f"         and {len(found) - _ERRORS:,} other errors", DIM))


def run_rows(canvas: Canvas, facts: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """The run itself: how it stands, what it was started with, its news."""
    view = canvas.view
    yield Row(count_words(Line(), canvas.look, view.totals))
    if view.run_why:
        yield from canvas.text(view.run_why, WARN, most=3)
    yield Row(Line())
    column = min(14, max((cell_len(name) for name, _ in facts), default=0))
    for name, value in facts:
        for i, row in enumerate(canvas.text(value, lead=column + 3, most=4)):
            if i:
                yield row
            else:
                line = Line().add(" ").put(name, DIM, width=column).add("  ")
                yield Row(line.add(row.line.text.strip(" ")))
