"""The rows of the detail pane: what is known of a task run, of a section, of the run. Pure.

Rule 1: rows are made for a width; text from outside is made safe when it enters a line.
Rule 2: a list of task runs is a list of ids: the row of one is made when it is painted, so
        that ten thousand dependencies cost those in sight.
Rule 3: what matters most is on top: the user's own line, not the head of a traceback.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.style import Style

from engine import TaskState
from engine.front import wording
from flowforge_tui.amounts import brief_seconds
from flowforge_tui.attempts import NO_WORKER
from flowforge_tui.charts import area
from flowforge_tui.details import CodeLine, Details
from flowforge_tui.figures import histogram
from flowforge_tui.graph_parts import counts_of
from flowforge_tui.logbook import breaks, try_words
from flowforge_tui.look import ACCENT, BAD, BOLD, DIM, FAINT, PLAIN, WARN, Look, state_style, word
from flowforge_tui.safe_text import safe, safe_line
from flowforge_tui.strips import Line, fit

if TYPE_CHECKING:
    from engine.front import Durations, ErrorInfo
    from flowforge_tui.model import RunView
    from flowforge_tui.run_columns import Try
    from flowforge_tui.shape import Section

#: Rows that one message or value takes at most.
_MESSAGE_ROWS, _VALUE_ROWS = 6, 12

#: Failures of a section that are looked at for its list of errors, and errors that are listed.
_LOOKED_AT, _ERRORS = 20_000, 12

#: Rows above the code around a failure, and the one that failed: what a pane has besides.
_ABOVE_CODE = 5

#: Rows of a histogram.
_BARS = 3

_FAILED = (TaskState.FAILED, TaskState.UP_FOR_RETRY)
_ACTIVE = (TaskState.RUNNING, TaskState.CANCELLING)


class Row(NamedTuple):
    """One row. `task`: where Enter leads; `attempt`: whose log it opens (generation, number)."""

    line: Line
    task: int = -1
    attempt: tuple[int, int] | None = None


class TaskRow(NamedTuple):
    """A task run, or a map as a whole: its row is made when it is painted."""

    task: int


class Canvas(NamedTuple):
    """What rows are made for."""

    view: RunView
    look: Look
    width: int
    now: float
    height: int = 24

    def text(self, text: str, style: Style = PLAIN, *, lead: int = 1, most: int = 1_000
             ) -> Iterator[Row]:
        """Rows of text from outside, of any length, behind `lead` cells."""
        pad, count = " " * lead, 0
        for raw in safe(text).splitlines() or [""]:
            part = raw.expandtabs(4)
            for start, end in pieces(part, max(10, self.width - lead - 1)):
                count += 1
                if count > most:
                    yield Row(Line().add(f"{pad}{self.look.marks.more}", DIM))
                    return
                yield Row(Line().add(pad).add(part[start:end], style))

    def span(self, seconds: float) -> str:
        """A duration in few cells."""
        text = brief_seconds(seconds)
        return text if self.look.unicode else text.replace("µ", "u")

    def title(self, text: str, more: str = "") -> Iterator[Row]:
        """An empty row, and a heading of our own."""
        yield Row(Line())
        yield Row(Line().add(f" {text}", BOLD).add(f"  {more}" if more else "", DIM))


def pieces(text: str, width: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each row that a text takes."""
    starts = [0, *breaks(text, width)]
    yield from zip(starts, [*starts[1:], len(text)], strict=True)


# -- one task run ----------------------------------------


def task_line(canvas: Canvas, tid: int) -> Line:
    """` ✓ name             0.4s  what went wrong`: in lists of task runs."""
    view, look = canvas.view, canvas.look
    if view.is_group(tid):
        return _group_line(canvas, tid)
    state = view.state_of(tid)
    line = Line().add(f" {look.glyph(state)} ", state_style(state))
    line.put(view.name_of(tid), width=name_width(canvas.width))
    line.add(f" {word(state):<13}", state_style(state))
    took = view.seconds(tid, canvas.now)
    line.add(f"{canvas.span(took) if took else '':>7}  ", DIM)
    error = view.errors.get(tid)
    if error is not None and state in _FAILED:
        line.put(wording.error_line(error[1]), BAD)
    return line


