"""The tables of states, rules and retries."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.diagram import mermaid
from engine.core.retry import LONGEST, RetryPolicy
from engine.core.rules import EAGER, RULES, RUN, WAIT, Tally
from engine.core.states import (
    GOOD,
    IS_GOOD,
    IS_TERMINAL,
    RESETS,
    TERMINAL,
    TRANSITIONS,
    TaskState,
)

DESIGN = Path(__file__).parents[2] / "DESIGN.md"


def test_every_state_has_its_row_and_terminal_ones_are_left_by_people_alone():
    assert set(TRANSITIONS) == set(TaskState)
    assert all(bool(TRANSITIONS[s]) != (s in TERMINAL) for s in TaskState)
    assert set(RESETS) == TERMINAL


def test_the_byte_tables_say_what_the_sets_say():
    for s in TaskState:
        assert IS_TERMINAL[s] == (s in TERMINAL)
        assert IS_GOOD[s] == (s in GOOD)


def test_the_diagram_in_the_design_is_the_one_of_the_tables():
    assert f"```mermaid\n{mermaid()}\n```" in DESIGN.read_text(encoding="utf-8"), (
        "DESIGN.md is out of date: paste the output of `python -m engine.core.diagram`"
    )


def tallies(most=2):
    return [Tally(*counts) for counts in product(range(most), repeat=6)]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rule_that_has_answered_does_not_change_its_mind(rule):
    """More ends may turn WAIT into an answer, never RUN into another answer."""
    for tally in tallies():
        if not tally.open or RULES[rule](tally) is not RUN:
            continue
        assert rule in EAGER
        for column in range(5):
            later = list(tally)
            later[column] += 1
            later[5] -= 1
            assert RULES[rule](Tally(*later)) is RUN


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_answers_once_all_has_ended(rule):
    for tally in tallies(3):
        if not tally.open:
            assert RULES[rule](tally) is not WAIT, tally


@pytest.mark.parametrize(
    ("rule", "tally", "answer"),
    [
        ("all_success", Tally(success=2), RUN),
        ("all_success", Tally(success=1, open=1), WAIT),
        ("all_success", Tally(failed=1, open=1), TaskState.UPSTREAM_FAILED),
        ("all_success", Tally(success=1, skipped=1), TaskState.SKIPPED),
        ("all_success", Tally(success=1, skipped=1, cancelled=1), TaskState.CANCELLED),
        ("all_done", Tally(failed=1, skipped=1), RUN),
        ("all_failed", Tally(failed=1, upstream_failed=1), RUN),
        ("all_failed", Tally(failed=1, success=1), TaskState.SKIPPED),
        ("all_skipped", Tally(skipped=2), RUN),
        ("one_success", Tally(success=1, open=3), RUN),
        ("one_success", Tally(failed=2), TaskState.UPSTREAM_FAILED),
        ("one_failed", Tally(failed=1, open=1), RUN),
        ("one_failed", Tally(success=2), TaskState.SKIPPED),
        ("one_done", Tally(success=1, open=1), RUN),
        ("one_done", Tally(skipped=1), TaskState.SKIPPED),
        ("none_failed", Tally(success=1, skipped=1), RUN),
        ("none_failed", Tally(upstream_failed=1, open=1), TaskState.UPSTREAM_FAILED),
        ("none_skipped", Tally(success=1, failed=1), RUN),
        ("none_skipped", Tally(skipped=1, open=1), TaskState.SKIPPED),
        ("none_failed_min_one_success", Tally(success=1, skipped=1), RUN),
        ("none_failed_min_one_success", Tally(skipped=2), TaskState.SKIPPED),
        ("always", Tally(open=3), RUN),
    ],
)
def test_rules_mean_what_airflow_means(rule, tally, answer):
    assert RULES[rule](tally) == answer


# -- retries ------------------------------------------------------------------------------


def delays(policy, random=lambda: 0.5):
    return [policy.next_delay(n, random) for n in range(1, policy.retries + 2)]


def test_delays_follow_their_policy():
    assert delays(RetryPolicy(2, 1.5)) == [1.5, 1.5, None]
    assert delays(RetryPolicy(3, 1.0, backoff=2.0)) == [1.0, 2.0, 4.0, None]
    assert delays(RetryPolicy(3, 1.0, backoff=10.0, max_delay=5.0)) == [1.0, 5.0, 5.0, None]
    assert delays(RetryPolicy(4, [1, 5])) == [1.0, 5.0, 5.0, 5.0, None]
    assert RetryPolicy(1, lambda attempt: 9.0).next_delay(1, lambda: 0.5, asked=9.0) == 9.0


def test_a_delay_that_doubles_for_ever_is_still_a_number():
    capped = RetryPolicy(10_000, 1.0, backoff=2.0, max_delay=60.0)
    assert capped.next_delay(5_000, lambda: 0.5) == 60.0
    assert RetryPolicy(10_000, 1.0, backoff=2.0).next_delay(5_000, lambda: 0.5) == LONGEST
    assert RetryPolicy(10_000, 0.0, backoff=2.0).next_delay(5_000, lambda: 0.5) == 0.0


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # not a matter of speed
@given(
    retries=st.integers(0, 5), delay=st.floats(0, 100), backoff=st.floats(1, 4),
    jitter=st.floats(0, 1), limit=st.none() | st.floats(0, 50), luck=st.floats(0, 0.999),
)
def test_delays_stay_within_bounds(retries, delay, backoff, jitter, limit, luck):
    policy = RetryPolicy(retries, delay, backoff, jitter, limit)
    for n, seconds in enumerate(delays(policy, lambda: luck), start=1):
        if n > retries:
            assert seconds is None
            continue
        exact = delay * backoff ** (n - 1)
        assert 0 <= seconds <= exact * (1 + jitter) + 1e-9
        assert limit is None or seconds <= limit


def test_a_state_is_told_by_its_name():
    state = TaskState.SUCCESS
    assert str(state) == f"{state}" == "SUCCESS" and f"{state:>9}" == "  SUCCESS"
    assert state == 4
