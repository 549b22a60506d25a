from __future__ import annotations

import logging

import pytest

from engine.errors import FlowForgeError, NotInTask
from engine.worker.context import RunScope, current
from tests.worker.doubles import Recorder, inside, make_attempt


def test_outside_a_task_current_says_what_to_do() -> None:
    with pytest.raises(NotInTask, match="inside a task's function") as caught:
        current()
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, FlowForgeError)


def test_a_task_learns_who_it_is() -> None:
    with inside(make_attempt(Recorder("r1"), index=3, number=2, generation=4)):
        me = current()
        assert (me.run_id, me.task_id, me.generation, me.attempt) == ("r1", "double[3]", 4, 2)
        assert me.attempt_id == "r1/double[3]/4.2"


def test_plain_tasks_carry_their_bare_name() -> None:
    with inside(make_attempt()):
        assert current().task_id == "double"


def key(run: str = "r", **attempt: object) -> str:
    with inside(make_attempt(Recorder(run), **attempt)):  # type: ignore[arg-type]
        return current().idempotency_key


def test_the_idempotency_key_is_stable_across_attempts_and_sessions() -> None:
    assert key(number=1) == key(number=5)
    # A fixed value: the key must not change from one release to the next either, or a resume
    # after an upgrade would repeat effects.
    assert key("20261122-120000-abcd", index=3) == "f717940a75ac321aac8194b9939e303a"


@pytest.mark.parametrize(
    "other", [{"run": "s"}, {"generation": 1}, {"index": 0}, {"name": "triple"}]
)
def test_the_idempotency_key_tells_apart_what_is_apart(other: dict[str, object]) -> None:
    assert key(**other) != key()  # type: ignore[arg-type]


def test_names_cannot_be_shifted_into_one_another() -> None:
    assert key("a1", name="b") != key("a", name="1b")


def test_names_of_any_text_have_a_key() -> None:
    assert len(key(name="\udcff\0/../" + "x" * 300)) == 32


def test_progress_and_cancellation_go_through_the_run() -> None:
    run = Recorder()
    with inside(make_attempt(run, 7)) as attempt:
        current().progress(3, 10)
        current().progress(4)
        assert not current().cancelled()
        attempt.cancelled = True
        assert current().cancelled()
    assert run.steps == [(7, 3, 10), (7, 4, None)]


def test_the_log_lets_every_level_through() -> None:
    with inside(make_attempt()):
        assert current().log.isEnabledFor(logging.DEBUG)


def test_a_bare_scope_keeps_nothing_and_harms_nothing() -> None:
    attempt = make_attempt(RunScope("r"))
    with inside(attempt):
        current().progress(1, 2)
        attempt.run.write(attempt, "out", logging.INFO, "text\n")
    assert attempt.run.home is None
