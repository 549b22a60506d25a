"""Which rows the tree of a run has, and where each is. Pure: no terminal, no clock.

Rule 1: a row is (kind, id), whatever comes and goes around it; places are worked out when
        they are asked for, in O(log n), and nothing is kept for a task run that is folded.
Rule 2: what asks for attention floats up: of an open section the failed, those up for retry
        and the running, a few of each, then one row for the rest of them.
Rule 3: what a person opened or folded stays so; the rest opens when something of it runs or
        failed, and folds when all of it ended well.
Rule 4: the task run under the cursor (`pinned`) keeps its row, however it ends.
Rule 5: a refresh costs what changed since the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from engine import TaskState
from engine.front import IS_TERMINAL
from flowforge_tui.blocks import GROUP, REST, TASK, Block, Blocks, Mode
from flowforge_tui.fenwick import Sizes
from flowforge_tui.filter_terms import Filter
from flowforge_tui.ids import Chained, position
from flowforge_tui.kept import Kept
from flowforge_tui.model import RunView
from flowforge_tui.ordering import Sort, in_order, key_of, rank
from flowforge_tui.run_columns import HOT

#: An open section of at most so many task runs shows all of them, in order.
FEW = 10

_OPEN_STATES = [s for s in TaskState if not IS_TERMINAL[s]]


class Row(NamedTuple):
    """One row of the tree."""

    kind: str
    id: int
    """GROUP: its number among the nested workflows; SECTION, CHAIN, REST: place of the (first)
    section; TASK: the task run's id."""
    depth: int


