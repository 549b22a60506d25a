"""Which lane each attempt is in, and what every lane did in every cell of time. Pure.

Rule 1: an attempt is taken in once, when it ends; a frame then reads cells, never attempts.
Rule 2: a cell is painted in the colour of the worst that happened in it, so that one failure
        among ten thousand successes is still seen.
Rule 3: a lane is a worker. Where that is not known, or a worker has several attempts in hand
        at a time (coroutines), attempts go to the first lane that was free when they began.
Rule 4: widths of cells are a ladder of whole multiples, so that coarse cells are sums of fine
        ones. For cells finer than those kept for the whole run, the attempts of the time in
        sight are read again.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate, groupby, islice
from math import ceil, floor, log2
from operator import ge, sub
from typing import TYPE_CHECKING, NamedTuple

from engine import TaskState
from flowforge_tui.attempts import NO_WORKER

if TYPE_CHECKING:
    from flowforge_tui.model import RunView

#: What a cell can show, the worst last: nothing, a success, something stopped, a retry, a failure.
NOTHING, GOOD, STOPPED, RETRIED, FAILED = range(5)
_RANKS = bytearray([STOPPED] * 256)
"""State → rank, as `bytes.translate` wants it."""
for _state, _rank in ((TaskState.SUCCESS, GOOD), (TaskState.CACHED, GOOD),
                      (TaskState.UP_FOR_RETRY, RETRIED), (TaskState.FAILED, FAILED)):
    _RANKS[_state] = _rank

#: Attempts that a look takes in at most: 15 ms of work.
MOST = 20_000
#: Cells a lane that are kept for the whole run.
_CELLS = 4_096
#: The finest width of those cells, in seconds.
_FINEST = 1 / 64
#: Lanes at most, besides those of workers; what does not fit shares them.
_PACKED = 64
_ACTIVE = (TaskState.RUNNING, TaskState.CANCELLING)
#: Attempts in a row of one worker, from which on slices are cheaper than a list of their places.
_STRETCH = 8
#: Attempts that run are looked at one by one, up to this many.
_LOOKED_AT = 512


def width_of(level: int) -> float:
    """Seconds a cell: …, 0.5, 0.75, 1 (level 0), 1.5, 2, 3, 4, …"""
    octave, half = divmod(level, 2)
    return 2.0 ** octave * (1.5 if half else 1.0)


class Cells:
    """What one lane did, cell by cell."""

    __slots__ = ("begins", "busy", "mark", "worst")

    def __init__(self) -> None:
        self.busy = array("f")
        """Seconds of attempts in the cell."""
        self.worst = bytearray()
        """The worst rank of the attempts that were under way in it."""
        self.mark = bytearray()
        """The worst rank of those that ended in it, if worse than GOOD."""
        self.begins = bytearray()
        """How many began in it, up to 255."""

    def reach(self, upto: int) -> None:
        """Have at least `upto` cells."""
        more = upto - len(self.worst)
        if more > 0:
            self.busy.frombytes(bytes(4 * more))
            for column in (self.worst, self.mark, self.begins):
                column.extend(bytes(more))


def _in_turn(starts: Sequence[float], ends: Sequence[float]) -> bool:
    """True if each begins when the one before has ended, or later."""
    return all(map(ge, starts[1:], ends))


class Grid:
    """Cells of all lanes, from `origin` (seconds since the epoch) on, each `width` seconds."""

    def __init__(self, origin: float, width: float, count: int) -> None:
        self.origin = origin
        self.width = width
        self.count = count
        self.lanes: list[Cells] = []

    def lane(self, lane: int) -> Cells:
        """The cells of a lane, made if need be."""
        while len(self.lanes) <= lane:
            self.lanes.append(Cells())
        return self.lanes[lane]

    def add(
        self, lane: int, starts: Sequence[float], ends: Sequence[float], ranks: bytes
    ) -> None:
        """Attempts of a lane."""
        if _in_turn(starts, ends):
            self.add_in_turn(lane, starts, ends, ranks)
        else:
            for start, end, rank in zip(starts, ends, ranks, strict=True):
                self._add_one(lane, start, end, rank)

    def add_in_turn(
        self, lane: int, starts: Sequence[float], ends: Sequence[float], ranks: bytes
    ) -> None:
        """Attempts of a lane, one after the other. Those that went well within a cell are found by
        a search and cost little."""
        first = 0
        while first < len(ends):
            cell = floor((starts[first] - self.origin) / self.width)
            last = bisect_left(ends, self.origin + (cell + 1) * self.width, first)
            number = last - first
            if number and 0 <= cell < self.count and ranks.count(GOOD, first, last) == number:
                busy = sum(map(sub, ends[first:last], starts[first:last]))
                self._add_good(lane, cell, number, busy)
            else:
                last = max(last, first + 1)
                for i in range(first, last):
                    self._add_one(lane, starts[i], ends[i], ranks[i])
            first = last

    def _add_good(self, lane: int, at: int, number: int, busy: float) -> None:
        """Some that ended well within a cell."""
        cells = self.lane(lane)
        cells.reach(at + 1)
        cells.busy[at] += busy
        cells.worst[at] = max(cells.worst[at], GOOD)
        cells.begins[at] = min(255, cells.begins[at] + number)

    def _add_one(self, lane: int, start: float, end: float, rank: int) -> None:
        """One attempt. What is outside of the grid is cut off."""
        width, count = self.width, self.count
        first, last = (start - self.origin) / width, (end - self.origin) / width
        if last < 0.0 or first >= count:
            return
        cells = self.lane(lane)
        a, b = max(0, int(first)), min(count - 1, int(last))
        if b >= len(cells.worst):
            cells.reach(b + 1)
        worst, busy = cells.worst, cells.busy
        if a == b:
            busy[a] += (min(last, count) - max(first, 0.0)) * width
            if worst[a] < rank:
                worst[a] = rank
        else:
            busy[a] += (a + 1 - max(first, 0.0)) * width
            busy[b] += (min(last, count) - b) * width
            for i in range(a + 1, b):
                busy[i] += width
            for i in range(a, b + 1):
                if worst[i] < rank:
                    worst[i] = rank
        if first >= 0.0 and cells.begins[a] < 255:
            cells.begins[a] += 1
        if rank > GOOD and last < count:
            cells.mark[b] = max(cells.mark[b], rank)

    def coarser(self, each: int, first: int, count: int) -> Grid:
        """`count` cells of `each` of these, from the coarse cell `first` on."""
        made = Grid(self.origin + first * each * self.width, self.width * each, count)
        for lane, fine in enumerate(self.lanes):
            made.lane(lane)
            cells = made.lanes[lane]
            have = min(count, ceil(len(fine.worst) / each) - first)
            if have <= 0:
                continue
            cells.reach(have)
            for i in range(have):
                cut = slice((first + i) * each, (first + i + 1) * each)
                cells.worst[i] = max(fine.worst[cut])
                if cells.worst[i]:
                    cells.busy[i] = sum(fine.busy[cut])
                    cells.mark[i] = max(fine.mark[cut])
                    cells.begins[i] = min(255, sum(fine.begins[cut]))
        return made


class Running(NamedTuple):
    """An attempt in hand."""

    tid: int
    lane: int
    start: float


class Tracks:
    """The lanes of one view's attempts; made anew for another view, or another session."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        self.origin = view.session or view.began
        """When the session began that is shown, in seconds since the epoch."""
        self.lanes: list[array[int]] = []
        """Lane → indexes into the view's attempts, in the order of their ends."""
        self.workers: list[int] = []
        """Lane → worker, NO_WORKER for one that attempts were packed into."""
        self._lane_of: dict[int, int] = {}
        self._last_end: list[float] = []
        self._free: list[tuple[float, int]] = []
        """(last end, lane) of the packed lanes, sorted."""
        self._failed_at, self._failed_lane = array("d"), array("I")
        self._read = 0
        self.whole = Grid(self.origin, _FINEST, _CELLS)
        """The whole session, as fine as room allows."""
        self.sight: Grid | None = None
        """The part that was asked for last; kept up to date."""

    def __len__(self) -> int:
        return len(self.lanes)

    @property
    def stale(self) -> bool:
        """True if another session began since."""
        return self.origin != (self.view.session or self.view.began)

    # -- taking in -------------------------------------------------------------------------------

    @property
    def behind(self) -> bool:
        """True if there is something that no look took in yet."""
        return bool(self.origin) and self._read < len(self.view.attempts)

    def look(self) -> bool:
        """Take in what was added since the last look; True if there is still more."""
        log, first = self.view.attempts, self._read
        if not self.origin:
            return False
        last = self._read = min(len(log), first + MOST)
        if first == last:
            return False
        self._widen(max(log.end[first:last]))
        fails = [fail for worker, indexes in self._by_worker(first, last)
                 for fail in self._take(worker, indexes)]
        for end, lane in sorted(fails):
            self._failed_at.append(end)
            self._failed_lane.append(lane)
        return last < len(log)

    def _by_worker(self, first: int, last: int) -> Iterable[tuple[int, Sequence[int]]]:
        """(worker, indexes of its attempts). Mostly a worker brings in many in a row."""
        workers = self.view.attempts.worker[first:last]
        runs = [(worker, len(list(some))) for worker, some in groupby(workers)]
        if _STRETCH * len(runs) <= len(workers):
            ends = accumulate((n for _, n in runs), initial=first)
            return [(w, range(at, at + n)) for (w, n), at in zip(runs, ends, strict=False)]
        by_worker: defaultdict[int, list[int]] = defaultdict(list)
        for i, worker in enumerate(workers, first):
            by_worker[worker].append(i)
        return by_worker.items()

    def _columns(self, indexes: Sequence[int]) -> tuple[Sequence[float], Sequence[float], bytes]:
        """Starts, ends and ranks of attempts; by slices where they follow upon each other."""
        log, first, last = self.view.attempts, indexes[0], indexes[-1] + 1
        starts: Sequence[float]
        ends: Sequence[float]
        if last - first == len(indexes):
            starts, ends = log.start[first:last], log.end[first:last]
            states = log.state[first:last].tobytes()
        else:
            starts, ends = [log.start[i] for i in indexes], [log.end[i] for i in indexes]
            states = bytes([log.state[i] for i in indexes])
        if not all(starts):
            starts = [start or end for start, end in zip(starts, ends, strict=True)]
        return starts, ends, states.translate(_RANKS)

    def _take(self, worker: int, indexes: Sequence[int]) -> list[tuple[float, int]]:
        """One worker's new attempts; (end, lane) of those that failed."""
        starts, ends, ranks = self._columns(indexes)
        lane = self._lane_of.get(worker, -1)
        before = max(self.origin, self._last_end[lane] if lane >= 0 else 0.0)
        if worker != NO_WORKER and starts[0] >= before and _in_turn(starts, ends):
            lane = self._lane(worker)  # the rule: one after the other
            self._last_end[lane] = ends[-1]
            self._add(lane, indexes, starts, ends, ranks)
            if not ranks.count(FAILED):
                return []
            return [(e, lane) for e, r in zip(ends, ranks, strict=True) if r == FAILED]
        fails = []
        for i, start, end, rank in zip(indexes, starts, ends, ranks, strict=True):
            if end >= self.origin:  # else of a session before
                lane = self._place(worker, start, end)
                self._add(lane, [i], [start], [end], bytes([rank]))
                if rank == FAILED:
                    fails.append((end, lane))
        return fails

    def _add(self, lane: int, indexes: Sequence[int], starts: Sequence[float],
             ends: Sequence[float], ranks: bytes) -> None:
        self.lanes[lane].extend(indexes)
        self.whole.add_in_turn(lane, starts, ends, ranks)
        if self.sight is not None:
            self.sight.add_in_turn(lane, starts, ends, ranks)

    def _widen(self, upto: float) -> None:
        """Double the width of the cells until they reach."""
        whole = self.whole
        each = 1
        while upto - self.origin >= _CELLS * whole.width * each:
            each *= 2
        if each > 1:
            self.whole = whole.coarser(each, 0, _CELLS)

    def _place(self, worker: int, start: float, end: float) -> int:
        """The lane for an attempt that ended."""
        if worker != NO_WORKER:
            lane = self._lane(worker)
            if start >= self._last_end[lane]:
                self._last_end[lane] = end
                return lane
        return self._pack(start, end)

    def _lane(self, worker: int) -> int:
        """A worker's own lane."""
        lane = self._lane_of.get(worker)
        if lane is None:
            lane = self._lane_of[worker] = self._open(worker)
        return lane

    def _pack(self, start: float, end: float) -> int:
        """The lane that became free last before `start`; a new one if none did."""
        at = bisect_right(self._free, (start, len(self.lanes)))
        if at:
            _, lane = self._free.pop(at - 1)
        elif len(self._free) < _PACKED:
            lane = self._open(NO_WORKER)
        else:
            _, lane = self._free.pop(0)
        insort(self._free, (end, lane))
        self._last_end[lane] = max(self._last_end[lane], end)
        return lane

    def _open(self, worker: int) -> int:
        self.lanes.append(array("I"))
        self.workers.append(worker)
        self._last_end.append(0.0)
        return len(self.lanes) - 1

    # -- reading -----------------------------------------------------------------------------------

    def order(self) -> list[int]:
        """The lanes as they are listed: workers by number, then the others."""
        workers = self.workers
        return sorted(range(len(workers)), key=lambda lane: (
            workers[lane] == NO_WORKER, workers[lane], lane))

    def fitting(self, now: float, cells: int) -> int:
        """The level of the finest cells of which `cells` show the whole session."""
        need = max(now - self.origin, _FINEST) * (1 + 1e-9) / max(1, cells)
        level = 2 * floor(log2(need))
        while width_of(level) < need:
            level += 1
        return level

    def seen(self, level: int, first: int, width: int) -> tuple[Grid, int]:
        """A grid that has the cells `first` to `first + width` of a level, counted from the
        origin, and the place in it of the first."""
        size = width_of(level)
        sight = self.sight
        if sight is not None and sight.width == size:
            at = first - round((sight.origin - self.origin) / size)
            if at >= 0 and at + width <= sight.count:
                return sight, at
        begin = max(0, first - width // 2)
        self.sight = self._cut(size, begin, 2 * width)
        return self.sight, first - begin

    def _cut(self, size: float, first: int, count: int) -> Grid:
        each = size / self.whole.width
        if each >= 1 and each == int(each):
            return self.whole.coarser(int(each), first, count)
        grid = Grid(self.origin + first * size, size, count)
        log, until = self.view.attempts, self.origin + (first + count) * size
        for lane, indexes in enumerate(self.lanes):
            grid.lane(lane)
            at = bisect_left(indexes, grid.origin, key=log.end.__getitem__)
            seen = indexes[at:bisect_left(
                indexes, until, at, key=lambda i: log.start[i] or log.end[i])]
            if seen:
                grid.add(lane, *self._columns(seen))
        return grid

    def running(self) -> list[Running]:
        """The attempts in hand, each in its lane; of very many, some."""
        view, found = self.view, list[Running]()
        taken: set[int] = set()
        unplaced: list[int] = []
        for tid in islice(self._hands(), _LOOKED_AT):
            lane = self._lane_of.get(view.worker.get(tid, NO_WORKER))
            if lane is None or lane in taken or self._last_end[lane] > view.start[tid]:
                unplaced.append(tid)
            else:
                taken.add(lane)
                found.append(Running(tid, lane, view.start[tid]))
        unplaced.sort(key=view.start.__getitem__)
        return found + self._packed(unplaced)

    def _hands(self) -> list[int]:
        hot = self.view.hot
        return [tid for state in _ACTIVE for ids in hot[state] if ids
                for tid in islice(ids, _LOOKED_AT)]

    def _packed(self, tids: list[int]) -> list[Running]:
        """Attempts in hand, in packed lanes that were free when they began, and new ones."""
        view, free, more = self.view, list(self._free), len(self.lanes)
        found = []
        for tid in tids[:_PACKED]:
            at = bisect_right(free, (view.start[tid], more))
            if at:
                lane = free.pop(at - 1)[1]
            else:
                lane, more = more, more + 1
            found.append(Running(tid, lane, view.start[tid]))
        return found

    def failure_from(self, at: float, step: int) -> tuple[int, float] | None:
        """(lane, moment) of the first attempt that failed at `at` or later; `step` < 0: of the
        last one before."""
        place = bisect_left(self._failed_at, at) - (step < 0)
        if not 0 <= place < len(self._failed_at):
            return None
        return self._failed_lane[place], self._failed_at[place]

    def attempt_at(self, lane: int, start: float, end: float) -> int | None:
        """Index of the worst attempt of a lane under way between two moments, None if none was.

        Of several as bad as each other, the first.
        """
        if lane >= len(self.lanes):
            return None
        log, indexes, best = self.view.attempts, self.lanes[lane], None
        at = bisect_left(indexes, start, key=log.end.__getitem__)
        for i in islice(indexes, at, at + MOST):
            if (log.start[i] or log.end[i]) >= end:
                break
            if best is None or _RANKS[log.state[i]] > _RANKS[log.state[best]]:
                best = i
        return best
