"""Names of task runs, both ways: `double`, `double[3]`, `double[eu-west]`, `group/double`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from engine.errors import RunError

Expansion = Callable[[int], tuple[int, int, Sequence[str] | None] | None]


class Names:
    """The names of one run's task runs, given its nodes' names and its expansions."""

    def __init__(self, nodes: Sequence[str], expansion: Expansion) -> None:
        self._nodes = nodes
        self._expansion = expansion
        self._index: dict[str, int] | None = None

    def item(self, node: int, index: int) -> str:
        """The name of an item, or of the node itself if `index` is negative."""
        if index < 0:
            return self._nodes[node]
        spread = self._expansion(node)
        keys = spread[2] if spread is not None else None
        return f"{self._nodes[node]}[{keys[index] if keys else index}]"

    def of(self, tid: int, node: int) -> str:
        """The name of a task run, given its id and its node."""
        if tid < len(self._nodes):
            return self._nodes[tid]
        spread = self._expansion(node)
        return self.item(node, tid - spread[0] if spread is not None else -1)

    def find(self, text: str) -> list[int]:
        """The ids that a name means: one, or of a group's name the group's.

        Raises RunError with near names.
        """
        if self._index is None:
            self._index = {name: i for i, name in enumerate(self._nodes)}
        if text in self._index:
            return [self._index[text]]
        stem, bracket, rest = text.rpartition("[")
        node = self._index.get(stem) if bracket and rest.endswith("]") else None
        if node is not None:
            spread = self._expansion(node)
            if spread is not None:
                found = _item(spread, rest[:-1])
                if found is not None:
                    return [found]
            raise RunError(f"{stem!r} has no item {rest[:-1]!r}"
                           f"{'' if spread is None else f'; it has {spread[1]}'}")
        inside = [i for name, i in self._index.items() if name.startswith(f"{text}/")]
        if inside:
            return inside
        task, item = (stem, f"[{rest}") if bracket and rest.endswith("]") else (text, "")
        near = [name for name in self._index if name.endswith(f"/{task}")][:3]
        near = near or difflib.get_close_matches(task, list(self._index), 3)
        hint = f"; did you mean {', '.join(name + item for name in near)}?" if near else ""
        raise RunError(f"no task is named {text!r} in this run{hint}")


def _item(spread: tuple[int, int, Sequence[str] | None], label: str) -> int | None:
    base, count, keys = spread
    if keys is not None and label in keys:
        return base + list(keys).index(label)
    if label.isdecimal() and keys is None and int(label) < count:
        return base + int(label)
    return None
