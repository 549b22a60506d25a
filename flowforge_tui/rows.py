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

from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

from engine import TaskState
from engine.front import IS_TERMINAL
from flowforge_tui.fenwick import Sizes
from flowforge_tui.filter_terms import Filter
from flowforge_tui.ids import Chained, position
from flowforge_tui.model import RunView
from flowforge_tui.run_columns import HOT, STATES
from flowforge_tui.shape import Section, Shape

GROUP, SECTION, CHAIN, TASK, REST = "group", "section", "chain", "task", "rest"

#: An open section of at most so many task runs shows all of them, in order.
FEW = 10

#: Trees of at most so many sections show their groups open, and no chain folded.
SMALL = 24

#: Single tasks, one after the other, that fold into a row where there are many sections.
_CHAIN_LEAST = 4

#: Sections of more task runs than that stay in order of id, whatever the sorting: a second.
_SORTABLE = 500_000

_OPEN_STATES = [s for s in TaskState if not IS_TERMINAL[s]]


class Row(NamedTuple):
    """One row of the tree."""

    kind: str
    id: int
    """GROUP: index among `Rows.groups`; SECTION, CHAIN, REST: place of the (first) section;
    TASK: the task run's id."""
    depth: int


class Sort(IntEnum):
    """In which order rows stand beside each other."""

    DEFINITION = 0
    ATTENTION = 1
    DURATION = 2
    NAME = 3


class Mode(IntEnum):
    """What an open section shows."""

    SOME = 0
    """What asks for attention, a few of each."""
    FAILURES = 1
    """The same with all failures."""
    ALL = 2


