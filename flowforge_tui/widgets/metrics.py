"""The panel with a run's figures: throughput, slots, durations, failures, processes, ETA.

Rule 1: lines are given up from the least telling on where room ends, and charts grow where
        there is some; eight rows of forty columns say all that matters.
Rule 2: a frame costs the panel's cells: `Figures` has done the counting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.style import Style
from textual.strip import Strip

from engine import RunState
from engine.front import Series
from flowforge_tui.amounts import UNKNOWN, brief_bytes, brief_number, brief_seconds
from flowforge_tui.charts import area, fitted
from flowforge_tui.figures import Figures, histogram
from flowforge_tui.look import ACCENT, BAD, BOLD, DIM, FAINT, GOOD, PLAIN, WARN, Look
from flowforge_tui.strips import Line
from flowforge_tui.widgets.panel import Panel

if TYPE_CHECKING:
    from engine.front import Gauges, Sample

#: Cells of the labels at the left.
_LABEL = 9
#: Lanes, limits and long-running task runs that are listed at most.
_LANES, _LIMITS, _LONGEST = 3, 4, 3
#: Rows that a chart grows to.
_TALL = 4
#: Bars wider than this tell nothing more.
_BAR = 24
#: Charts in line narrower than this tell nothing.
_SPARK = 6


class MetricsPanel(Panel):
    """Figures of one run."""

    DEFAULT_CSS = """
    MetricsPanel { height: 1fr; width: 1fr; }
    """

    def __init__(self, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(look, **kwargs)
        self._figures: Figures | None = None
        self._gauges: Gauges | None = None
        self._past = _Past()
        self._now = 0.0

    def frame(self, figures: Figures, now: float, gauges: Gauges | None = None) -> None:
        """Show figures as they are at `now`, seconds since the epoch.

        `gauges`: what the run's owner tells of its workers; None if nobody does.
        """
        self._figures, self._now, self._gauges = figures, now, gauges
        if gauges is not None and gauges.sample is not None:
            self._past.add(gauges.sample)
        self.paint()

    # -- which lines there are --------------------------------------------------------------

    def lines(self, width: int, height: int) -> list[Strip]:
        """As in `Panel`."""
        if self._figures is None:
            return []
        rows = _Rows(self._figures, self._now, self._gauges, self._past, self.look, width)
        return [line.strip(width) for line in rows.fitted(height)]


class _Past:
    """CPU and memory over time, from samples as they come."""

    def __init__(self) -> None:
        self.latest: Sample | None = None
        self.engine_cpu, self.workers_cpu = Series(max, most=240), Series(max, most=240)
        self.engine_memory, self.workers_memory = Series(max, most=240), Series(max, most=240)

    def add(self, sample: Sample) -> None:
        """Take in a sample, unless it is known."""
        if self.latest is not None and sample.at <= self.latest.at:
            return
        self.latest = sample
        self.engine_cpu.add(sample.at, sample.engine_cpu)
        self.workers_cpu.add(sample.at, sample.cpu - sample.engine_cpu)
        self.engine_memory.add(sample.at, sample.engine_memory)
        self.workers_memory.add(sample.at, sample.memory - sample.engine_memory)


class _Rows:
    """The lines of one frame."""

    def __init__(
        self, figures: Figures, now: float, gauges: Gauges | None, past: _Past,
        look: Look, width: int,
    ) -> None:
        self.figures, self.now, self.look, self.width = figures, now, look, width
        self.past = past
        self.lanes = gauges.lanes if gauges is not None else ()
        self.limits = [m for m in gauges.limits if m.used] if gauges is not None else []

    def fitted(self, height: int) -> list[Line]:
        """The lines for a height: what is optional comes in the order of its worth."""
        parts: dict[str, int] = {"rate": 1, "queue": 1, "took": 1, "trouble": 1}
        room = height - len(parts)
        for part, rows in self._wishes():
            if room > 0:
                given = min(rows, room)
                parts[part] = parts.get(part, 0) + given
                room -= given
        makers: list[tuple[str, Callable[[int], list[Line]]]] = [
            ("rate", self._rate), ("queue", self._queue), ("slots", self._slots),
            ("took", self._took), ("bins", self._bins), ("trouble", self._trouble),
            ("longest", self._longest), ("cpu", self._cpu), ("memory", self._memory),
        ]
        lines = [line for part, make in makers if part in parts for line in make(parts[part])]
        return lines[:height]

    def _wishes(self) -> list[tuple[str, int]]:
        """What would be shown, given rows: (part, rows more)."""
        listed = min(len(self.lanes), _LANES) + min(len(self.limits), _LIMITS)
        measured = self.past.latest is not None
        running = len(self.figures.longest(_LONGEST))
        wishes = [("slots", min(1, max(1, listed))), ("bins", 1)]
        wishes += [("cpu", 1), ("memory", 1)] if measured else []
        wishes += [("slots", max(0, listed - 1)), ("longest", min(1, running))]
        wishes += [("rate", 2), ("bins", 1), ("longest", max(0, running - 1))]
        return [*wishes, ("rate", _TALL - 2), ("bins", _TALL - 3)]

    # -- the lines -----------------------------------------------------------------------------

    def _line(self, label: str) -> Line:
        return Line().add(f" {label:<{_LABEL}}", DIM)

    @property
    def _room(self) -> int:
        """Cells right of the labels, with one left free at the edge."""
        return max(0, self.width - _LABEL - 2)

    def _text(self, text: str) -> str:
        return text if self.look.unicode else text.replace("–", "-").replace("µ", "u")

    def _area(self, values: list[float], height: int) -> list[str]:
        return area(values, height, unicode=self.look.unicode)

    def _rate(self, rows: int) -> list[Line]:
        """Throughput: now, then over time, in line or as a chart below."""
        figures, now = self.figures, self.now
        rate = figures.rate(now)
        line = self._line("tasks/s")
        line.add(f"{self._text(UNKNOWN if rate is None else brief_number(rate)):<7}", BOLD)
        if rows < 3:
            rates = figures.rates(max(1, self._room - 7), now)
            return [line.add(self._area(rates.values, 1)[0], GOOD)]
        rates = figures.rates(max(1, self.width - 2), now)
        if not rates.values:
            ground = self.look.marks.rule * (self.width - 2)
            return [line, *[Line()] * (rows - 2), Line().add(f" {ground}", FAINT)]
        line.add(f"peak {brief_number(rates.peak)}", DIM)
        line.end(f"{self._text(brief_seconds(rates.slot * len(rates.values)))} ", FAINT)
        return [line, *(Line().add(f" {row}", GOOD)
                        for row in self._area(rates.values, rows - 1))]

    def _queue(self, _: int) -> list[Line]:
        """What waits and what runs, and when it will be over."""
        figures, now = self.figures, self.now
        line = self._line("queue").add(f"{brief_number(figures.queue):<7}", BOLD)
        line.add("running ", DIM).add(brief_number(figures.running), ACCENT)
        if figures.view.run_state is RunState.RUNNING:
            eta = figures.eta(now)
            line.end("ETA ", DIM)
            line.end(f"{self._text(UNKNOWN if eta is None else brief_seconds(eta))} ", BOLD)
        elif figures.view.ended:
            line.end("took ", DIM)
            line.end(f"{self._text(brief_seconds(figures.wall(now)))} ", BOLD)
        return [line]

    def _slots(self, rows: int) -> list[Line]:
        """Workers in use, lane by lane, then limits."""
        lanes = self.lanes[:min(_LANES, max(1, rows - min(len(self.limits), _LIMITS)))]
        lines = [self._meter(Line().add(" ").put(lane.name, DIM, width=_LABEL),
                             lane.busy, lane.workers, ACCENT) for lane in lanes]
        lines += [self._meter(Line().add(" ").put(limit.name, DIM, width=_LABEL),
                              limit.used, limit.total, WARN)
                  for limit in self.limits[:max(0, rows - len(lines))]]
        return lines if lines else [self._busy()]

    def _busy(self) -> Line:
        """Where slots are not known: how many attempts there were at a time."""
        line = self._line("at once")
        busy = self.figures.concurrency(self.now)
        if busy is None:
            return line.add(self._text(UNKNOWN), BOLD)
        return line.add(f"{brief_number(busy):<7}", BOLD).add("on the average", DIM)

    def _meter(self, line: Line, used: int, most: int, style: Style) -> Line:
        told = f"{used:,}/{most:,}" if most < 10_000 else f"{used:,}/{brief_number(most)}"
        size = min(_BAR, max(0, self._room - len(told) - 1))
        done, rest = self.look.bar(used / most if most else 0.0, size)
        return line.add(done, style).add(rest, FAINT).add(f" {told}", PLAIN)

    def _took(self, _: int) -> list[Line]:
        """How long attempts take."""
        d = self.figures.durations
        line = self._line("took")
        if not d.count:
            return [line.add(self._text(UNKNOWN), BOLD)]
        for name, seconds in (("p50", d.percentile(0.5)), ("p95", d.percentile(0.95)),
                              ("max", d.longest)):
            line.add(f"{name} ", DIM)
            line.add(f"{self._text(brief_seconds(seconds)):<6}", BOLD)
        return [line]

    def _bins(self, rows: int) -> list[Line]:
        """Durations on a logarithmic scale."""
        ends = 7
        size = min(2 * _BAR, max(1, self._room - 2 * ends))
        bins, low, high = histogram(self.figures.durations, size)
        if not bins:
            return [self._line("")]
        charts = self._area(bins, rows)
        lines = [Line().add(" " * (1 + _LABEL + ends)).add(row, ACCENT) for row in charts[:-1]]
        last = Line().add(" " * (1 + _LABEL))
        last.add(f"{self._text(brief_seconds(low)):<{ends}}", FAINT)
        last.add(charts[-1], ACCENT).add(f" {self._text(brief_seconds(high))}", FAINT)
        return [*lines, last]

    def _trouble(self, _: int) -> list[Line]:
        """Failures and retries."""
        figures = self.figures
        line = self._line("failures")
        line.add(f"{brief_number(figures.failures):<7}", BAD if figures.failures else PLAIN)
        line.add("retries ", DIM)
        return [line.add(brief_number(figures.retries), WARN if figures.retries else PLAIN)]

    def _longest(self, rows: int) -> list[Line]:
        """What has run for longest."""
        view, lines = self.figures.view, []
        for i, tid in enumerate(self.figures.longest(rows)):
            took = self._text(brief_seconds(view.seconds(tid, self.now)))
            line = self._line("longest" if i == 0 else "")
            line.put(view.name_of(tid), width=max(1, self._room - len(took) - 1))
            lines.append(line.end(f"{took} ", ACCENT))
        return lines

    def _cpu(self, _: int) -> list[Line]:
        latest = self.past.latest
        assert latest is not None
        return [self._pair("cpu", f"{latest.engine_cpu:.2f}", self.past.engine_cpu,
                           f"{latest.cpu - latest.engine_cpu:.2f}", self.past.workers_cpu)]

    def _memory(self, _: int) -> list[Line]:
        latest = self.past.latest
        assert latest is not None
        return [self._pair("memory", brief_bytes(latest.engine_memory), self.past.engine_memory,
                           brief_bytes(latest.memory - latest.engine_memory),
                           self.past.workers_memory)]

    def _pair(
        self, label: str, engine: str, engine_past: Series, workers: str, workers_past: Series
    ) -> Line:
        """The engine's figure and its workers', each with its past."""
        latest = self.past.latest
        line = self._line(label)
        if latest is None or latest.processes < 2:  # all work is done by the engine's own
            line.add("engine ", DIM).add(f"{engine:<6}", BOLD)
            return line.add(self._spark(engine_past, max(1, self._room - 13)), ACCENT)
        size, workers_told = (self._room - 25) // 2, brief_number(latest.processes - 1)
        if size < _SPARK:
            line.add("engine ", DIM).add(f"{engine:<6}", BOLD)
            return line.add(f"{workers_told} workers ", DIM).add(workers, BOLD)
        line.add("eng ", DIM).add(f"{engine:<6}", BOLD)
        line.add(f"{self._spark(engine_past, size):<{size}}", ACCENT)
        line.add(f" {workers_told + 'w':<4} ", DIM).add(f"{workers:<6}", BOLD)
        return line.add(self._spark(workers_past, size), GOOD)

    def _spark(self, past: Series, width: int) -> str:
        values, each = fitted(past.values, width)
        return self._area([v / each for v in values], 1)[0]
