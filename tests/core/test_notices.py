import dataclasses
import pickle

import pytest

from engine.core.notices import RunEnded, TaskFailed, TaskNotice, TaskRetrying, TaskSucceeded
from engine.core.states import RunState, TaskState


def test_notices_are_values() -> None:
    a = TaskFailed("run-1", 5.0, "double[3]", TaskState.FAILED, attempt=2, seconds=0.5)
    b = TaskFailed("run-1", 5.0, "double[3]", TaskState.FAILED, attempt=2, seconds=0.5)
    assert a == b and hash(a) == hash(b)
    assert a != TaskSucceeded("run-1", 5.0, "double[3]", TaskState.FAILED, 2, seconds=0.5)
    assert isinstance(a, TaskNotice) and repr(a).startswith("TaskFailed(run_id='run-1'")
    assert pickle.loads(pickle.dumps(a)) == a
    with pytest.raises(dataclasses.FrozenInstanceError):
        a.task = "other"  # type: ignore[misc]
    assert not hasattr(a, "__dict__")


def test_notices_with_fields_of_their_own() -> None:
    assert TaskRetrying("r", 1.0, "t", TaskState.UP_FOR_RETRY, wait=2.0).wait == 2.0
    assert RunEnded("r", 1.0, "w", RunState.SUCCESS, counts={"SUCCESS": 3}).counts["SUCCESS"] == 3
