"""What the graph of a run looks like to a screen: task runs by name, in sections and groups.

Rule 1: made from the outline that is stored with a run, so that a live run, an attached one
        and one long ended look the same.
Rule 2: a section is the calls of one declared task in one nested workflow: a line of the
        tree, whether it stands for one task run or for a hundred thousand.
Rule 3: ids are those of the run's record: nodes first, then the items of maps.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from engine.front import Outline


class Section(NamedTuple):
    """The calls of one declared task in one nested workflow."""

    place: int
    """Its index among the run's sections."""
    group: str
    """Path of the nested workflow, `outer/inner`; empty at the top."""
    name: str
    """The task's own name, without the group's. Untrusted text."""
    nodes: Sequence[int]
    """In order of definition; a range where they are neighbours."""
    mapped: bool
    """True if its task runs are the items of a map."""


class Shape:
    """A run's graph, read-only."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self.workflow: str = outline.name
        self.names: Sequence[str] = outline.names
        """Node → its name. Untrusted text."""
        self.size = outline.size
        """How many nodes; ids from here on are items of maps."""
        self.section_of = array("I", bytes(4 * self.size))
        """Node → place of its section."""
        self.sections: list[Section] = self._sections()

    @classmethod
    def empty(cls) -> Shape:
        """Of a run of which nothing is known yet."""
        from engine.front import Outline

        return cls(Outline(""))

    def _sections(self) -> list[Section]:
        outline = self._outline
        found: dict[tuple[int, int], list[int]] = {}
        places = zip(outline.group_of, outline.spec_of, strict=True)
        for node, key in enumerate(places):
            found.setdefault(key, []).append(node)
        sections = []
        for place, ((group, spec), nodes) in enumerate(found.items()):
            for node in nodes:
                self.section_of[node] = place
            sections.append(Section(
                place, outline.groups[group], outline.specs[spec].name, _as_range(nodes),
                any(node in outline.maps for node in nodes)))
        return sections

    # -- dependencies ----------------------------------------------------------------------

    def upstream(self, node: int) -> Sequence[int]:
        """The nodes that a node waits for."""
        return self._outline.upstream_of(node)

    def downstream(self, node: int) -> Sequence[int]:
        """The nodes that wait for a node."""
        return self._below[node]

    @cached_property
    def _below(self) -> list[list[int]]:
        below: list[list[int]] = [[] for _ in range(self.size)]
        for node in range(self.size):
            for above in self._outline.upstream_of(node):
                below[above].append(node)
        return below

    def is_mapped(self, node: int) -> bool:
        """True if the node's task runs are the items of a map."""
        return node in self._outline.maps

    def tries_of(self, node: int) -> int:
        """How many attempts a node's task runs have before they are FAILED; crashes are extra."""
        return self._outline.spec(node).retries + 1

    def follows(self, node: int) -> Sequence[int]:
        """The mapped nodes that a mapped node goes along with item by item."""
        mapped = self._outline.maps.get(node)
        return mapped.sources if mapped is not None else ()


def _as_range(nodes: list[int]) -> Sequence[int]:
    """Neighbours as a range, which is counted and sliced at the speed of bytes."""
    first, last = nodes[0], nodes[-1]
    return range(first, last + 1) if last - first == len(nodes) - 1 else nodes
