"""What a handle, and the value that is missing, say to one who takes them for a value."""

from __future__ import annotations

import copy
import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import pytest

from engine.core.dag import Dag
from engine.core.handles import Handle, Missing, substitute
from engine.core.tasks import TaskSpec


def handle() -> Handle:
    return Handle(Dag("d").add(TaskSpec("one", int), (), {}))


def test_an_attribute_of_a_handle_names_attr() -> None:
    one = handle()
    with pytest.raises(AttributeError, match=r"write \.attr\('total'\)"):
        _ = one.total
    assert not hasattr(one, "__fspath__")
    assert copy.copy(one).node is one.node


@pytest.mark.parametrize("use", [
    len, iter, int, operator.itemgetter(0), operator.attrgetter("total"), operator.call,
    lambda m: m == 1, lambda m: m != "done", lambda m: 1 in [m], lambda m: m + 1, lambda m: m < 1,
])
def test_a_missing_value_refuses_every_use(use: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match=r"ended FAILED \(E: x\); test it with `if not value:`"):
        use(Missing("FAILED", "error", "E: x"))


def test_a_missing_value_can_be_tested_shown_and_found_again() -> None:
    missing = Missing("SKIPPED")
    assert not missing and "SKIPPED" in f"{missing}"
    assert missing == Missing("SKIPPED") and missing != Missing("FAILED")
    assert len({missing, Missing("SKIPPED")}) == 1


def test_a_dataclass_is_rebuilt_with_its_attributes_in_their_order() -> None:
    names = [f"field{i}" for i in range(20)]
    Wide = dataclasses.make_dataclass("Wide", names)
    wide = Wide(*[handle() for _ in names])
    wide.more = 1
    rebuilt = substitute(wide, lambda h: 0)
    assert list(vars(rebuilt)) == [*names, "more"]
    assert rebuilt == Wide(*[0] * 20) and rebuilt.more == 1


def test_a_dataclass_with_slots_is_rebuilt_with_those_that_are_set() -> None:
    Slim = dataclasses.make_dataclass("Slim", ["x", "y"], slots=True)
    slim = Slim(handle(), 2)
    del slim.y
    rebuilt = substitute(slim, lambda h: 1)
    assert rebuilt.x == 1 and not hasattr(rebuilt, "y")
