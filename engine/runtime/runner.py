"""The runner: owns the machine behind one lock, and keeps the order of things.

Rule 1: take outcomes in, step the machine, record what changed, and only then hand out
        work that depends on it. `exchange` does all four: it steps and takes under the lock,
        waits without it until all steps so far are on disk, and then returns what it took.
Rule 2: nothing of the user's runs under the lock: no function, key, listener or decoding;
        and nobody waits for the disk under it.
Rule 3: whoever comes with news steps for all: outcomes posted by others are in the inbox.
Rule 4: if the disk is full, nothing is handed out until what happened is recorded; if it
        fails otherwise, the runner stops and claims nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from engine.core.events import (
    Attempt,
    Change,
    Expand,
    Expanded,
    Failed,
    Reset,
    Stop,
    Succeeded,
)
from engine.core.machine import INFINITE, OWN, Machine
from engine.core.states import SUCCESS, RunState
from engine.errors import RunError, StorageError, StorageFull
from engine.executors.base import Executor
from engine.runtime.bus import Bus
from engine.runtime.carryover import Carryover
from engine.runtime.recorder import Recorder
from engine.runtime.values import Arguments, Values
from engine.state.store import Store
from engine.worker.clock import now
from engine.worker.codec import BlobRef, Encoded
from engine.worker.context import RunScope
from engine.worker.failures import describe

#: Seconds of work in a batch: hides the cost of a step, and is soon over.
BATCH_SECONDS = 0.002
#: A batch is at least this many commits long, so that a commit is at most a fifth of it.
COMMITS_PER_BATCH = 5
#: Longest batch on a disk that is slow to sync.
LONGEST_BATCH = 0.25
#: A shorter task has the interpreter's lock from start to end: threads cannot share such, and only
#: get in each other's way (20 layers of 500: 9.6 µs of CPU a task by two threads, 8.8 by one).
TINY = 10e-6
#: Who took a batch of such less than this ago (seconds) comes for more; else others are to help.
SOON = 0.01
#: Thread and time of such a batch while nobody has one.
NOBODY = 0, 0.0
#: Results larger than this many bytes go to a blob of their own.
BLOB_BYTES = 256 * 1024
#: Live exceptions kept: each holds its frames alive, and one is enough to raise.
KEPT_EXCEPTIONS = 100
#: Seconds between the ticker's looks while attempts are being dispatched, and when idle.
TICK, IDLE_TICK = 0.008, 0.1
#: The same where nothing can change before somebody steps, and no signal comes to this run: a
#: look costs 0.2 ms with the waking of a thread, ten a second were a fifth of an idle screen.
DOZE = 1.0
#: Looks at which nothing is to be done, after which they become rarer.
_QUIET = 60
#: Longest sleep of the caller's thread (seconds). A signal that comes right before it falls
#: asleep is handled when it wakes: of two sent at once, every third run lost the second.
HEAR_AFTER = 0.2
#: A tick that comes this much too late means that the whole process was stopped (seconds).
SUSPENDED = 2.0
#: An attempt that runs this long is announced as running before it ends (seconds).
WORTH_ANNOUNCING = 0.01

#: States in which a run that has ended may be gone on with in the same session.
_LINGERS = frozenset({RunState.SUCCESS, RunState.FAILED, RunState.CANCELLED})


class Runner:
    """Runs one frozen graph to its end. Implements the executors' `Hub`."""

    def __init__(
        self,
        machine: Machine,
        values: Values,
        store: Store,
        executors: Mapping[str, Executor],
        scope: RunScope,
        *,
        carryover: Carryover,
        put_blob: Callable[[bytes], BlobRef],
        say: Callable[[str], None],
    ) -> None:
        self.machine = machine
        self.values = values
        self.arguments = values.arguments
        self.run = scope
        self.executors = executors
        self.bus = Bus(self._tell)
        self.store = store
        self.done = threading.Event()
        self.broken: BaseException | None = None
        """Why the runner had to stop without having recorded everything; None if it did not."""
        self._carryover = carryover
        self._put_blob = put_blob
        self._say = say
        self._lock = threading.Lock()
        self._work = {lane: threading.Condition(self._lock) for lane in executors}
        self._idle = dict.fromkeys(executors, 0)
        self._alone = NOBODY
        """Which thread took a batch that is not worth sharing, and when, until it comes back."""
        self._inbox: deque[list[Attempt]] = deque()
        self._recorder = Recorder(store, self.bus.publish, self._tell)
        self._closing = False
        self.linger = False
        """Stay open for commands once the run has ended by itself; see `end_session`."""
        self.exceptions: dict[int, BaseException] = {}
        """The live exceptions of task runs that failed in this session, for `raise … from`."""
        self._announced: set[Attempt] = set()
        """Themselves, not their ids: one that begins may be where one that ended was."""
        self.pollers: list[Callable[[], None]] = []
        """Called at every tick, outside the lock: at least ten times a second where the caller's
        thread handles signals, else at least once. One that raises StorageError ends the run;
        one that raises anything else is left out from then on."""
        self.hears = True
        """The thread that waits for the run's end is the one that handles signals."""
        self._wake = threading.Event()
        self._dozing = False
        """The ticker sleeps until a step wakes it."""

    # == the executors' side ================================================================

    def exchange(self, lane: str, finished: list[Attempt]) -> list[Attempt] | None:
        """Hand in outcomes; returns the next batch, or None when it is time to end."""
        try:
            return self._exchange(lane, finished)
        except BaseException as error:
            self._fail(error)
            return None

    @property
    def hear_after(self) -> float | None:
        """Longest sleep of the caller's thread; None where no signal is handled there."""
        return HEAR_AFTER if self.hears else None

    def _exchange(self, lane: str, finished: list[Attempt]) -> list[Attempt] | None:
        if finished:
            self._keep_large(finished)
            # Before the lock is had: whoever holds it next records for all that wait for it.
            self._inbox.append(finished)
        condition = self._work[lane]
        while True:
            with self._lock:
                if self._closing:
                    return None
                self._step()
                batch = self._take(lane)
                news = self.machine.changes
                ticket, asks = self._conclude(lane if batch else "")
                if not (batch or news or asks):
                    self._idle[lane] += 1
                    condition.wait(self.hear_after if lane == "sequential" else None)
                    self._idle[lane] -= 1
                    continue
            # What was taken may rest on a step of somebody else that is not on disk yet.
            if not self._settle(ticket):
                return None
            self._do(asks)
            if batch:
                return None if self._closing else batch

    def post(self, finished: list[Attempt]) -> None:
        """Hand in outcomes; the ticker, or the next worker with news, takes them in."""
        try:
            self._keep_large(finished)
        except BaseException as error:
            self._fail(error)
        self._inbox.append(finished)
        self._wake.set()

    def stored_arguments(self, attempt: Attempt) -> Arguments:
        return self.values.arguments(attempt, self.values.stored)

    def note(self, text: str) -> None:
        self._tell(text)

    def _keep_large(self, finished: list[Attempt]) -> None:
        for a in finished:
            if a.status is SUCCESS and type(a.payload) is Encoded and len(a.payload) > BLOB_BYTES:
                try:
                    ref = self._put_blob(a.payload)
                except StorageFull:
                    continue  # the journal takes it, once there is room
                a.payload = ref
                if type(a.value) is Encoded:
                    a.value = ref

    # == one step, under the lock ===========================================================

    def _step(self) -> None:
        inbox = self._inbox
        finished = inbox.popleft() if inbox else []
        while inbox:
            finished = finished + inbox.popleft()
        if finished and not self._closing:
            self.machine.finish(finished, now())

    def _take(self, lane: str) -> list[Attempt]:
        if self._alone[0] == threading.get_ident():
            self._alone = NOBODY
        queue = self.machine.queues.get(lane)
        if not queue or self._closing:
            return []
        executor = self.executors[lane]
        if lane == "async":
            flying = len(executor.in_hand())
            return self.machine.take(lane, now(), INFINITE, max(1, executor.workers - flying))
        share = -(-queue.count // executor.workers)
        alone = self._for_one_alone(lane)
        if alone:
            if self._one_is_at_it():
                return []
            share = queue.count
        seconds = max(BATCH_SECONDS, COMMITS_PER_BATCH * self.store.commit_seconds)
        batch = self.machine.take(lane, now(), min(seconds, LONGEST_BATCH), share)
        # Where longer ones came with it, nobody is kept from the others of these.
        if alone and self.machine.batch_seconds < len(batch) * (TINY + OWN):
            self._alone = threading.get_ident(), now()
        return batch

    def _for_one_alone(self, lane: str) -> bool:
        """True if what comes next is too little to be shared by threads."""
        return lane == "thread" and 0 <= self.machine.cost_of_next(lane) < TINY

    def _one_is_at_it(self) -> bool:
        """True if another thread has such in hand, and soon comes for more."""
        return now() - self._alone[1] < SOON

    def _conclude(self, taker: str = "") -> tuple[int, list[Expand | Stop]]:
        """The end of each step: the ticket to settle, and what to do then, without the lock.

        `taker`: the lane of a worker that has just taken a batch, and will be back.
        """
        machine = self.machine
        if machine.changes:
            changes, machine.changes = machine.changes, []
            self._apply(changes)
            self._recorder.add(changes)
        asks: list[Expand | Stop] = []
        if machine.asks:
            asks, machine.asks = machine.asks, asks
        self._wake_idle(taker)
        if self._dozing:
            self._wake.set()
        return self._recorder.queued, asks

    def _apply(self, changes: list[Change]) -> None:
        """Keep the values in step with the machine."""
        values = self.values
        for change in changes:
            if isinstance(change, Succeeded):
                slots = values.slots
                for a in change.attempts:
                    slots[a.tid] = a.value
            elif isinstance(change, Failed):
                a = change.attempt
                values.errors[a.tid] = (str(a.reason), a.error)
                if a.exception is not None and len(self.exceptions) < KEPT_EXCEPTIONS:
                    self.exceptions[a.tid] = a.exception
            elif isinstance(change, Expanded):
                values.grow(change.base + change.size)
                for new, old in change.carried:
                    values.slots[new] = values.slots[old]
            elif isinstance(change, Reset):
                for tid in change.tids:
                    values.forget(tid)
                values.recount()
        if self.machine.ended:
            values.ended(self.machine.ended)
            self.machine.ended.clear()

    def _tell(self, text: str) -> None:
        """Say it; whoever cannot hear it (a closed pipe) does not stop the run by that."""
        with suppress(Exception):
            self._say(text)

    def _close(self) -> None:
        """Let everybody go, once nothing is being written any more."""
        self._recorder.close()
        self._closing = True
        for condition in self._work.values():
            condition.notify_all()
        self.done.set()
        self._wake.set()

    def _wake_idle(self, taker: str) -> None:
        """Have others take what is left: before the disk is waited for, which takes as long."""
        for lane, idle in self._idle.items():
            if idle:
                queue = self.machine.queues.get(lane)
                if queue and not (
                    lane == taker and self._for_one_alone(lane) and self._one_is_at_it()
                ):
                    self._work[lane].notify(min(idle, queue.count))

    # == what is recorded, outside the lock =================================================

    def _settle(self, ticket: int, *, wait: bool = True) -> bool:
        """True once so many steps are on disk; see `Recorder.settle`. Ends the run at its end."""
        settled = self._recorder.settle(ticket, wait=wait)
        if settled and self.machine.over:
            with self._lock:
                if self._ended() and self._recorder.stored == self._recorder.queued:
                    self._close()
        return settled

    def _ended(self) -> bool:
        """True if there is nothing left to come, not even a person's command."""
        lingers = self.linger and self.machine.run_state in _LINGERS
        return self.machine.over and not lingers

    def _fail(self, error: BaseException) -> None:
        """The disk failed, or what must not happen did: stop, and claim nothing more."""
        with self._lock:
            if not self._closing:
                self.broken = error
                self._close()

    # == what the machine asks for, outside the lock ========================================

    def _do(self, asks: list[Expand | Stop], *, wait: bool = True) -> None:
        while asks:
            for ask in asks:
                if isinstance(ask, Stop):
                    a = ask.attempt
                    self.executors[self.machine.lanes[a.node.index]].stop(a, "cancel")
                else:
                    self._expand(ask)
            with self._lock:
                ticket, asks = self._conclude()
            self._settle(ticket, wait=wait)

    def _expand(self, ask: Expand) -> None:
        k = ask.node
        try:
            count, keys, marks = self.values.expansion(k)
        except BaseException as error:
            info = describe(error)
            with self._lock:
                if self.machine.awaits(ask):
                    self.machine.expansion_failed(k, info, now())
            return
        with self._lock:
            if self.machine.awaits(ask):
                mapped = self.machine.graph.nodes[k].mapped
                sources = mapped.sources if mapped is not None else ()
                carried, barred = self._carryover.match(k, count, keys, marks, sources)
                self.machine.expand(k, count, now(), keys, marks, carried, barred)

    # == people's side ======================================================================

    def command(self, act: Callable[[Machine, float], Any], *, wait: bool = True) -> Any:
        """Do something to the machine under the lock, record it, and see it through.

        `wait`: for room on a full disk. Raises RunError if the run has ended, and what
        keeps the command from being recorded.
        """
        with self._lock:
            if self._closing or self._ended():
                raise RunError("the run has just ended")
            result = act(self.machine, now())
            ticket, asks = self._conclude()
        try:
            settled = self._settle(ticket, wait=wait)
            self._do(asks, wait=wait)
        except BaseException as error:
            self._fail(error)
            raise
        if self.broken is not None:
            raise self.broken
        if wait and not settled:
            raise RunError("the run has just been left; this is not recorded")
        return result

    def end_session(self) -> None:
        """Stay open no longer: now if the run has ended, else when it does."""
        self.linger = False
        try:
            self._settle(self._recorder.queued, wait=False)
        except BaseException as error:
            self._fail(error)

    def abandon(self) -> None:
        """Stop at once, whatever is in hand: it is interrupted, and runs again on resume."""
        with self._lock:
            self.machine.interrupt_now(now())
            ticket, _ = self._conclude()
        try:
            self._settle(ticket, wait=False)
        except BaseException as error:
            self._fail(error)
        with self._lock:
            self._close()

    def start(self, workers: Mapping[str, int], grace: float) -> None:
        """Queue what can run and start the executors."""
        began = now()  # before any attempt does: a stop may come before the ticker's first look
        with suppress(StorageError, RunError):  # told by whoever looks at `broken`
            self.command(lambda machine, at: machine.start(at))
        if not self._closing:
            for lane, executor in self.executors.items():
                executor.start(self, workers[lane], grace)
        threading.Thread(
            target=self._tick_on, args=(began,), name="flowforge-ticker", daemon=True).start()

    # == time ===============================================================================

    def _tick_on(self, looked: float) -> None:
        """The ticker: timeouts, due retries, announcements, and what slow tasks hold up."""
        quiet, pause = 0, 0.0
        while not self.done.is_set():
            # From look to look: it may have been stopped anywhere on its way.
            before, looked = looked, now()
            if looked - before - pause > SUSPENDED:
                self._slept(looked - before - pause)
            try:
                busy = self._tick()
            except BaseException as error:
                self._fail(error)
                return
            quiet = 0 if busy else quiet + 1
            pause = self._pause(quiet)
            self._wake.wait(pause)
            self._dozing = False
            self._wake.clear()
            self._poll()

    def _pause(self, quiet: int) -> float:
        """Seconds until the next look, after so many at which nothing was to be done."""
        pause, dues = TICK if quiet < _QUIET else IDLE_TICK, []
        if pause == IDLE_TICK and not self.hears:
            self._dozing = True  # first: a step that the look below does not see wakes the ticker
            running = self._in_hand()
            self._dozing = self._settled(running)
            if self._dozing:
                pause = DOZE
                dues += [a.start + a.timeout for a in running if a.timeout is not None]
        if (due := self.machine.next_due) is not None:
            dues.append(due)
        return min([pause, *(max(0.0005, due - now()) for due in dues)])

    def _in_hand(self) -> list[Attempt]:
        return [a for executor in self.executors.values() for a in executor.in_hand()]

    def _settled(self, running: list[Attempt]) -> bool:
        """True if nothing is to be done before somebody steps, or a time has come: all that was
        handed out runs, as announced, and is not being stopped; all that happened is on disk."""
        return (
            len(running) == len(self.machine.in_hand)
            and all(a in self._announced and not a.cancelled for a in running)
            and not self._inbox and self._recorder.stored == self._recorder.queued
        )

    def _poll(self) -> None:
        for poll in list(self.pollers):
            try:
                poll()
            except StorageError as error:
                self._fail(error)
            except Exception as error:
                self.pollers.remove(poll)
                self._tell(f"{poll!r} raised {type(error).__name__}: {error}; it is left out")

    def _tick(self) -> bool:
        at = now()
        running = []
        for executor in self.executors.values():
            held = executor.in_hand()
            running += held
            for a in held:
                if a.timeout is not None and a.start and at - a.start > a.timeout:
                    executor.stop(a, "timeout")
                elif a.cancelled:
                    executor.stop(a, "cancel")  # again: it may have been between two hands
            executor.rebalance()
        if len(self._announced) > len(running):  # else it would look every 8 ms until the next
            self._announced.intersection_update(running)
        fresh = [a for a in running
                 if a not in self._announced and a.start and at - a.start > WORTH_ANNOUNCING]
        due = self.machine.next_due
        if not (fresh or self._inbox or (due is not None and due <= at)
                or self._recorder.overdue or self._held_up(at)):
            return bool(self.machine.in_hand) and len(running) != len(self._announced)
        self._announced = {a for a in running if a.start and at - a.start > WORTH_ANNOUNCING}
        with self._lock:
            self._step()
            self.machine.tick(at)
            fresh = [a for a in fresh if self.machine.in_hand.get(a.tid) is a and a.status is None]
            if fresh:
                self.machine.announce(fresh)
            ticket, asks = self._conclude()
        self._settle(ticket, wait=False)
        self._do(asks, wait=False)
        return True

    def _held_up(self, at: float) -> bool:
        """True if the thread to which work was left does not come for it."""
        return (self._idle.get("thread", 0) > 0 and bool(self.machine.queues["thread"])
                and not self.machine.paused and not self.machine.halted
                and at - self._alone[1] > SOON)

    def _slept(self, seconds: float) -> None:
        """The machine was suspended: no attempt is to time out for that."""
        for executor in self.executors.values():
            for a in executor.in_hand():
                if a.timeout is not None:
                    a.timeout += seconds
