"""Workers that are processes: a crash costs one attempt, a stop ends anything, no shared GIL.

Rule 1: a worker is one thread here and one process there. The thread pulls batches from the
        hub, sends them down the pipe, and hands in what comes back.
Rule 2: when a process dies, the attempt in hand is to blame, and no other: what had not begun,
        or had ended but was not reported, goes back to the queue.
Rule 3: a seat's lock is held while attempts change hands, never while something may block.
Rule 4: a process is started when there is work for it, and again when it died.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

from engine.core.events import Attempt, ErrorInfo
from engine.core.states import CANCELLED, QUEUED, FailureReason
from engine.executors.base import Hub, Why
from engine.executors.guardian import Guardian
from engine.executors.process_board import CANCEL, LIMIT, MARK, NO_LIMIT, Line, lines_in
from engine.executors.process_cargo import Packer, Parcel, Shelf, absorb
from engine.executors.process_link import Link, cause_of_death
from engine.executors.process_wire import BATCH, PROGRESS, READY, REPORT, TEXT, Gone, Message
from engine.worker.call import report_timeout
from engine.worker.clock import now

#: Seconds: an attempt that runs longer no longer shares its batch; the rest is given back.
SLOW = 0.005
#: Seconds after which a store to the board is certain to be seen by the other side.
STORE_SEEN = 0.001
#: Deaths of workers in a row, with no attempt begun, after which their work is given up.
FALSE_STARTS = 3
#: Seconds between tries where the system has no process or descriptor left: the first, the most.
WAIT_FIRST, WAIT_MOST = 0.05, 2.0

_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})


class ProcessExecutor:
    """A fixed number of worker processes. POSIX.

    `guardian`: the run's, where it has one already; otherwise one is started with the first
    worker and closed at the end.
    """

    lane = "process"

    def __init__(self, guardian: Guardian | None = None) -> None:
        self._guardian = guardian
        self._own_guardian = False
        self._hub: Hub
        self._grace = 5.0
        self._wanted = 0
        self._made = 0
        self._seats: list[_Seat] = []
        self._lock = threading.Lock()
        self.shelf = Shelf()
        self.closing = threading.Event()

    @property
    def workers(self) -> int:
        return self._wanted

    def start(self, hub: Hub, workers: int, grace: float) -> None:
        self._hub, self._grace = hub, grace
        self.resize(workers)

    def resize(self, workers: int) -> None:
        with self._lock:
            self._wanted = workers
            staying = [s for s in self._seats if not s.leaving]
            for seat in staying[workers:]:
                seat.leave()
            self._seat(workers - len(staying))

    def renew(self) -> None:
        with self._lock:
            for seat in self._seats:
                if not seat.leaving:
                    seat.leave()
            self._seat(self._wanted)

    def _seat(self, count: int) -> None:
        for _ in range(count):
            self._seats.append(_Seat(self, self._hub, self._made, self._grace))
            self._made += 1

    def in_hand(self) -> list[Attempt]:
        return [a for seat in list(self._seats) if (a := seat.in_hand()) is not None]

    def stop(self, attempt: Attempt, why: Why) -> None:
        attempt.cancelled = True
        for seat in list(self._seats):
            if seat.stop(attempt, why):
                return

    def rebalance(self) -> None:
        if all(seat.busy for seat in list(self._seats)):
            return  # nobody could take it: of 100,000 no-ops, a fifth went back and forth
        slow = [(s, limit) for s in list(self._seats) if (limit := s.draw_line()) is not None]
        if slow:
            time.sleep(STORE_SEEN)
        back = [a for seat, line in slow for a in seat.take_behind(line)]
        if back:
            self._hub.post(back)

    def pids(self) -> list[int]:
        return [link.pid for s in list(self._seats) if (link := s.link) is not None]

    def close(self) -> None:
        self.closing.set()
        for seat in list(self._seats):
            seat.shut()
        deadline = now() + self._grace + WAIT_MOST
        for seat in list(self._seats):
            seat.thread.join(max(0.0, deadline - now()))
        with self._lock:
            if self._guardian is not None and self._own_guardian:
                self._guardian.close()
                self._guardian = None

    # -- for its seats ---------------------------------------------------------------------

    def guardian(self) -> Guardian:
        """The run's guardian. Raises OSError where none can be started."""
        with self._lock:
            if self._guardian is None:
                self._guardian = Guardian.start(self._hub.run.run_id)
                self._own_guardian = True
            return self._guardian

    def forget(self, pid: int) -> None:
        """A worker process has been reaped."""
        with self._lock:
            if self._guardian is not None:
                self._guardian.forget(pid)

    def gone(self, seat: _Seat) -> None:
        """A seat's thread has ended."""
        with self._lock:
            if seat in self._seats:
                self._seats.remove(seat)