def name_width(width: int) -> int:
    """Cells of the column of names."""
    return max(12, min(44, width - 36))


def _group_line(canvas: Canvas, node: int) -> Line:
    """A map as a whole, with its counts."""
    view = canvas.view
    counts = counts_of(view, node)
    size = sum(counts)
    line = Line().add(f" {canvas.look.marks.shut} ", DIM)
    line.put(view.shape.names[node], width=name_width(canvas.width)).add(f" {size:,} ", DIM)
    return count_words(line, canvas.look, counts, short=True)


def count_words(line: Line, look: Look, counts: Sequence[int], *, short: bool = False) -> Line:
    """`✓ 990 succeeded  ✗ 2 failed`, or `✓990 ✗2`."""
    for state in TaskState:
        number = counts[state]
        if number and short:
            line.add(f" {look.glyph(state)}{number:,}", state_style(state))
        elif number:
            line.add(f" {look.glyph(state)} {number:,} {word(state)} ", state_style(state))
    return line


def task_key(view: RunView, tid: int, now: float) -> Hashable:
    """Changes when `task_line` does."""
    if view.is_group(tid):
        return view.version
    tick = int(now) if view.state[tid] in _ACTIVE else 0
    return view.state[tid], view.number[tid], view.end[tid], tick


# -- tab 1: the error ----------------------------------------


def error_rows(canvas: Canvas, tid: int, details: Details | None) -> Iterator[Row]:
    """What went wrong and where, at the user's own line; or how it stands."""
    view = canvas.view
    reason, error = view.errors.get(tid, ("", None))
    state = view.state_of(tid)
    if error is None:
        yield from _standing(canvas, tid, details)
        return
    yield from _what(canvas, tid, state, reason, error)
    if details is not None:
        yield from _around(canvas, error, details)
        if details.inputs:
            yield from canvas.title("called with")
            yield from value_rows(canvas, details.inputs, most=3)
    if error.traceback:
        yield from canvas.title("traceback")
        yield from traceback_rows(canvas, error)


def _what(
    canvas: Canvas, tid: int, state: TaskState, reason: str, error: ErrorInfo
) -> Iterator[Row]:
    view = canvas.view
    yield from canvas.text(f"{error.type}: {error.message}" if error.message else error.type,
                           BAD, most=_MESSAGE_ROWS)
    facts = [wording.place(error)] if error.file else []
    if reason not in ("", "error"):
        facts.append(reason)
    if view.number[tid]:
        facts.append(try_words(view.generation_of(tid), view.number[tid]))
    if view.end[tid]:
        facts.append(canvas.span(view.seconds(tid, canvas.now)))
    line = Line().add(" ").put(f" {canvas.look.marks.dot} ".join(facts), DIM)
    if state is TaskState.UP_FOR_RETRY:
        line.add("  " + wording.next_try(view.due.get(tid, 0.0) - canvas.now), WARN)
    yield Row(line)


def _around(canvas: Canvas, error: ErrorInfo, details: Details) -> Iterator[Row]:
    if details.around:
        # Where there is little room, less of what comes before: the line itself is to be in sight.
        before = max(1, min(len(details.around), canvas.height - _ABOVE_CODE))
        first = error.line - before
        yield Row(Line())
        yield from code_rows(canvas, [c for c in details.around if c[0] >= first], error.line)
    if details.changed:
        yield Row(Line().add(" the file has changed since: this is the line as it is now"
                             if details.around else " the file has changed since", WARN))


def code_rows(canvas: Canvas, code: Iterable[CodeLine], marked: int) -> Iterator[Row]:
    """Source lines with their numbers, and a mark at one of them."""
    bar = "│" if canvas.look.unicode else "|"
    for number, pieces_ in code:
        here = number == marked
        line = Line().add(f" {canvas.look.marks.cursor if here else ' '} ", BAD)
        line.add(f"{number:>5} ", BAD if here else FAINT).add(f"{bar} ", FAINT)
        for text, style in pieces_:
            line.add(text, style + BOLD if here else style)
        yield Row(line)


