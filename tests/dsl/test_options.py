from datetime import timedelta
from typing import Any

import pytest

from engine import task
from engine.core.tasks import TaskOptions
from engine.dsl.options import TASK_OPTIONS
from engine.errors import DefinitionError, UnknownOptionError


def options(**given: Any) -> TaskOptions:
    return task(**given)(lambda: None).spec.options


def test_every_option_of_the_contract_exists() -> None:
    assert sorted(TASK_OPTIONS) == sorted(
        "name retries retry_delay retry_backoff retry_jitter max_retry_delay retry_on timeout "
        "deadline executor limits priority trigger_rule when cache cache_key persist outputs "
        "on_interrupt version tags".split()
    )


def test_options_reach_the_spec() -> None:
    given = options(
        retries=3, retry_delay=[1, 2.5], retry_backoff=2, retry_jitter=0.1, max_retry_delay=60,
        retry_on=(ValueError, OSError), timeout=timedelta(minutes=1), deadline=90,
        executor="process", limits={"gpu": 1}, priority=-1, trigger_rule="all_done", cache=True,
        cache_key="k", persist=True, outputs=2, on_interrupt="fail", version=3, tags=["a", "b"],
    )
    retry = given.retry
    assert (retry.retries, retry.delay, retry.backoff, retry.jitter, retry.max_delay) == (
        3, (1.0, 2.5), 2.0, 0.1, 60.0
    )
    assert retry.on == (ValueError, OSError)
    assert (given.timeout, given.deadline, given.executor) == (60.0, 90.0, "process")
    assert (given.limits, given.priority, given.trigger_rule) == ({"gpu": 1}, -1.0, "all_done")
    assert (given.cache, given.cache_key, given.persist, given.outputs) == (True, "k", True, 2)
    assert (given.on_interrupt, given.version, given.tags) == ("fail", "3", ("a", "b"))
    assert given.solo


def test_what_must_not_be_repeated_is_kept() -> None:
    assert not options(persist=False).persist
    with pytest.raises(DefinitionError, match="leave one of them out"):
        options(persist=False, on_interrupt="fail")


def test_tasks_without_options_share_them() -> None:
    assert options() is options()
    assert options(timeout=None) is options()


def test_callable_delays_and_predicates() -> None:
    def delay(attempt: int) -> float:
        return attempt

    def again(error: BaseException) -> bool:
        return True

    retry = options(retry_delay=delay, retry_on=again).retry
    assert retry.delay is delay and retry.on is again
    assert options(retry_on=ValueError).retry.on == (ValueError,)
    assert options(retry_on=[ValueError]).retry.on == (ValueError,)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"retrys": 3}, "did you mean 'retries'"),
        ({"time_out": 3}, "did you mean 'timeout'"),
        ({"xyzzy": 3}, "the options are: cache, cache_key"),
    ],
)
def test_an_unknown_option_is_an_error_with_a_suggestion(given: Any, says: str) -> None:
    with pytest.raises(UnknownOptionError, match=says):
        task(**given)
    with pytest.raises(UnknownOptionError, match=says):
        task(lambda: None).options(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"name": ""}, {"name": 3}, {"retries": -1}, {"retries": 1.5}, {"retries": True},
        {"retries": None}, {"retry_delay": -1}, {"retry_delay": [1, "x"]}, {"retry_delay": "1"},
        {"retry_backoff": 0.5}, {"retry_jitter": 2}, {"retry_jitter": -0.1},
        {"max_retry_delay": "x"}, {"retry_on": 3}, {"retry_on": int}, {"retry_on": [3]},
        {"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"deadline": "1h"},
        {"executor": "threads"}, {"limits": ["gpu"]}, {"limits": {"gpu": 0}},
        {"limits": {3: 1}}, {"priority": "high"}, {"trigger_rule": "all_sucess"},
        {"persist": 1}, {"outputs": 0}, {"on_interrupt": "ignore"}, {"version": True},
        {"tags": 3}, {"tags": [""]}, {"cache": -1}, {"cache_key": 3},
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_option(given: Any) -> None:
    with pytest.raises(DefinitionError, match=next(iter(given))):
        options(**given)


def test_a_misspelt_word_gets_a_suggestion() -> None:
    with pytest.raises(DefinitionError, match="did you mean 'all_success'"):
        options(trigger_rule="all_sucess")
