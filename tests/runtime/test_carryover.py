"""Which items of a map that is made anew are the same as before."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from engine.runtime.carryover import Carryover


def carried(
    old: Sequence[str], new: Sequence[str], done: set[int], names: Sequence[str] | None = None
) -> dict[int, int]:
    """Index → the old index whose result it takes over; the old items have ids from 10 on."""
    carryover = Carryover(
        {0: (10, len(old), names, old)}, done=lambda tid: tid - 10 in done,
        there=lambda tid: tid - 10 in done)
    return {i: tid - 10 for i, tid in carryover.match(0, len(new), names, new).carried}


@pytest.mark.parametrize("done", [{0, 2}, {1}, {3}, {0, 1, 2, 3}, set()])
def test_of_equal_items_each_keeps_its_own_result(done: set[int]) -> None:
    """Else another one would run, under the idempotency key of one that has succeeded."""
    assert carried("aaaa", "aaaa", done) == {i: i for i in done}


def test_results_go_with_the_values_where_places_change() -> None:
    assert carried("abc", "xabc", {0, 2}) == {1: 0, 3: 2}
    assert carried("abc", "c", {0, 2}) == {0: 2}
    assert carried("aab", "baa", {0, 1, 2}) == {0: 2, 1: 0, 2: 1}
    assert carried("aab", "aaab", {1}) == {1: 1}
    assert carried("aba", "baa", {0, 2}) == {1: 0, 2: 2}
    assert carried("aaaa", "aa", {1, 3}) == {0: 1, 1: 3}
    assert carried("aaa", "a", {2}) == {0: 2}


def test_names_and_values_must_both_be_the_same() -> None:
    assert carried("aa", "aa", {1}, names=("k", "l")) == {1: 1}
    assert carried("ab", "ac", {0, 1}, names=("k", "l")) == {0: 0}