def traceback_rows(canvas: Canvas, error: ErrorInfo) -> Iterator[Row]:
    """A traceback, in which the user's own frame stands out."""
    own = f'  File "{error.file}", line {error.line},'
    inside = False
    for line in error.traceback.rstrip("\n").split("\n"):
        if line.startswith("  File ") or not line.startswith(" "):
            inside = line.startswith(own)
        if inside:
            style = ACCENT
        elif line.startswith(" "):
            style = DIM
        else:
            style = PLAIN if line.startswith("Traceback ") else BAD
        yield from canvas.text(line, style)


def _standing(canvas: Canvas, tid: int, details: Details | None) -> Iterator[Row]:
    """How a task run stands that has no error of its own."""
    view, look = canvas.view, canvas.look
    state = view.state_of(tid)
    style = state_style(state)
    line = Line().add(f" {look.glyph(state)} {word(state)}", style)
    if view.start[tid] and view.number[tid]:
        took = canvas.span(view.seconds(tid, canvas.now))
        doing = "for" if state in _ACTIVE else "in"
        words = try_words(view.generation_of(tid), view.number[tid])
        line.add(f" {doing} {took}", style).add(f"  {words}", DIM)
    yield Row(line)
    cause, why = view.why.get(tid, (-1, ""))
    if why:
        yield from canvas.text(why, DIM)
    if details is not None and details.waits and state is TaskState.QUEUED:
        yield from canvas.text(f"waits for {details.waits}", DIM)
    if cause >= 0:
        yield Row(Line().add(" because of ", DIM).put(view.name_of(cause)).add(
            "  (Enter)", FAINT), cause)
        error = view.errors.get(cause, ("", None))[1]
        if error is not None:
            yield from canvas.text(wording.error_line(error), BAD, most=_MESSAGE_ROWS)
    if details is not None and details.output and state in (TaskState.SUCCESS, TaskState.CACHED):
        yield from canvas.title("result")
        yield from canvas.text(details.output, most=_VALUE_ROWS)


# -- tab 3: inputs and outputs ----------------------------------------


def data_rows(canvas: Canvas, tid: int, details: Details | None) -> Iterator[Row]:
    """What a task run is given, and its result."""
    if details is None:
        yield Row(Line())
        return
    for trouble in details.trouble:
        yield from canvas.text(trouble, WARN, most=3)
    yield Row(Line().add(" inputs", BOLD))
    if details.inputs:
        yield from value_rows(canvas, details.inputs)
    else:
        yield Row(Line().add("   none", DIM))
    yield from canvas.title("result")
    if details.output:
        yield from canvas.text(details.output, lead=3, most=10 * _VALUE_ROWS)
    else:
        yield Row(Line().add("   none", DIM))


def value_rows(
    canvas: Canvas, values: Mapping[str, str], *, most: int = _VALUE_ROWS
) -> Iterator[Row]:
    """Names and values, each of at most so many rows."""
    names = {name: safe_line(name, 60) for name in values}
    column = min(24, max((cell_len(n) for n in names.values()), default=0))
    for name, value in values.items():
        for i, row in enumerate(canvas.text(value, lead=column + 5, most=most)):
            if i:
                yield row
                continue
            line = Line().add("   ").add(fit(names[name], column), ACCENT).add("  ")
            shown = row.line.text.strip(" ")
            yield Row(line.add(shown))


# -- tab 4: dependencies ----------------------------------------


def dependency_rows(
    canvas: Canvas, tid: int, details: Details | None
) -> Iterator[Row | TaskRow]:
    """What it waits for, and what waits for it; Enter goes there."""
    if details is None:
        yield Row(Line())
        return
    up, down = canvas.look.marks.up, canvas.look.marks.down
    for mark, title, ids in ((up, "waits for", details.above), (down, "wanted by", details.below)):
        if mark == down:
            yield Row(Line())
        count = f"{len(ids):,}" if ids else "nothing"
        yield Row(Line().add(f" {mark} {title} ", BOLD).add(count, DIM))
        yield from map(TaskRow, ids)


# -- tab 5: attempts ----------------------------------------


def attempt_rows(canvas: Canvas, tid: int) -> Iterator[Row]:
    """All that was tried, the latest first; Enter opens the log of one."""
    view = canvas.view
    tries = list(tries_of(view, tid))
    if not tries:
        yield Row(Line().add(" no attempt yet", DIM))
        return
    yield Row(Line().add("   try  gen  began     took     worker  what became of it", DIM))
    for attempt, worker in reversed(tries):
        yield Row(_try_line(canvas, attempt, worker), attempt=(attempt.generation, attempt.number))


