"""What a handle, and the value that is missing, say to one who takes them for a value."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import pytest

from engine.core.dag import Dag
from engine.core.handles import Handle, Missing
from engine.core.tasks import TaskSpec


def test_an_attribute_of_a_handle_names_attr() -> None:
    handle = Handle(Dag("d").add(TaskSpec("one", int), (), {}))
    with pytest.raises(AttributeError, match=r"write \.attr\('total'\)"):
        _ = handle.total
    assert not hasattr(handle, "__fspath__")
    assert copy.copy(handle).node is handle.node


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
