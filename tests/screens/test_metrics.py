"""The metrics panel: what it says, what it leaves out where room ends, and what a frame costs."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from engine import RunState, TaskState
from engine.core.events import Moved, RunMoved
from engine.front import Gauges, Lane, Limit, Sample
from flowforge_tui.figures import Figures
from flowforge_tui.look import Look
from flowforge_tui.model import RunView
from flowforge_tui.shape import Shape
from flowforge_tui.widgets.metrics import MetricsPanel
from tests.screens.made import BEGAN, attempt, begun, failed, started, succeeded
from tests.screens.pilot import drive, text_of

NOW = BEGAN + 10
LANES = (Lane("process", 4, 3, 0), Lane("async", 10_000, 212, 0))
GAUGES = [
    Gauges(BEGAN + i, "RUNNING", LANES, (Limit("gpu", 2, 2, 5), Limit("unused", 0, 9, 0)), 0,
           Sample(BEGAN + i, 1.75, 484 << 20, 5, 0.25, 84 << 20))
    for i in range(10)
]


def busy() -> RunView:
    view = begun(("extract", 400), ("load[x]\x1b]0;gone\x07", 600))
    view.apply([succeeded([attempt(i, i / 40, 0.012, worker=i % 4) for i in range(390)])])
    view.apply([failed(attempt(390, 9.5, 0.1), due=9.6), failed(attempt(390, 9.7, 0.1, number=2)),
                Moved(range(500, 900), TaskState.QUEUED, -1, ""),
                started([attempt(400, 7), attempt(401, 9)])])
    return view


def shown(size: tuple[int, int], view: RunView, *, look: Look | None = None,
          gauges: list[Gauges] = GAUGES) -> list[str]:
    rows: list[str] = []

    async def act(panel: MetricsPanel, pilot: Pilot[None]) -> None:
        figures = Figures(view)
        figures.look()
        for told in gauges or [None]:
            panel.frame(figures, NOW, told)
        await pilot.pause()
        rows.extend(text_of(panel))

    drive(lambda: MetricsPanel(look), act, size)
    return rows


def test_all_figures_are_there() -> None:
    text = "\n".join(shown((60, 20), busy()))

    for told in ("tasks/s", "40 ", "peak", "queue    400", "running 2", "process", " 3/4",
                 "212/10.0k", "gpu", "2/2", "p50 12ms", "max 12ms", "failures 2", "retries 1",
                 "longest", "3.0s", "eng 0.25", "4w", "1.50", "84.0M", "400M", "ETA –"):
        assert told in text
    assert "unused" not in text, "a limit that nothing uses"


def test_names_from_outside_are_made_safe() -> None:
    text = "\n".join(shown((60, 20), busy()))

    assert "load[x]" in text
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize("width", [20, 40, 60, 100])
@pytest.mark.parametrize("height", [1, 4, 8, 12, 20, 40])
def test_it_fits_whatever_room_there_is(width: int, height: int) -> None:
    rows = shown((width, height), busy())

    assert len(rows) == height
    assert all(len(row) <= width for row in rows)
    assert rows[0].startswith(" tasks/s")


def test_eight_rows_of_forty_columns_say_what_matters() -> None:
    rows = shown((40, 8), busy())

    assert [row.split()[0] for row in rows] == [
        "tasks/s", "queue", "process", "took", "11ms", "failures", "cpu", "memory"]
    assert "engine 0.25" in rows[6]
    assert "4 workers 1.50" in rows[6]


def test_in_ascii_there_is_nothing_else() -> None:
    rows = shown((50, 20), busy(), look=Look(unicode=False))

    assert "".join(rows).isascii()
    assert any("####" in row for row in rows)


def test_what_is_not_measured_is_not_shown() -> None:
    text = "\n".join(shown((40, 12), busy(), gauges=[]))

    assert "cpu" not in text
    assert "at once" in text


def test_a_run_that_has_not_begun_shows_dashes_and_no_zero_rates() -> None:
    rows = shown((40, 8), RunView(Shape.empty()), gauges=[])

    assert rows[0] == " tasks/s  –"
    assert " took     –" in rows


def test_a_run_that_is_over_shows_how_long_it_took() -> None:
    view = busy()
    view.apply([RunMoved(RunState.FAILED, "", BEGAN + 200)])

    assert any(row.endswith("took 3:20") for row in shown((40, 12), view))


def test_a_frame_paints_the_lines_that_changed_and_no_others() -> None:
    view = busy()

    async def act(panel: MetricsPanel, pilot: Pilot[None]) -> None:
        figures = Figures(view)
        figures.look()
        panel.frame(figures, NOW, GAUGES[0])
        await pilot.pause()
        before = panel.lines_painted
        panel.frame(figures, NOW, GAUGES[0])
        await pilot.pause()
        assert panel.lines_painted == before
        fuller = GAUGES[0]._replace(lanes=(Lane("process", 4, 4, 0), LANES[1]))
        panel.frame(figures, NOW, fuller)
        await pilot.pause()
        assert panel.lines_painted - before == 1

    drive(MetricsPanel, act, (40, 12))


def test_another_size_lays_it_out_anew() -> None:
    view = busy()

    async def act(panel: MetricsPanel, pilot: Pilot[None]) -> None:
        figures = Figures(view)
        figures.look()
        panel.frame(figures, NOW, GAUGES[0])
        await pilot.resize_terminal(44, 6)
        await pilot.pause()
        assert len(text_of(panel)) == 6
        assert text_of(panel)[0].startswith(" tasks/s")

    drive(MetricsPanel, act, (80, 20))