def _try_line(canvas: Canvas, a: Try, worker: int) -> Line:
    state = a.state
    began = time.strftime("%H:%M:%S", time.localtime(a.start)) if a.start else ""
    took = canvas.span((a.end or canvas.now) - a.start) if a.start else ""
    line = Line().add(f" {canvas.look.glyph(state)} ", state_style(state))
    line.add(f"{a.number:>3} {a.generation:>4}  ").add(f"{began:<8}  ", DIM)
    line.add(f"{took:<7}  ").add(f"{f'w{worker:02}' if worker != NO_WORKER else '':<6}  ", DIM)
    if a.error is None:
        return line.add(word(state), state_style(state))
    if a.reason not in ("", "error"):
        line.put(f"{a.reason}: ", BAD)
    return line.put(wording.error_line(a.error), BAD)


def tries_of(view: RunView, tid: int) -> Iterator[tuple[Try, int]]:
    """All known attempts of a task run, oldest first, and each one's worker."""
    from flowforge_tui.run_columns import Try

    told = {(t.number, t.start): t for t in view.tries.get(tid, ())}
    found = list(_logged(view, tid))
    generation = view.generation_of(tid) - (not view.number[tid])
    again = sum(1 for a, b in pairwise(found) if b[0] <= a[0])
    generation = max(1, generation - again)
    last = 0
    for number, start, end, state, worker in found:
        generation += bool(last and number <= last)
        last = number
        known = told.get((number, start))
        yield known or Try(number, generation, start, end, TaskState(state), "", None), worker
    if view.state[tid] in _ACTIVE:
        yield (Try(view.number[tid], view.generation_of(tid), view.start[tid], 0.0,
                   view.state_of(tid), "", None), view.worker.get(tid, NO_WORKER))


def _logged(view: RunView, tid: int) -> Iterator[tuple[int, float, float, int, int]]:
    log, at = view.attempts, -1
    try:
        while True:
            at = log.tid.index(tid, at + 1)
            yield log.number[at], log.start[at], log.end[at], log.state[at], log.worker[at]
    except ValueError:  # there is no further one
        return


# -- tab 6: code ----------------------------------------


def source_rows(canvas: Canvas, tid: int, details: Details | None) -> Iterator[Row]:
    """The task's own code, as its file has it now."""
    if details is None:
        yield Row(Line())
        return
    error = canvas.view.errors.get(tid, ("", None))[1]
    if not details.file:
        yield Row(Line().add(" its code is in no file: it is a command, or was made on the way",
                             DIM))
        return
    yield from canvas.text(f"{details.file}:{details.line}", DIM)
    if not details.code:
        yield Row(Line().add(" it is not found there any more", WARN))
        return
    marked = error.line if error is not None and _same(error.file, details.file) else 0
    yield from code_rows(canvas, details.code, marked)


def _same(one: str, other: str) -> bool:
    return one == other or one.rsplit("/", 1)[-1] == other.rsplit("/", 1)[-1]


# -- a section ----------------------------------------


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
    failing = [tid for state in _FAILED for tid in islice(view.hot[state][section.place],
                                                          _LOOKED_AT)]
    for tid in failing:
        error = view.errors.get(tid, ("", None))[1]
        if error is not None:
            kind = (error.type, error.message)
            found[kind] += 1
            first.setdefault(kind, tid)
    if not found:
        return
    most = max(view.counts[section.place][s] for s in _FAILED)
    more = f"of the first {_LOOKED_AT:,} failures each" if most > _LOOKED_AT else ""
    yield from canvas.title("errors", more)
    for (type_, message), count in found.most_common(_ERRORS):
        text = f"{type_}: {message}" if message else type_
        yield Row(Line().add(f" {count:>6,}  ", DIM).put(text, BAD), first[type_, message])
    if len(found) > _ERRORS:
        yield Row(Line().add(f"         and {len(found) - _ERRORS:,} other errors", DIM))


# -- the run ----------------------------------------


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
