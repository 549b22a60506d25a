"""What the screen says of a rerun is what the engine then does."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import task, workflow
from engine.front import open_stored
from engine.runtime.asking import asked_for
from flowforge_tui.downstream import taken_along
from flowforge_tui.model import RunView
from flowforge_tui.shape import Shape


@task
def twice(x):
    return 2 * x


@task
def total(xs):
    return sum(xs)


@workflow
def spread(n: int = 4):
    doubled = twice.map(list(range(n)))
    again = twice.options(name="again").map(doubled)
    apart = twice.options(name="apart").partial().map(x=again)
    return total(apart), total.options(name="early")(doubled)


@pytest.mark.parametrize("name", ["twice[2]", "again[0]", "apart", "total"])
def test_as_the_engine_finds_it(tmp_path: Path, name: str) -> None:
    run = spread.options(home=tmp_path).run()
    stored = open_stored(tmp_path, run.run_id)
    outline, record = stored.history.outline, stored.record
    assert outline is not None
    view = RunView.of_record(Shape(outline), record)
    found = asked_for(outline, record, "rerun", [name])
    roots = [t for t, why in found.items() if why == "rerun was asked for"]
    assert {*roots, *taken_along(view, roots)} == found.keys()
