"""What rows are folded into: a workflow's groups, chains and sections, and its single tasks.

Rule 1: a block is (kind, id), the same in every view of one workflow; each section's task runs
        are in one block.
Rule 2: where there are many sections, single tasks one after the other are one chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum

from flowforge_tui.run_columns import STATES
from flowforge_tui.shape import Section, Shape

GROUP, SECTION, CHAIN, TASK, REST = "group", "section", "chain", "task", "rest"

#: Trees of at most so many sections show their groups open, and no chain folded.
_SMALL = 24

#: Single tasks, one after the other, that fold into a row where there are many sections.
_CHAIN_LEAST = 4


class Mode(IntEnum):
    """What an open section shows."""

    SOME = 0
    """What asks for attention, a few of each."""
    FAILURES = 1
    """The same with all failures."""
    ALL = 2


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


class Blocks:
    """The blocks of a workflow, in order of definition."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.top: list[Block] = []
        self.by_key: dict[tuple[str, int], Block] = {}
        self._groups: dict[str, Block] = {}
        """By the nested workflow's path."""
        self.few = len(shape.sections) <= _SMALL
        """True if they are so few that groups may stand open and nothing is chained."""
        chains = {} if self.few else chains_of(shape)
        self.owner = [self._block_for(section, chains) for section in shape.sections]
        """Section → the block that its task runs are in."""

    def _group(self, path: str) -> Block | None:
        if not path:
            return None
        block = self._groups.get(path)
        if block is None:
            above, _, name = path.rpartition("/")
            parent = self._group(above)
            block = self._add(GROUP, len(self._groups), name, parent, [])
            self._groups[path] = block
        return block

    def _block_for(self, section: Section, chains: dict[int, tuple[int, ...]]) -> Block:
        place, parent = section.place, self._group(section.group)
        links = chains.get(place)
        if links is not None:
            known = self.by_key.get((CHAIN, links[0]))
            if known is not None:
                return known
            last = self.shape.sections[links[-1]].name
            block = self._add(CHAIN, links[0], f"{section.name} → {last}", parent, links)
        elif is_single(section):
            block = self._add(TASK, section.nodes[0], section.name, parent, (place,))
        else:
            block = self._add(SECTION, place, section.name, parent, (place,))
        for above in block.path():
            if above.kind == GROUP:
                assert isinstance(above.places, list)
                above.places.extend(block.places)
        return block

    def _add(
        self, kind: str, id: int, name: str, parent: Block | None, places: Sequence[int]
    ) -> Block:
        block = Block(kind, id, name, parent, places, len(self.by_key))
        self.by_key[block.key] = block
        (self.top if parent is None else parent.children).append(block)
        return block


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
