"""What a row of the tree says, as plain data: pure, and cheap enough to ask for in each frame.

Rule 1: a row is painted anew when its cells differ; so they hold all that it shows, and
        nothing that it does not.
Rule 2: nothing is said that is not recorded, but what a task itself told of its progress and
        what the run's owner told of a wait.
Rule 3: strings may be of tasks, and are made safe by whoever paints them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from engine import RunState, TaskState
from engine.front import IS_TERMINAL, wording
from flowforge_tui.amounts import brief_number, brief_seconds
from flowforge_tui.blocks import CHAIN, GROUP, REST, TASK, Block
from flowforge_tui.charts import area, fitted
from flowforge_tui.look import word
from flowforge_tui.ordering import foremost
from flowforge_tui.rows import Row, Rows

if TYPE_CHECKING:
    from flowforge_tui.look import Look
    from flowforge_tui.model import RunView

#: Upstream task runs that are looked at for what a row waits for, and those that are named.
_LOOKED_AT, _NAMED = 50, 2

#: Task runs of a blocked section that are looked at for what blocks it.
_BLOCKED = 1_000

#: Cells of a progress bar in a row, and of a section's throughput.
_BAR, SPARK = 8, 8

#: The counts that stand beside a section's done and total.
_COUNTED = (TaskState.FAILED, TaskState.UP_FOR_RETRY, TaskState.RUNNING)

#: In which order the last row of a section names what is folded into it.
_REST = (
    TaskState.FAILED, TaskState.UP_FOR_RETRY, TaskState.RUNNING, TaskState.CANCELLING,
    TaskState.QUEUED, TaskState.PENDING, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED,
    TaskState.SKIPPED, TaskState.CACHED, TaskState.SUCCESS,
)

Counted = tuple[tuple[TaskState, int], ...]


class Cells(NamedTuple):
    """One row."""

    row: Row
    sign: str
    """`open`, `shut`, or empty."""
    state: TaskState | None
    name: str
    done: str = ""
    """`60,207/98,000`."""
    counted: Counted = ()
    """States that ask for attention, and how many task runs are in each."""
    info: str = ""
    tone: TaskState | None = None
    """The state whose colour the info has."""
    tries: str = ""
    worker: str = ""
    began: str = ""
    took: str = ""
    spark: str = ""
    marked: bool = False


class Teller:
    """Makes the cells of rows. `now` and `progress` are those of the frame in hand."""

    def __init__(self, rows: Rows, look: Look) -> None:
        self.rows = rows
        self.look = look
        self.now = 0.0
        self.progress: Mapping[int, tuple[float, float | None]] = {}
        self.reason: tuple[int, str] = (-1, "")
        """(a QUEUED task run, what its owner says that it waits for)."""

    @property
    def view(self) -> RunView:
        """The run."""
        return self.rows.view

    def cells(self, row: Row) -> Cells:
        """What a row says."""
        if row.kind == TASK:
            return self._task(row)
        block = self.rows.block_of(row.kind, row.id)
        assert block is not None
        return self._rest(row, block) if row.kind == REST else self._bundle(row, block)

    # -- sections, chains, groups -----------------------------------------------------------------

    def _bundle(self, row: Row, block: Block) -> Cells:
        counts = block.counts
        state = foremost(counts)
        done = sum([n for s, n in enumerate(counts) if IS_TERMINAL[s]])
        counted = tuple((s, n) for s in _COUNTED if (n := _counted(counts, s)))
        info, tone = self._of_block(block, state, done)
        seconds = self.view.pace.elapsed(block.places, self.now)
        return Cells(
            row, "open" if block.open else "shut", state, self._name(block),
            self._done(block, done), counted, info, tone,
            took=brief_seconds(seconds) if seconds else "",
            spark=self._spark(block),
        )

    def _name(self, block: Block) -> str:
        if block.kind != CHAIN:
            return block.name
        sections = self.view.shape.sections
        first, last = sections[block.places[0]].name, sections[block.places[-1]].name
        return f"{first} {self.look.marks.more} {last}"

    def _done(self, block: Block, done: int) -> str:
        total, view = block.total, self.view
        if block.kind == GROUP:
            return f"{done:,}/{total:,}"
        section = view.shape.sections[block.places[0]]
        if not section.mapped or view.is_spread(section) or self._is_over(block):
            return f"{done:,}/{total:,}"
        known = sum(view.spread[n][1] for n in section.nodes if n in view.spread)
        return f"{done:,}/{known:,}+" if known else "?"

    def _is_over(self, block: Block) -> bool:
        return all(IS_TERMINAL[s] for s, n in enumerate(block.counts) if n)

    def _of_block(
        self, block: Block, state: TaskState, done: int
    ) -> tuple[str, TaskState | None]:
        counts = block.counts
        if state is TaskState.UPSTREAM_FAILED:
            return self._blocked(block), TaskState.UPSTREAM_FAILED
        if counts[TaskState.PENDING] == block.total and block.kind != GROUP:
            waits = self._waits(self._shape_nodes(block), block)
            return waits, TaskState.PENDING
        return "", None

    def _shape_nodes(self, block: Block) -> Sequence[int]:
        nodes = self.view.shape.sections[block.places[0]].nodes
        return nodes[:_LOOKED_AT]

    def _waits(self, nodes: Sequence[int], block: Block | None) -> str:
        """`waits: transform`, of what is not over yet above some nodes."""
        shape = self.view.shape
        names: dict[str, None] = {}
        looked = 0
        for node in nodes:
            for above in shape.upstream(node):
                looked += 1
                if looked > _LOOKED_AT:
                    break
                section = shape.section_of[above]
                if block is not None and section in block.places:
                    continue
                if not self._is_done(above):
                    names[shape.sections[section].name] = None
        if not names:
            return ""
        told = list(names)[:_NAMED]
        more = len(names) - len(told)
        return f"waits: {', '.join(told)}{f' and {more} more' if more else ''}"

    def _is_done(self, node: int) -> bool:
        view = self.view
        if node not in view.spread:
            return bool(IS_TERMINAL[view.state[node]])
        counts = view.counts[view.section[node]]
        return not any(n for s, n in enumerate(counts) if not IS_TERMINAL[s])

    def _blocked(self, block: Block) -> str:
        view, causes = self.view, set()
        looked = self.rows.all_of(block)[:_BLOCKED]
        for tid in looked:
            cause = view.why.get(tid)
            if cause is not None and cause[0] >= 0:
                causes.add(cause[0])
        if len(causes) == 1:
            return f"blocked by {self.name_of(causes.pop())}"
        if not causes:
            return "blocked"
        more = "+" if block.total > _BLOCKED else ""
        return f"blocked by {len(causes):,}{more} failed"

    def _spark(self, block: Block) -> str:
        values = self.view.pace.throughput(block.places)
        if len(values) < 2:
            return ""
        return area(fitted(values, SPARK)[0], 1, unicode=self.look.unicode)[0]

    def _rest(self, row: Row, block: Block) -> Cells:
        hidden = self.rows.hidden(block)
        parts = [f"{hidden[s]:,} {_rest_word(s)}" for s in _REST if hidden[s]]
        return Cells(row, "", None, f"{self.look.marks.more} {', '.join(parts)}",
                     info="(o: show)")

    # -- task runs --------------------------------------------------------------------------------

    def name_of(self, tid: int) -> str:
        """A task run's name without the nested workflow's, which the row above has."""
        name = self.view.name_of(tid)
        group = self.view.section_of(tid).group
        return name.removeprefix(f"{group}/") if group else name

    def _task(self, row: Row) -> Cells:
        tid, view = row.id, self.view
        state = view.state_of(tid)
        info, tone = self._of_task(tid, state)
        start, seconds = view.start[tid], view.seconds(tid, self.now)
        shows_time = start and state not in (TaskState.PENDING, TaskState.QUEUED)
        worker = view.worker.get(tid, -1)
        return Cells(
            row, "", state, self.name_of(tid), info=info, tone=tone,
            tries=self._tries(tid, state),
            worker=f"w{worker:02}" if worker >= 0 else "",
            began=time.strftime("%H:%M:%S", time.localtime(start)) if shows_time else "",
            took=brief_seconds(seconds) if shows_time else "",
        )

    def _tries(self, tid: int, state: TaskState) -> str:
        number, most = self.view.number[tid], self.view.shape.tries_of(self.view.node[tid])
        if state in (TaskState.PENDING, TaskState.QUEUED) or not number:
            return ""
        tells = number > 1 or state in (TaskState.FAILED, TaskState.UP_FOR_RETRY)
        if not tells:
            return ""
        return f"try {number}/{max(most, number)}" if most else f"try {number}"

    def _of_task(self, tid: int, state: TaskState) -> tuple[str, TaskState | None]:
        view = self.view
        if state in (TaskState.FAILED, TaskState.UP_FOR_RETRY):
            return self._failure(tid, state), state
        if state in (TaskState.RUNNING, TaskState.CANCELLING):
            return self._running(tid, state), state
        if state is TaskState.QUEUED:
            known, text = self.reason
            return (f"waits: {text}" if known == tid and text else "queued"), state
        if state is TaskState.PENDING:
            return self._pending(tid), state
        cause, text = view.why.get(tid, (-1, ""))
        if state is TaskState.UPSTREAM_FAILED:
            return (f"blocked by {self.name_of(cause)}" if cause >= 0 else text), state
        if state in (TaskState.SKIPPED, TaskState.CANCELLED, TaskState.CACHED):
            return text or word(state), state
        generation = view.generation.get(tid, 1)
        return (f"generation {generation}" if generation > 1 else ""), state

    def _failure(self, tid: int, state: TaskState) -> str:
        reason, error = self.view.errors.get(tid, ("", None))
        text = self.view.why.get(tid, (-1, ""))[1]
        if error is not None:
            text = wording.error_words(error)
        if reason and reason != "error":
            text = f"{reason} · {text}" if self.look.unicode else f"{reason}: {text}"
        if state is TaskState.UP_FOR_RETRY:
            wait = max(0.0, self.view.due.get(tid, 0.0) - self.now)
            text = f"in {brief_seconds(float(round(wait)))} {self.look.marks.dot} {text}"
        return text

    def _running(self, tid: int, state: TaskState) -> str:
        if self.view.run_state is RunState.INTERRUPTED:
            return "interrupted"
        told = self.progress.get(tid)
        parts = []
        if state is TaskState.CANCELLING:
            parts.append("cancelling")
        if told is not None:
            parts.append(self._bar(*told))
        return " ".join(parts)

    def _bar(self, done: float, total: float | None) -> str:
        if not total or total <= 0:
            return f"{brief_number(done)} done"
        full, rest = self.look.bar(done / total, _BAR)
        percent = min(100, int(100 * done / total))
        return f"{full}{rest} {percent}% {brief_number(done)}/{brief_number(total)}"

    def _pending(self, tid: int) -> str:
        _, text = self.view.why.get(tid, (-1, ""))
        return text or self._waits((self.view.node[tid],), None)


def _counted(counts: Sequence[int], state: TaskState) -> int:
    if state is TaskState.RUNNING:
        return counts[state] + counts[TaskState.CANCELLING]
    return counts[state]


def _rest_word(state: TaskState) -> str:
    return "ok" if state is TaskState.SUCCESS else word(state)
