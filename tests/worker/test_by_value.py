"""What travels to another process by value, and on which class its values are rebuilt."""

from __future__ import annotations

import dataclasses
import pickle

from engine.worker import by_value, classes


def test_a_frozen_class_with_slots_is_not_taken_for_the_one_it_was_made_from() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Row:
        n: int

    ref = classes.class_ref(Row)
    sent = by_value.dumps([Row])
    assert classes.resolve(ref) is Row
    assert pickle.loads(sent) == [Row]


def test_code_keeps_the_name_of_its_file() -> None:
    def outer() -> object:
        def inner() -> None: ...
        return inner

    back = pickle.loads(by_value.dumps(outer))
    assert back.__code__.co_filename == back().__code__.co_filename == __file__
