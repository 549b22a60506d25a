"""The rows of the detail pane's tabs: what is known of one task run. Pure.

Rule 1: rows are made for a width; of other task runs their ids alone (`TaskRow`).
Rule 2: what matters most is on top: the user's own line, not the head of a traceback.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.cells import cell_len

from engine import TaskState
from engine.front import wording
from flowforge_tui.attempts import NO_WORKER
from flowforge_tui.detail_canvas import ACTIVE, Canvas, Row, TaskRow
from flowforge_tui.details import CodeLine, Details
from flowforge_tui.logbook import try_words
from flowforge_tui.look import ACCENT, BAD, BOLD, DIM, FAINT, PLAIN, WARN, state_style, word
from flowforge_tui.run_columns import Try
from flowforge_tui.safe_text import safe_line
from flowforge_tui.strips import Line, fit

if TYPE_CHECKING:
    from engine.front import ErrorInfo
    from flowforge_tui.model import RunView

#: Rows that one message or value takes at most.
_MESSAGE_ROWS, _VALUE_ROWS = 6, 12

#: Rows above the code around a failure, and the one that failed: what a pane has besides.
_ABOVE_CODE = 5


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
        doing = "for" if state in ACTIVE else "in"
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
    if view.state[tid] in ACTIVE:
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
