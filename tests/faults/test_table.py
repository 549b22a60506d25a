"""docs/durability.md names the tests that there are."""

from __future__ import annotations

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.table import PAGE, ROOT, collect, marks_of, table, written


def test_the_page_names_the_tests_that_inject_each_fault():
    page = PAGE.read_text()
    assert page == written(page, table(collect(ROOT / "tests"))), (
        "docs/durability.md is out of date: run python -m tests.faults.table")


def test_faults_are_numbered_without_a_gap():
    assert list(FAULTS) == list(range(1, 55))


def test_marks_are_found_on_functions_classes_parameters_and_files():
    found = list(marks_of("""
pytestmark = [pytest.mark.skipif(False), pytest.mark.fault(1)]

@pytest.mark.fault(2, 3)
def test_a(): ...

@pytest.mark.fault(4)
class TestB:
    @pytest.mark.fault(5)
    async def test_c(self): ...

@pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.fault(6))])
def test_d(x): pytest.mark.fault(7)
"""))
    assert found == [(1, ""), (2, "test_a"), (3, "test_a"), (4, "TestB"), (5, "TestB::test_c"),
                     (6, "test_d")]


def test_a_number_that_is_no_fault_is_refused():
    with pytest.raises(ValueError, match="99"):
        list(marks_of("@pytest.mark.fault(99)\ndef test_a(): ..."))