class Caps(NamedTuple):
    """How many rows of a section float up at most."""

    failed: int = 10
    retry: int = 3
    running: int = 4

    @classmethod
    def for_height(cls, lines: int) -> Caps:
        """What suits a view of so many lines."""
        return cls(max(3, lines // 4), max(1, lines // 10), max(1, lines // 8))


class Block:
    """A row that stands by itself, and the rows of the task runs in it."""

    __slots__ = (
        "at", "children", "counts", "depth", "hits", "id", "kind", "mode", "name", "open",
        "order", "parent", "places", "rest", "size", "tids", "woken",
    )

    def __init__(
        self, kind: str, id: int, name: str, parent: Block | None, places: Sequence[int],
        order: int,
    ) -> None:
        self.kind, self.id, self.name, self.parent = kind, id, name, parent
        self.places: Sequence[int] = places
        """The sections in it, in order of definition."""
        self.order = order
        """Its place in order of definition."""
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.children: list[Block] = []
        self.counts = [0] * STATES
        self.at = 0
        """Its place among the blocks as sorted."""
        self.mode = Mode.SOME
        self.woken = False
        self.open = False
        self.tids: Sequence[int] = ()
        """The task runs that have rows of their own in it."""
        self.rest = False
        """True if a last row stands for the other ones."""
        self.hits = 0
        """How many of its task runs the filter keeps."""
        self.size = 0

    @property
    def key(self) -> tuple[str, int]:
        """What it is known by."""
        return self.kind, self.id

    @property
    def total(self) -> int:
        """How many task runs are in it."""
        return sum(self.counts)

    @property
    def is_bundle(self) -> bool:
        """True if rows of task runs are folded into it."""
        return self.kind in (SECTION, CHAIN)

    def path(self) -> Iterator[Block]:
        """It and what it is in, from the inside out."""
        block: Block | None = self
        while block is not None:
            yield block
            block = block.parent


class Rows:
    """The rows of one view. Call `refresh` before each frame."""

    def __init__(self, view: RunView, caps: Caps | None = None) -> None:
        self.view = view
        self.caps = caps if caps is not None else Caps()
        self.sort = Sort.DEFINITION
        self.filter: Filter | None = None
        self.pinned = -1
        """The task run whose row stays though it asks for nothing any more; -1: none."""
        self.groups: list[str] = []
        """Paths of the nested workflows that have rows."""
        self.top: list[Block] = []
        self._shape = view.shape
        self._owner: list[Block] = []
        self._blocks: dict[tuple[str, int], Block] = {}
        self._chosen: dict[tuple[str, int], bool] = {}
        """What a person opened (True) or folded."""
        self._modes: dict[tuple[str, int], Mode] = {}
        self._matches: dict[int, Sequence[int]] = {}
        """Section → what of it the filter keeps."""
        self._stale: set[int] = set()
        """Sections that changed since the filter saw them."""
        self._sizes = Sizes(())
        self._sorted: list[Block] = []
        self._known: list[list[int]] = []
        self._seen = -1
        self._now = 0.0
        self._build()

    def moved_to(self, view: RunView) -> Rows:
        """The rows of another view of the same workflow, with the choices made in this one."""
        other = Rows.__new__(Rows)
        other.__dict__.update(self.__dict__)
        other.view = view
        other._matches, other._stale = {}, set()
        other._build()
        return other

    # -- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        view = self.view
        self._shape = shape = view.shape
        self._seen = view.version
        self.top, self.groups, self._blocks = [], [], {}
        self._owner = []
        paths: dict[str, Block] = {}
        chains = chains_of(shape) if len(shape.sections) > SMALL else {}
        for section in shape.sections:
            parent = self._group(section.group, paths)
            self._owner.append(self._block_for(section, parent, chains))
        self._known = [list(counts) for counts in view.counts]
        for section, counts in zip(shape.sections, self._known, strict=True):
            for block in self._owner[section.place].path():
                for state, n in enumerate(counts):
                    block.counts[state] += n
        for key, mode in self._modes.items():
            if key in self._blocks:
                self._blocks[key].mode = mode
        if self.filter is not None:
            self._filter_all(None)
        self._arrange()

    def _group(self, path: str, paths: dict[str, Block]) -> Block | None:
        if not path:
            return None
        block = paths.get(path)
        if block is None:
            above, _, name = path.rpartition("/")
            parent = self._group(above, paths)
            block = Block(GROUP, len(self.groups), name, parent, [], len(self._blocks))
            self.groups.append(path)
            paths[path] = block
            self._put(block)
        return block

    def _block_for(
        self, section: Section, parent: Block | None, chains: dict[int, tuple[int, ...]]
    ) -> Block:
        place = section.place
        links = chains.get(place)
        if links is not None:
            known = self._blocks.get((CHAIN, links[0]))
            if known is not None:
                return known
            last = self._shape.sections[links[-1]].name
            block = Block(CHAIN, links[0], f"{section.name} → {last}", parent, links,
                          len(self._blocks))
        elif is_single(section):
            block = Block(TASK, section.nodes[0], section.name, parent, (place,),
                          len(self._blocks))
        else:
            block = Block(SECTION, place, section.name, parent, (place,), len(self._blocks))
        self._put(block)
        for above in block.path():
            if above.kind == GROUP:
                assert isinstance(above.places, list)
                above.places.extend(block.places)
        return block

    def _put(self, block: Block) -> None:
        self._blocks[block.key] = block
        (self.top if block.parent is None else block.parent.children).append(block)

    # -- order ------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Sort the blocks, and measure all of them anew."""
        self._sorted = []
        self._place(self.top)
        for block in self._sorted:
            self._measure(block)
        self._sizes = Sizes([block.size for block in self._sorted])

    def _place(self, blocks: list[Block]) -> None:
        for block in sorted(blocks, key=self._sort_key):
            block.at = len(self._sorted)
            self._sorted.append(block)
            self._place(block.children)

    def _sort_key(self, block: Block) -> tuple[object, ...]:
        if self.sort is Sort.ATTENTION:
            return rank(block.counts), block.order
        if self.sort is Sort.DURATION:
            return -self.seconds(block), block.order
        if self.sort is Sort.NAME:
            return block.name.casefold(), block.order
        return (block.order,)

    def seconds(self, block: Block) -> float:
        """How long what is in a block took, or has taken."""
        if block.kind == TASK:
            return self.view.seconds(block.id, self._now)
        return self.view.pace.elapsed(block.places, self._now)

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
        if block.kind == GROUP and len(self._shape.sections) <= SMALL:
            return True
        return block.woken

    def _is_hidden(self, block: Block) -> bool:
        if self.filter is not None and not block.hits:
            return True
        parent = block.parent
        return parent is not None and (not parent.open or not parent.size)

    def _fill(self, block: Block) -> None:
        if self.filter is not None:
            block.tids = self._in_order(self._kept(block))
        elif block.mode is Mode.ALL or block.total <= FEW:
            block.tids = self._in_order(self.all_of(block))
        else:
            block.tids = self._floating(block)
            block.rest = len(block.tids) < block.total

    def _in_order(self, tids: Sequence[int]) -> Sequence[int]:
        if self.sort is Sort.DEFINITION or not 1 < len(tids) <= _SORTABLE:
            return tids
        view = self.view
        if self.sort is Sort.DURATION:
            start, end, now = view.start, view.end, self._now
            return sorted(tids, key=lambda t: start[t] and start[t] - (end[t] or now))
        if self.sort is Sort.ATTENTION:
            return sorted(tids, key=lambda t: _URGENCY[view.state[t]])
        return sorted(tids, key=lambda t: view.name_of(t).casefold())

    def _floating(self, block: Block) -> list[int]:
        """What asks for attention, in order of urgency; each kind as it came, the oldest first."""
        caps = self.caps
        failed = caps.failed if block.mode is Mode.SOME else None
        found: list[int] = []
        for states, cap in (((TaskState.FAILED,), failed),
                            ((TaskState.UP_FOR_RETRY,), caps.retry),
                            ((TaskState.RUNNING, TaskState.CANCELLING), caps.running)):
            found += sorted(islice(self._hot(block, states), cap))
        if self._is_pinned(block) and self.pinned not in found:
            found.append(self.pinned)
        return found

    def _hot(self, block: Block, states: Sequence[TaskState]) -> Iterator[int]:
        for state in states:
            if not block.counts[state]:
                continue
            by_section = self.view.hot[state]
            for place in block.places:
                yield from by_section[place]

    def _kept(self, block: Block) -> Sequence[int]:
        """What the filter keeps of a bundle."""
        if len(block.places) == 1:
            return self._matches.get(block.places[0], ())
        return [tid for place in block.places for tid in self._matches.get(place, ())]

    def all_of(self, block: Block) -> Sequence[int]:
        """All task runs in a block, in order of definition."""
        if block.kind == TASK:
            return (block.id,)
        view, sections = self.view, self._shape.sections
        if len(block.places) == 1:
            return view.runs_of(sections[block.places[0]])
        return Chained([view.runs_of(sections[place]) for place in block.places])

    # -- taking in what changed -------------------------------------------------------------------

    def refresh(self, now: float = 0.0) -> bool:
        """Follow the view; True if rows may have come, gone or moved."""
        view = self.view
        if now:
            self._now = now
        if view.shape is not self._shape:
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
            for block in self._owner[place].path():
                if block not in touched:
                    touched[block] = rank(block.counts) if ranks else 0
            self._recount(place)
        if self.filter is not None:
            self._stale.update(changed)
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
        for block in self._owner[place].path():
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
        block = self._sorted[at]
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
            return self._owner[self.view.section[id]]
        if kind == REST:
            return self._owner[id] if 0 <= id < len(self._owner) else None
        return self._blocks.get((kind, id))

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
        return self._kept(block) if self.filter is not None else self.all_of(block)

    def hidden(self, block: Block) -> list[int]:
        """State → how many of a bundle's task runs its last row stands for."""
        left = list(block.counts)
        for tid in block.tids:
            left[self.view.state[tid]] -= 1
        return left

    # -- opening and folding ----------------------------------------------------------------------

    def set_open(self, kind: str, id: int, opened: bool) -> None:
        """Open or fold a row, until `open_all` or `forget`."""
        block = self._blocks.get((kind, id))
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
        return all(block.open for block in self._blocks.values() if block.kind != TASK)

    def open_all(self, opened: bool = True) -> None:
        """Open everything; or leave all to the rules again."""
        self._chosen.clear()
        if opened:
            self._chosen.update((key, True) for key in self._blocks if key[0] != TASK)
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

    def set_filter(self, wanted: Filter | None, now: float) -> None:
        """Show only what a filter keeps, with its parents; None or an empty one: everything."""
        before, self._now = self.filter, now
        self.filter = wanted or None
        self._chosen.clear()
        if self.filter is not None:
            narrowed = before is not None and not self._stale and self.filter.narrows(before)
            self._filter_all(self._matches if narrowed else None)
        else:
            self._matches, self._stale = {}, set()
        self._arrange()

    def _filter_all(self, among: dict[int, Sequence[int]] | None) -> None:
        self._stale.clear()
        matches: dict[int, Sequence[int]] = {}
        sections = self._shape.sections
        for place in range(len(sections)) if among is None else among:
            ids = self.view.runs_of(sections[place]) if among is None else among[place]
            kept = self._keep(ids)
            if kept:
                matches[place] = kept
        self._matches = matches
        self._count_hits()

    def _keep(self, ids: Sequence[int]) -> Sequence[int]:
        assert self.filter is not None
        return self.filter.select(self.view, ids, self._now)

    def _count_hits(self) -> None:
        for block in self._blocks.values():
            block.hits = 0
        for place, kept in self._matches.items():
            for block in self._owner[place].path():
                block.hits += len(kept)

    @property
    def is_stale(self) -> bool:
        """True if `refilter` would have something to do."""
        return bool(self._stale)

    def refilter(self, now: float) -> None:
        """Have the filter look again at what changed since it last did."""
        if self.filter is None or not self._stale:
            return
        self._now = now
        for place in self._stale:
            kept = self._keep(self.view.runs_of(self._shape.sections[place]))
            if kept:
                self._matches[place] = kept
            else:
                self._matches.pop(place, None)
        self._stale.clear()
        self._count_hits()
        self._arrange()

    def matches(self) -> Iterator[int]:
        """All that the filter keeps, in the order of rows; without one, all task runs."""
        for block in self._sorted:
            if block.kind == GROUP:
                continue
            if self.filter is None:
                yield from self.all_of(block)
            elif block.hits:
                yield from self._kept(block)

    @property
    def hits(self) -> int:
        """How many task runs the filter keeps; all, without one."""
        if self.filter is None:
            return self.view.size
        return sum(len(kept) for kept in self._matches.values())

    # -- failures, and what runs ------------------------------------------------------------------

    def failure(self, kind: str, id: int, *, back: bool = False) -> int:
        """The next failed task run behind a row, or the one before it, round and round; -1: none.
        """
        blocks = [b for b in self._sorted if b.kind != GROUP and b.counts[TaskState.FAILED]]
        if not blocks:
            return -1
        here = self.block_of(kind, id)
        at = here.at if here is not None else -1
        if here is not None and here in blocks:
            found = self._failure_beside(here, kind, id, back=back)
            if found >= 0:
                return found
        ahead = [b for b in blocks if b.at < at] if back else [b for b in blocks if b.at > at]
        others = [b for b in blocks if b not in ahead]
        for block in (*reversed(ahead), *reversed(others)) if back else (*ahead, *others):
            failed = self._failed(block)
            if failed:
                return failed[-1] if back else failed[0]
        return -1

    def _failure_beside(self, block: Block, kind: str, id: int, *, back: bool) -> int:
        failed = self._failed(block)
        if kind == REST:
            return failed[-1] if back and failed else -1
        if kind != TASK or block.kind == TASK:
            return -1 if back or block.kind == TASK or not failed else failed[0]
        if back:
            return max([t for t in failed if t < id], default=-1)
        return min([t for t in failed if t > id], default=-1)

    def _failed(self, block: Block) -> list[int]:
        """Failed task runs of a block that the filter does not keep out, by id."""
        if self.filter is None:
            return sorted(self._hot(block, (TaskState.FAILED,)))
        kept = self._matches
        state = self.view.state
        return sorted(tid for place in block.places for tid in kept.get(place, ())
                      if state[tid] == TaskState.FAILED)

    def running(self) -> int:
        """The first row of a task run that runs; -1 if none is in the tree as it is unfolded."""
        for block in self._sorted:
            if not block.size or not (block.counts[TaskState.RUNNING]
                                      or block.counts[TaskState.CANCELLING]):
                continue
            for tid in (block.id,) if block.kind == TASK else self._running_in(block):
                at = self.index_of(TASK, tid)
                if at >= 0:
                    return at
        return -1

    def _running_in(self, block: Block) -> Iterator[int]:
        if block.kind == GROUP:
            return iter(())
        return islice(self._hot(block, (TaskState.RUNNING, TaskState.CANCELLING)),
                      self.caps.running)


#: State → what asks for attention first.
_URGENCY = [0] * STATES
for _at, _state in enumerate((
    TaskState.FAILED, TaskState.UP_FOR_RETRY, TaskState.RUNNING, TaskState.CANCELLING,
    TaskState.QUEUED, TaskState.PENDING, TaskState.UPSTREAM_FAILED, TaskState.CANCELLED,
    TaskState.SKIPPED, TaskState.SUCCESS, TaskState.CACHED,
)):
    _URGENCY[_state] = _at
_BY_URGENCY = sorted(TaskState, key=lambda s: _URGENCY[s])


def foremost(counts: Sequence[int]) -> TaskState:
    """The state that a row of several task runs shows: what asks most for attention."""
    found = [s for s in _BY_URGENCY if counts[s]]
    if not found:
        return TaskState.SUCCESS  # a map of no items
    first = found[0]
    waits = first in (TaskState.PENDING, TaskState.QUEUED)
    if waits and any(IS_TERMINAL[s] for s in found):
        return TaskState.QUEUED  # begun: what is between two batches is no longer pending
    return first


def rank(counts: Sequence[int]) -> int:
    """Where a block stands if what asks for attention comes first."""
    return _URGENCY[foremost(counts)]


def is_single(section: Section) -> bool:
    """True if a section is one task run, and always will be."""
    return len(section.nodes) == 1 and not section.mapped


def chains_of(shape: Shape) -> dict[int, tuple[int, ...]]:
    """Section → the sections of the chain that it is a link of, in order.

    A link is one task run that waits for the one before it alone, and that alone waits for.
    """
    after: dict[int, int] = {}
    for section in shape.sections:
        if not is_single(section):
            continue
        above = shape.upstream(section.nodes[0])
        if len(above) != 1 or len(shape.downstream(above[0])) != 1:
            continue
        before = shape.sections[shape.section_of[above[0]]]
        if is_single(before) and before.group == section.group:
            after[before.place] = section.place
    chains: dict[int, tuple[int, ...]] = {}
    heads = after.keys() - set(after.values())
    for head in heads:
        links = [head]
        while links[-1] in after:
            links.append(after[links[-1]])
        if len(links) >= _CHAIN_LEAST:
            chains.update(dict.fromkeys(links, tuple(links)))
    return chains
