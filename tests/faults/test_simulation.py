"""A hundred seeds of the simulation; `python -m tests.faults.simulation` does it by the thousand.

And that it can fail: engines with known faults are found out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.core.machine import Machine
from engine.core.record import RunRecord
from engine.runtime.recorder import Recorder
from tests.faults.simulation import simulate, simulate_many


@pytest.mark.fault(13, 16, 18, 32, 34, 39)
def test_a_hundred_seeds(tmp_path: Path):
    faults, broken, found = simulate_many(range(1, 101), tmp_path)
    assert broken is None, f"seed {broken}: {found}"
    assert {"crash", "crash before commit", "crash after commit", "commit error", "full", "death",
            "late", "edit", "damage", "clock set", "suspended"} <= set(faults)


def test_a_seed_is_the_same_every_time(tmp_path: Path):
    first, second = (simulate(7, tmp_path)[0] for _ in range(2))
    assert first.story == second.story and first.book.begun == second.book.begun


# -- engines that break a promise ------------------------------------------------------------------


def caught(folder: Path) -> str:
    _, broken, found = simulate_many(range(1, 400), folder)
    assert broken is not None, "it went unnoticed"
    return found


def test_an_engine_that_tells_before_it_writes_is_caught(tmp_path: Path, monkeypatch: Any):
    real = Recorder._write

    def hasty(self: Recorder) -> bool:
        publish, self._publish = self._publish, lambda changes: None
        for changes in list(self._waiting):
            publish(changes)
        try:
            return real(self)
        finally:
            self._publish = publish

    monkeypatch.setattr(Recorder, "_write", hasty)
    caught(tmp_path)


def test_an_engine_that_takes_late_outcomes_is_caught(tmp_path: Path, monkeypatch: Any):
    real = Machine.finish

    def credulous(self: Machine, attempts: Any, now: float) -> None:
        attempts = list(attempts)
        for a in attempts:
            if a.tid in self.in_hand:
                self.in_hand[a.tid] = a
        real(self, attempts, now)

    monkeypatch.setattr(Machine, "finish", credulous)
    caught(tmp_path)


def test_an_engine_that_forgets_what_must_not_be_repeated_is_caught(
    tmp_path: Path, monkeypatch: Any
):
    monkeypatch.setattr(RunRecord, "was_interrupted", lambda self, tid: False)
    caught(tmp_path)


def test_an_engine_that_discards_too_much_is_caught(tmp_path: Path, monkeypatch: Any):
    real = Machine.retry
    monkeypatch.setattr(Machine, "retry", lambda self, tids, now: real(
        self, tids, now) and self.rerun(range(self.graph.size), now))
    caught(tmp_path)