class Caps(NamedTuple):
    """How many rows of a section float up at most."""

    failed: int = 10
    retry: int = 3
    running: int = 4

    @classmethod
    def for_height(cls, lines: int) -> Caps:
        """What suits a view of so many lines."""
        return cls(max(3, lines // 4), max(1, lines // 10), max(1, lines // 8))


class Rows:
    """The rows of one view. Call `refresh` before each frame."""

    def __init__(self, view: RunView, caps: Caps | None = None) -> None:
        self.view = view
        self.caps = caps if caps is not None else Caps()
        self.sort = Sort.DEFINITION
        self.pinned = -1
        """The task run whose row stays though it asks for nothing any more; -1: none."""
        self.ordered: list[Block] = []
        """All blocks, from top to bottom; those without a row have no size."""
        self._chosen: dict[tuple[str, int], bool] = {}
        """What a person opened (True) or folded."""
        self._modes: dict[tuple[str, int], Mode] = {}
        self._kept: Kept | None = None
        self._now = 0.0
        self._build()

    def moved_to(self, view: RunView) -> Rows:
        """The rows of another view of the same workflow, with the choices made in this one."""
        other = Rows.__new__(Rows)
        other.__dict__.update(self.__dict__)
        other.view = view
        other._build()
        return other

    def _build(self) -> None:
        view = self.view
        self.blocks = Blocks(view.shape)
        self._seen = view.version
        self._known = [list(counts) for counts in view.counts]
        for owner, counts in zip(self.blocks.owner, self._known, strict=True):
            for block in owner.path():
                for state, n in enumerate(counts):
                    block.counts[state] += n
        for key, mode in self._modes.items():
            if key in self.blocks.by_key:
                self.blocks.by_key[key].mode = mode
        if self.filter is not None:
            self._keep(Kept(self.filter, view, self._now))
        self._arrange()

    # -- order ------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Sort the blocks, and measure all of them anew."""
        self.ordered = []
        self._place(self.blocks.top, key_of(self.sort, self.view, self._now))
        for block in self.ordered:
            self._measure(block)
        self._sizes = Sizes([block.size for block in self.ordered])

    def _place(self, blocks: list[Block], key: Callable[[Block], tuple[object, ...]]) -> None:
        for block in sorted(blocks, key=key):
            block.at = len(self.ordered)
            self.ordered.append(block)
            self._place(block.children, key)

    def set_sort(self, sort: Sort, now: float) -> None:
        """Another order."""
        self.sort, self._now = sort, now
        self._arrange()

    def resort(self, now: float) -> None:
        """Durations have changed with time."""
        if self.sort is Sort.DURATION:
            self._now = now
            self._arrange()

    # -- measuring a block ------------------------------------------------------------------------

    def _measure(self, block: Block) -> None:
        """Work out what a block shows. Its parents have been measured already."""
        counts = block.counts
        hot = any(counts[s] for s in HOT)
        block.woken = hot or (block.woken and (
            any(counts[s] for s in _OPEN_STATES) or self._is_pinned(block)))
        block.open = block.kind != TASK and self._is_open(block)
        block.tids, block.rest = (), False
        if self._is_hidden(block):
            block.size = 0
            return
        if block.open and block.is_bundle:
            self._fill(block)
        block.size = 1 + len(block.tids) + block.rest

    def _is_pinned(self, block: Block) -> bool:
        """True if the pinned task run is in a block, or in what is in it."""
        owner = self.block_of(TASK, self.pinned) if self.pinned >= 0 else None
        return owner is not None and any(above is block for above in owner.path())

    def _is_open(self, block: Block) -> bool:
        chosen = self._chosen.get(block.key)
        if chosen is not None:
            return chosen
        if self.filter is not None:
            return True
        if block.kind == GROUP and self.blocks.few:
            return True
        return block.woken

    def _is_hidden(self, block: Block) -> bool:
        if self.filter is not None and not block.hits:
            return True
        parent = block.parent
        return parent is not None and (not parent.open or not parent.size)

    def _fill(self, block: Block) -> None:
        if self.filter is not None or block.mode is Mode.ALL or block.total <= FEW:
            block.tids = in_order(self.kept_of(block), self.sort, self.view, self._now)
        else:
            block.tids = self._floating(block)
            block.rest = len(block.tids) < block.total

    def _floating(self, block: Block) -> list[int]:
        """What asks for attention, in order of urgency; each kind as it came, the oldest first."""
        caps = self.caps
        failed = caps.failed if block.mode is Mode.SOME else None
        found: list[int] = []
        for states, cap in (((TaskState.FAILED,), failed),
                            ((TaskState.UP_FOR_RETRY,), caps.retry),
                            ((TaskState.RUNNING, TaskState.CANCELLING), caps.running)):
            found += sorted(islice(self.hot(block, states), cap))
        if self._is_pinned(block) and self.pinned not in found:
            found.append(self.pinned)
        return found

    def hot(self, block: Block, states: Sequence[TaskState]) -> Iterator[int]:
        """The task runs of a block in some of the states `HOT`, whatever the filter keeps."""
        for state in states:
            if not block.counts[state]:
                continue
            by_section = self.view.hot[state]
            for place in block.places:
                yield from by_section[place]

    def all_of(self, block: Block) -> Sequence[int]:
        """All task runs in a block, in order of definition."""
        if block.kind == TASK:
            return (block.id,)
        view, sections = self.view, self.blocks.shape.sections
        if len(block.places) == 1:
            return view.runs_of(sections[block.places[0]])
        return Chained([view.runs_of(sections[place]) for place in block.places])

    # -- taking in what changed -------------------------------------------------------------------

    def refresh(self, now: float = 0.0) -> bool:
        """Follow the view; True if rows may have come, gone or moved."""
        view = self.view
        if now:
            self._now = now
        if view.shape is not self.blocks.shape:
            self._build()
            return True
        if view.version == self._seen:
            return False
        changed = view.changed_since(self._seen)
        self._seen = view.version
        if not changed:
            return False
        ranks = self.sort is Sort.ATTENTION
        touched: dict[Block, int] = {}
        for place in changed:
            for block in self.blocks.owner[place].path():
                if block not in touched:
                    touched[block] = rank(block.counts) if ranks else 0
            self._recount(place)
        if self._kept is not None:
            self._kept.stale.update(changed)
        if ranks and any(rank(block.counts) != was for block, was in touched.items()):
            self._arrange()
        else:
            for block in sorted(touched, key=lambda b: b.at):
                self._fit(block)
        return True

    def _recount(self, place: int) -> None:
        new, old = self.view.counts[place], self._known[place]
        if new == old:
            return
        self._known[place] = list(new)
        moved = [(s, n - o) for s, (n, o) in enumerate(zip(new, old, strict=True)) if n != o]
        for block in self.blocks.owner[place].path():
            for state, more in moved:
                block.counts[state] += more

    def _fit(self, block: Block) -> None:
        """Measure a block anew, and what is in it if that came to sight or went out of it."""
        was_open, was_size = block.open and bool(block.size), block.size
        self._measure(block)
        if block.size != was_size:
            self._sizes.add(block.at, block.size - was_size)
        if block.children and (block.open and bool(block.size)) != was_open:
            for child in block.children:
                self._fit(child)

    # -- reading ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._sizes.total

    def row(self, index: int) -> Row:
        """Row `index`. Raises IndexError."""
        at, line = self._sizes.find(index)
        block = self.ordered[at]
        if line == 0:
            return Row(block.kind, block.id, block.depth)
        if line <= len(block.tids):
            return Row(TASK, block.tids[line - 1], block.depth + 1)
        return Row(REST, block.places[0], block.depth + 1)

    def index_of(self, kind: str, id: int) -> int:
        """Where a row is; -1 if it is folded away."""
        block = self.block_of(kind, id)
        if block is None or not block.size:
            return -1
        first = self._sizes.before(block.at)
        if (kind, id) == block.key:
            return first
        if kind == REST:
            return first + block.size - 1 if block.rest else -1
        at = position(block.tids, id)
        return first + 1 + at if at >= 0 else -1

    def block_of(self, kind: str, id: int) -> Block | None:
        """The block that a row belongs to; None if there is no such row in this run."""
        if kind == TASK:
            if not 0 <= id < len(self.view.section) or self.view.node[id] < 0:
                return None
            return self.blocks.owner[self.view.section[id]]
        if kind == REST:
            return self.blocks.owner[id] if 0 <= id < len(self.blocks.owner) else None
        return self.blocks.by_key.get((kind, id))

    def parent_of(self, kind: str, id: int) -> tuple[str, int] | None:
        """The row that a row is folded into; None at the top."""
        block = self.block_of(kind, id)
        if block is None:
            return None
        if (kind, id) != block.key:
            return block.key
        return block.parent.key if block.parent is not None else None

    def tasks_of(self, kind: str, id: int) -> Sequence[int]:
        """The task runs that a row stands for; with a filter, those that it keeps."""
        if kind == TASK:
            return (id,)
        block = self.block_of(kind, id)
        if block is None:
            return ()
        if kind == REST:
            shown = set(block.tids)
            return [tid for tid in self.all_of(block) if tid not in shown]
        return self.kept_of(block)

    def hidden(self, block: Block) -> list[int]:
        """State → how many of a bundle's task runs its last row stands for."""
        left = list(block.counts)
        for tid in block.tids:
            left[self.view.state[tid]] -= 1
        return left

    # -- opening and folding ----------------------------------------------------------------------

    def set_open(self, kind: str, id: int, opened: bool) -> None:
        """Open or fold a row, until `open_all` or `forget`."""
        block = self.blocks.by_key.get((kind, id))
        if block is None or kind == TASK:
            return
        self._chosen[block.key] = opened
        if not opened:
            self._set_mode(block, Mode.SOME)
        self._fit(block)

    def _set_mode(self, block: Block, mode: Mode) -> None:
        block.mode = mode
        self._modes[block.key] = mode

    def toggle_all_items(self, kind: str, id: int) -> bool:
        """Show all task runs of the section that a row belongs to, or what floats up alone.

        False if there is no such section.
        """
        block = self.block_of(kind, id)
        if block is None or not block.is_bundle:
            return False
        showing = block.open and block.mode is Mode.ALL
        self._chosen[block.key] = True
        self._set_mode(block, Mode.SOME if showing else Mode.ALL)
        self._fit(block)
        return True

    @property
    def all_open(self) -> bool:
        """True if nothing is folded."""
        return all(block.open for block in self.blocks.by_key.values() if block.kind != TASK)

    def open_all(self, opened: bool = True) -> None:
        """Open everything; or leave all to the rules again."""
        self._chosen.clear()
        if opened:
            self._chosen.update((key, True) for key in self.blocks.by_key if key[0] != TASK)
        self._arrange()

    def set_caps(self, caps: Caps) -> None:
        """Another height of the view."""
        if caps != self.caps:
            self.caps = caps
            self._arrange()

    def reveal(self, tid: int) -> int:
        """Open what hides a task run; its row, or -1 if the filter keeps it out."""
        owner = self.block_of(TASK, tid)
        if owner is None:
            return -1
        for block in owner.path():
            if block.kind != TASK and not block.open:
                self._chosen[block.key] = True
        for block in reversed(list(owner.path())):
            self._fit(block)
        at = self.index_of(TASK, tid)
        if at < 0 and self.filter is None and owner.is_bundle:
            failed = self.view.state[tid] == TaskState.FAILED
            for mode in (Mode.FAILURES, Mode.ALL) if failed else (Mode.ALL,):
                self._set_mode(owner, mode)
                self._fit(owner)
                at = self.index_of(TASK, tid)
                if at >= 0:
                    break
        return at

    # -- the filter -------------------------------------------------------------------------------

    @property
    def filter(self) -> Filter | None:
        """What decides what is shown; None: the rules do."""
        return self._kept.filter if self._kept is not None else None

    def set_filter(self, wanted: Filter | None, now: float) -> None:
        """Show only what a filter keeps, with its parents; None or an empty one: everything."""
        self._now = now
        self._chosen.clear()
        self._keep(Kept(wanted, self.view, now, self._kept) if wanted else None)
        self._arrange()

    def _keep(self, kept: Kept | None) -> None:
        self._kept = kept
        for block in self.blocks.by_key.values():
            block.hits = 0
        for place, tids in kept.of_section.items() if kept is not None else ():
            for block in self.blocks.owner[place].path():
                block.hits += len(tids)

    @property
    def is_stale(self) -> bool:
        """True if `refilter` would have something to do."""
        return self._kept is not None and bool(self._kept.stale)

    def refilter(self, now: float) -> None:
        """Have the filter look again at what changed since it last did."""
        if self._kept is not None and self._kept.stale:
            self._now = now
            self._kept.look_again(now)
            self._keep(self._kept)
            self._arrange()

    def kept_of(self, block: Block) -> Sequence[int]:
        """What the filter keeps of a block; without one, all task runs in it."""
        return self._kept.of(block) if self._kept is not None else self.all_of(block)

    def matches(self) -> Iterator[int]:
        """All that the filter keeps, in the order of rows; without one, all task runs."""
        for block in self.ordered:
            if block.kind != GROUP:
                yield from self.kept_of(block)

    @property
    def hits(self) -> int:
        """How many task runs the filter keeps; all, without one."""
        return len(self._kept) if self._kept is not None else self.view.size