class _Line:
    """Where a batch was cut: what lies behind it is given back, unless it has begun by then."""

    __slots__ = ("parcel", "serial")

    def __init__(self, parcel: Parcel | None, serial: int) -> None:
        self.parcel = parcel
        self.serial = serial


class _Seat:
    """One worker: its thread, the process that it has at present, and what is in its hands."""

    def __init__(self, executor: ProcessExecutor, hub: Hub, number: int, grace: float) -> None:
        self._executor = executor
        self._hub = hub
        self._number = number
        self._grace = grace
        self._lock = threading.Lock()
        self.leaving = False
        self.link: Link | None = None
        self._packer: Packer
        self._parcel: Parcel | None = None
        self._earlier: Parcel | None = None
        """The one before: a process that it started may still be printing."""
        self._busy = False
        """From a batch's arrival until the whole of it is accounted for."""
        self._unsent: list[Attempt] = []
        self._since = 0.0
        """When the batch came."""
        self._links = 0
        self._false_starts = 0
        self.thread = threading.Thread(
            target=self._drive, name=f"flowforge-process-{number}", daemon=True
        )
        self.thread.start()

    # -- the loop ------------------------------------------------------------------------------

    def _drive(self) -> None:
        finished: list[Attempt] = []
        try:
            while (batch := self._hub.exchange(self._executor.lane, finished)) is not None:
                if self.leaving:
                    for a in batch:
                        a.stop(QUEUED)
                    self._post(batch)
                    break
                finished = self._work(batch)
        finally:
            self._retire()
            self._executor.gone(self)

    def _work(self, batch: list[Attempt]) -> list[Attempt]:
        """See a batch through; the outcomes that are not handed in yet."""
        finished: list[Attempt] = []
        with self._lock:
            self._busy, self._unsent, self._since = True, batch, now()
        while self._unsent and not self._executor.closing.is_set():
            link = self._connected()
            if link is None:
                break
            with self._lock:
                todo, self._unsent = self._unsent, []
            parcel, head, tail, left = self._packer.pack(todo, finished)
            with self._lock:
                self._unsent = left
                link.board.words[LIMIT] = NO_LIMIT
                self._parcel = parcel
            self._carry(link, parcel, (head, tail), finished)
        with self._lock:
            rest, self._unsent, self._busy = self._unsent, [], False
        for a in rest:
            a.stop(QUEUED)
        return finished + rest

    def _carry(
        self, link: Link, parcel: Parcel, message: tuple[bytes, bytes], finished: list[Attempt]
    ) -> None:
        """Send a parcel and take in the reports on it, until all of it is accounted for."""
        try:
            link.sender.send(BATCH, *message)
            while not self._take_in(link, parcel, link.receive(), finished):
                pass
        except Gone:
            self._lost(link, parcel, finished)
        else:
            self._false_starts = 0
        with self._lock:
            self._parcel, self._earlier = None, parcel
            finished += parcel.rest()

    def _take_in(
        self, link: Link, parcel: Parcel | None, message: Message, finished: list[Attempt]
    ) -> bool:
        """Deal with one message; True for the last report on the parcel."""
        kind, head, tail = message
        if kind == REPORT and parcel is not None:
            with self._lock:
                finished += absorb(parcel, head, tail)
            if head[0]:
                return True
            self._post(finished)
            finished.clear()
        elif kind == TEXT:
            self._write(lines_in(tail))
        elif kind == PROGRESS:
            for serial, done, total in head:
                if (attempt := self._owner(serial)) is not None:
                    self._hub.run.progress(attempt, done, total)
        elif kind == READY:
            link.is_up(head)
        return False

    def _post(self, finished: list[Attempt]) -> None:
        if finished and not self._executor.closing.is_set():
            self._hub.post(list(finished))

    def _write(self, lines: Iterable[Line]) -> None:
        write = self._hub.run.write
        for serial, stream, level, text in lines:
            attempt = self._owner(serial)
            if attempt is not None:
                write(attempt, stream, level, text)
            elif text.strip():
                self._hub.note(f"worker {self._number}, outside any task: {text.rstrip()}")

    def _owner(self, serial: int) -> Attempt | None:
        for parcel in (self._parcel, self._earlier):
            if parcel is not None and (attempt := parcel.find(serial)) is not None:
                return attempt
        return None

    # -- the process ------------------------------------------------------------------------------

    def _connected(self) -> Link | None:
        """The worker process, started if there is none. None: closing, or it cannot be had."""
        wait = WAIT_FIRST
        while self.link is None and not self._executor.closing.is_set():
            try:
                self._connect()
            except OSError as exc:
                if exc.errno not in _SCARCE:
                    with self._lock:
                        doomed, self._unsent = self._unsent, []
                    self._hopeless(doomed, f"no worker process could be started: {exc}")
                    return None
                if wait == WAIT_FIRST:
                    self._hub.note(f"no worker process can be started now ({exc}); trying again")
                self._executor.closing.wait(wait)
                wait = min(2 * wait, WAIT_MOST)
        return self.link

    def _connect(self) -> None:
        guardian = self._executor.guardian()
        run = self._hub.run
        self._links += 1
        link = Link(run.run_id, run.home, f"{self._number}.{self._links}")
        guardian.watch(link.pid)
        self._packer = Packer(self._executor.shelf, self._hub, self._number)
        with self._lock:
            self.link = link
            if self._executor.closing.is_set():
                link.kill()

    def _hopeless(self, doomed: list[Attempt], why: str) -> None:
        """Fail what is waiting here: it would wait for ever."""
        for a in doomed:
            a.start = a.end = now()
            a.fail(ErrorInfo("WorkerCrashed", why), FailureReason.CRASHED)
        self._post(doomed)

    def _lost(self, link: Link, parcel: Parcel, finished: list[Attempt]) -> None:
        """The process died: find out why, blame one attempt, put the others back."""
        code = link.bury(hunt=True)
        mark = link.board.words[MARK]
        with self._lock:
            self.link = None
            culprit = parcel.find(mark)
            if culprit is not None and culprit.status is not None:
                culprit = None
        self._write(link.unsent())
        words = link.last_words()
        if culprit is not None:
            self._false_starts = 0
            self._blame(culprit, link, parcel, code, words)
            finished.append(culprit)
        elif not self._executor.closing.is_set():
            self._false_start(link, parcel, code, words)
        self._executor.forget(link.pid)
        link.release()

    def _blame(self, a: Attempt, link: Link, parcel: Parcel, code: int, words: str) -> None:
        mark = link.board.words[MARK]
        a.start, a.end = link.board.start_of(mark), now()
        if words:
            self._hub.run.write(a, "err", logging.ERROR, words)
        stop = parcel.stops.pop(mark, None)
        forced = f"it did not stop within {self._grace:g} s, so its worker process was killed"
        if stop == "cancel":
            a.stop(CANCELLED, forced)
        elif stop == "timeout":
            report_timeout(a)
            a.error = a.error._replace(message=f"{a.error.message}; {forced}")
        else:
            error = ErrorInfo("WorkerCrashed", cause_of_death(code, link.killed), words)
            a.fail(error, FailureReason.CRASHED)

    def _false_start(self, link: Link, parcel: Parcel, code: int, words: str) -> None:
        """It died with nothing begun, in starting up or while it was idle: no attempt's fault."""
        said = words.strip().rpartition("\n")[2]
        why = f"{cause_of_death(code, link.killed)} before it began one" + (said and f" ({said})")
        self._hub.note(f"worker {self._number}: {why}; starting another one")
        self._false_starts += 1
        if self._false_starts >= FALSE_STARTS:
            self._false_starts = 0
            self._hopeless([a for a in parcel.attempts if a.status is None], why)

    def _retire(self) -> None:
        """End the process in peace: it closes its resources first."""
        with self._lock:
            link, self.link = self.link, None
        if link is None:
            return
        timer = threading.Timer(self._grace, link.kill)
        timer.start()
        link.ask_to_close()
        with suppress(Gone):
            while True:
                self._take_in(link, None, link.receive(), [])
        link.bury(hunt=False)
        timer.cancel()
        timer.join()
        self._executor.forget(link.pid)
        link.release()

    # -- from other threads ------------------------------------------------------------------------

    def in_hand(self) -> Attempt | None:
        """The attempt whose function runs now, `start` set."""
        with self._lock:
            link, parcel = self.link, self._parcel
            if link is None or parcel is None:
                return None
            mark = link.board.words[MARK]
            attempt = parcel.find(mark)
            if attempt is None or attempt.status is not None:
                return None
            attempt.start = link.board.start_of(mark)
            return attempt

    def stop(self, attempt: Attempt, why: Why) -> bool:
        """Make an attempt end, if it is here."""
        with self._lock:
            parcel, link = self._parcel, self.link
            if attempt in self._unsent:
                self._unsent.remove(attempt)
                attempt.stop(CANCELLED, "cancelled before it started")
                line = None
            elif link is None or parcel is None or attempt not in parcel.attempts:
                return False
            else:
                serial = parcel.base + parcel.attempts.index(attempt)
                if attempt.status is not None or self._ask(link, parcel, serial, why):
                    return True
                parcel.stops[serial] = why
                line = self._draw(link, parcel, serial)
        if line is None:
            self._post([attempt])
            return True
        time.sleep(STORE_SEEN)
        self._post(self.take_behind(line))
        with self._lock:
            if self._parcel is line.parcel and self.link is link and attempt.status is None:
                assert link is not None and parcel is not None
                self._ask(link, parcel, line.serial, why)  # it began just then
        return True

    def _ask(self, link: Link, parcel: Parcel, serial: int, why: Why) -> bool:
        """Tell the attempt in hand to end, and see to it that it does; False: it has not begun."""
        words = link.board.words
        if words[MARK] < serial:
            return False
        if words[MARK] > serial or words[CANCEL] == serial:
            return True  # it has ended, and the report is under way; or it was told before
        parcel.stops[serial] = why
        words[CANCEL] = serial
        link.terminate()
        timer = threading.Timer(self._grace, self._enforce, (link, parcel, serial))
        timer.daemon = True
        timer.start()
        return True

    def _enforce(self, link: Link, parcel: Parcel, serial: int) -> None:
        """The grace is over."""
        with self._lock:
            attempt = parcel.find(serial)
            if self.link is link and attempt is not None and attempt.status is None:
                link.kill()

    @property
    def busy(self) -> bool:
        """True while it has a batch."""
        return self._busy

    def draw_line(self) -> _Line | None:
        """Behind a slow attempt: let nothing more begin. `take_behind` follows, a little later."""
        with self._lock:
            link, parcel = self.link, self._parcel
            if link is None or parcel is None:
                slow = len(self._unsent) > 1 and now() - self._since > SLOW
                return _Line(None, 0) if slow else None
            mark = link.board.words[MARK]
            if mark < parcel.base:  # starting up, or still decoding
                mark, begun = parcel.base, self._since
            else:
                begun = link.board.start_of(mark)
            behind = parcel.find(mark + 1)
            idle = (behind is None or parcel.attempts[-1].status is not None) and not self._unsent
            if idle or now() - begun < SLOW:
                return None
            return self._draw(link, parcel, mark + 1)

    def _draw(self, link: Link, parcel: Parcel, serial: int) -> _Line:
        link.board.words[LIMIT] = serial
        return _Line(parcel, serial)

    def take_behind(self, line: _Line) -> list[Attempt]:
        """What lies behind the line and has not begun, as QUEUED."""
        with self._lock:
            if line.parcel is not self._parcel:
                return []  # it came to its end meanwhile, and handed its rest in by itself
            back = self._unsent if line.parcel is not None else self._unsent[1:]
            self._unsent = self._unsent[: len(self._unsent) - len(back)]
            for a in back:
                a.stop(QUEUED)
            if line.parcel is not None and self.link is not None:
                begun = self.link.board.words[MARK]
                back = line.parcel.take_back(max(line.serial, begun + 1)) + back
            return back

    def leave(self) -> None:
        """Have no more work after what is in hand; end the process now if it is idle."""
        with self._lock:
            self.leaving = True
            busy = self._busy
        if not busy:
            threading.Thread(target=self._retire, daemon=True).start()

    def shut(self) -> None:
        """The run is over: whatever still runs here is killed."""
        with self._lock:
            if self._busy:
                if self.link is not None:
                    self.link.kill()
                return
        self._retire()
