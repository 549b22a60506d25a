"""Sizes in a row, with sums and searches in O(log n): which block a line is in."""

from __future__ import annotations

from collections.abc import Sequence


class Sizes:
    """Non-negative sizes of a fixed number of blocks (a Fenwick tree)."""

    __slots__ = ("_count", "_sums", "_top", "total")

    def __init__(self, sizes: Sequence[int]) -> None:
        n = self._count = len(sizes)
        self._top = 1 << n.bit_length() >> 1
        self.total = sum(sizes)
        sums = self._sums = [0, *sizes]
        for i in range(1, n + 1):
            above = i + (i & -i)
            if above <= n:
                sums[above] += sums[i]

    def add(self, at: int, more: int) -> None:
        """Block `at` takes `more` lines; negative: fewer."""
        self.total += more
        sums, n, i = self._sums, self._count, at + 1
        while i <= n:
            sums[i] += more
            i += i & -i

    def before(self, at: int) -> int:
        """How many lines come before block `at`."""
        sums, total, i = self._sums, 0, at
        while i:
            total += sums[i]
            i &= i - 1
        return total

    def find(self, line: int) -> tuple[int, int]:
        """(the block that a line is in, which of its lines it is). Raises IndexError."""
        if not 0 <= line < self.total:
            raise IndexError(line)
        sums, n, at, step = self._sums, self._count, 0, self._top
        while step:
            ahead = at + step
            if ahead <= n and sums[ahead] <= line:
                at = ahead
                line -= sums[ahead]
            step >>= 1
        return at, line
