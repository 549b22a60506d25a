"""People's commands to a live run: what the control socket, and a screen, may ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.core.machine import Machine
from engine.core.states import IS_TERMINAL, TaskState
from engine.errors import RunError
from engine.runtime.gauges import Gauges
from engine.runtime.looking import Look
from engine.runtime.names import Names
from engine.runtime.reloading import Reloader
from engine.runtime.runner import Runner
from engine.runtime.undoing import (
    UNDO_SECONDS,
    Lost,
    Rows,
    Undo,
    about_to_go,
    check_untouched,
    give_back,
    how_it_stood,
    results_in,
)
from engine.worker.clock import now

#: Lanes whose workers can be more or fewer while the run lasts; and the most of them.
RESIZABLE = frozenset({"thread", "process"})
MOST_WORKERS = 1024


def _amount(text: str, now: int) -> int:
    """How many workers `+1`, `-1` or `4` means. Raises RunError."""
    digits = text.removeprefix("+").removeprefix("-")
    if not digits.isdecimal() or len(digits) > 4:
        raise RunError(f"{text!r} is no number of workers; give +1, -1 or how many")
    number = int(text)
    wanted = now + number if text[0] in "+-" else number
    if wanted < 1:
        raise RunError("a run has at least one worker; pause it to start nothing")
    if wanted > MOST_WORKERS:
        raise RunError(f"{wanted:,} workers are more than the {MOST_WORKERS:,} that a run may have")
    return wanted


class _NothingDone(Exception):
    """Leaves the code as it was, since nothing would run it."""


class Commands:
    """Named commands on a runner. Each answers with a line for the person who asked.

    Raises RunError where a command makes no sense in the state that the run is in.
    """

    def __init__(
        self, runner: Runner, names: Names, *, look: Look, gauges: Callable[[], Gauges],
        reloader: Reloader, lane: str, rows: Rows,
    ) -> None:
        self._runner = runner
        self._names = names
        self._look = look
        self._gauges = gauges
        self._reloader = reloader
        self._rows = rows
        """The journal so far, from its first row."""
        self._undo: Undo | None = None
        self._lane = lane
        """Which executor the run's tasks have by default."""
        self._known: dict[str, Callable[..., str]] = {
            "cancel": self.cancel, "pause": self.pause, "unpause": self.unpause,
            "retry": self.retry, "rerun": self.rerun, "status": self.status,
            "waits": self.waits, "workers": self.workers, "close": self.close,
            "undo": self.undo,
        }
        self._answers: dict[str, Callable[[list[str]], dict[str, Any]]] = {
            "figures": self.figures, "inputs": self.inputs,
        }

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a request of the control socket: {"command": …, "tasks": [names]}, and more."""
        name = str(request.get("command"))
        tasks = [str(t) for t in request.get("tasks") or ()]
        if name in self._answers:
            return {"ok": True, "message": "", **self._answers[name](tasks)}
        act = self._known.get(name)
        if act is None:
            known = ", ".join([*self._known, *self._answers])
            raise RunError(f"there is no command {name!r}; there are {known}")
        more = {"reload": bool(request.get("reload"))} if name in ("retry", "rerun") else {}
        return {"ok": True, "message": act(tasks, **more)}

    def _ids(self, names: Sequence[str]) -> list[int]:
        return [tid for name in names for tid in self._names.find(name)]

    def _do(self, act: Callable[[Machine, float], Any]) -> Any:
        return self._runner.command(act)

    def _check_open(self) -> None:
        """Raise RunError if there is nothing left to steer."""
        machine = self._runner.machine
        if machine.over:
            raise RunError(f"the run has ended {machine.run_state}; retry or rerun go on with it")

    def _check_settled(self) -> None:
        machine = self._runner.machine
        if machine.halted in ("cancel", "drain") and not machine.over:
            raise RunError("the run is being stopped; wait until it has ended")

    def cancel(self, tasks: list[str]) -> str:
        """Cancel the run, or some task runs."""
        self._check_open()
        if not tasks:
            self._undo = None
            self._do(lambda m, at: m.cancel_run(at))
            return "the run is being cancelled"
        ids = self._ids(tasks)
        count = self._do(lambda m, at: self._cancel(m, ids, at))
        if not count:
            raise RunError(f"nothing to cancel: {self._told(ids)}")
        return f"{count} task run{'s' if count != 1 else ''} cancelled"

    def _cancel(self, machine: Machine, ids: list[int], at: float) -> int:
        waiting = [t for t in machine.items_of(ids) if not IS_TERMINAL[machine.state[t]]]
        running = [t for t in waiting if t in machine.in_hand]
        below = [t for t in machine.downstream(waiting) if not machine.has_started(t)]

        def back() -> str:
            if running:
                name = self._name(running[0])
                raise RunError(f"it cannot be undone: {name} was running, and was told to stop")
            self._do(lambda m, at: self._go_on(m, waiting, below, at))
            return f"{len(waiting)} task run{'s' if len(waiting) != 1 else ''} go on"

        count = machine.cancel(ids, at)
        if count:
            self._can_undo(back)
        return count

    def _go_on(self, machine: Machine, waiting: list[int], below: list[int], at: float) -> None:
        """Take a cancel back. `below`: what had not started by then, and would be reset too."""
        started = next(filter(machine.has_started, below), None)
        if started is not None:
            raise RunError(f"it cannot be undone: {self._name(started)} has started")
        machine.retry(waiting, at)

    def pause(self, tasks: list[str]) -> str:
        """Stop dispatching, of the run or of some tasks. What runs goes on."""
        self._check_open()
        if tasks:
            nodes = {self._runner.machine.node_of(t) for t in self._ids(tasks)}
            self._do(lambda m, at: m.pause_nodes(nodes))
            self._can_undo(lambda: self.unpause(tasks))
            return f"{', '.join(tasks)} paused; what runs goes on"
        if not self._do(lambda m, at: m.pause(at)):
            raise RunError("the run is paused already, or ending")
        self._can_undo(lambda: self.unpause([]))
        return "the run is paused; what runs goes on"

    def unpause(self, tasks: list[str]) -> str:
        """Dispatch again."""
        if tasks:
            nodes = {self._runner.machine.node_of(t) for t in self._ids(tasks)}
            self._do(lambda m, at: m.unpause_nodes(nodes))
            self._can_undo(lambda: self.pause(tasks))
            return f"{', '.join(tasks)} goes on"
        if not self._do(lambda m, at: m.unpause(at)):
            raise RunError("the run is not paused")
        self._can_undo(lambda: self.pause([]))
        return "the run goes on"

    def retry(self, tasks: list[str], *, reload: bool = False) -> str:
        """Run failed task runs again; without names, all that failed so far, or were cancelled
        if none failed.

        `reload`: with the code as their file has it now.
        """
        self._check_settled()
        machine = self._runner.machine
        ids = self._ids(tasks) if tasks else sorted(machine.failed) or machine.cancelled()
        count, code = self._start_over(Machine.retry, ids, reload)
        if not count:
            raise RunError(f"nothing to retry: {self._told(ids) or 'nothing has failed'}")
        return f"{count} task run{'s' if count != 1 else ''} will be tried again{code}"

    def rerun(self, tasks: list[str], *, reload: bool = False) -> str:
        """Discard successes and run again, with everything downstream. `reload`: as in `retry`."""
        if not tasks:
            raise RunError("name the tasks to rerun")
        self._check_settled()
        ids = self._ids(tasks)
        count, code = self._start_over(Machine.rerun, ids, reload)
        if not count:
            raise RunError(f"nothing to rerun: {self._told(ids)}")
        return f"{count} task run{'s' if count != 1 else ''} will run again, " \
               f"with everything downstream{code}"

    def _start_over(
        self, how: Callable[[Machine, Sequence[int], float], list[int]], ids: list[int],
        reload: bool,
    ) -> tuple[int, str]:
        """Reset task runs; how many, and what is to be said of their code."""
        def reset(machine: Machine, at: float) -> int:
            found = how(machine, ids, at)
            if found:
                self._can_take_back(machine)
            return len(found)

        if not reload:
            return int(self._do(reset)), ""

        def act(machine: Machine, at: float) -> int:
            count = reset(machine, at)
            if not count:
                raise _NothingDone
            # In one hold of the lock: no new worker gets old code, and no old one new code.
            for executor in self._runner.executors.values():
                executor.renew()
            self._reloader.take(edition, machine)
            return count

        try:
            with self._reloader.edition() as edition:
                count = self._do(act)
        except _NothingDone:
            return 0, ""
        self._runner.note(edition.told())
        return count, f"; {edition.told()}"

    # -- undo ----------------------------------------------------------------------------------

    def _can_undo(self, act: Callable[[], str]) -> None:
        self._undo = Undo(now(), act)

    def _can_take_back(self, machine: Machine) -> None:
        """Let the reset that was just made be undone. Under the runner's lock."""
        taken = machine.taken
        assert taken is not None  # something was reset
        lost = about_to_go(taken, self._runner.values)
        self._can_undo(lambda: self._take_back(lost))

    def _take_back(self, lost: Lost) -> str:
        taken = lost.taken
        check_untouched(self._runner.machine, taken, self._name)
        restored = how_it_stood(self._rows, taken)

        def act(machine: Machine, at: float) -> None:
            check_untouched(machine, taken, self._name)
            machine.take_back(restored, at)
            give_back(lost, self._runner.values)

        self._do(act)
        count, results = len(taken.tids), results_in(taken)
        told = f" and {results:,} result{'s' if results != 1 else ''}" if results else ""
        return f"{count:,} task run{'s' if count != 1 else ''}{told} stand as before"

    def undo(self, tasks: list[str]) -> str:
        """Take back the last retry, rerun, cancel, pause or unpause: within some seconds, and if
        nothing of it has started."""
        last, self._undo = self._undo, None
        if last is None or now() - last.at > UNDO_SECONDS:
            raise RunError(f"nothing to undo: it takes back what was asked for in the last "
                           f"{UNDO_SECONDS:g} seconds")
        told = last.act()
        self._undo = None
        return told

    def workers(self, amount: list[str]) -> str:
        """Have `+N` workers more, `-N` fewer, or `N`; without an amount, how many there are.

        Of the threads or processes that the run's tasks have by default, or else of those that it
        has. One that is busy and too many ends its attempt first.
        """
        executors = self._runner.executors
        lane = next((lane for lane in (self._lane, "process", "thread") if lane in executors), "")
        if lane not in RESIZABLE:
            raise RunError("the number of workers is that of threads or processes, and this run "
                           "has neither; start it with --executor thread or process")
        executor = executors[lane]
        before = executor.workers
        if not amount:
            return f"{before} {lane} worker{'s' if before != 1 else ''}"
        self._check_open()
        wanted = _amount(amount[0], before)
        self._do(lambda m, at: executor.resize(wanted))
        return f"{wanted} {lane} worker{'s' if wanted != 1 else ''} now, {before} before"

    def close(self, tasks: list[str]) -> str:
        """Have a run that stays open after its end go."""
        ended = self._runner.machine.over
        self._runner.end_session()
        return "the run is closed" if ended else "the run will close when it has ended"

    def status(self, tasks: list[str]) -> str:
        """The run's state."""
        return str(self._runner.machine.run_state)

    def waits(self, tasks: list[str]) -> str:
        """What a task run waits for that is ready to run; empty for any other."""
        ids = self._ids(tasks[:1])
        if not ids or self._runner.machine.state[ids[0]] != TaskState.QUEUED:
            return ""
        return str(self._do(lambda m, at: m.waits_for(ids[0])))

    def figures(self, tasks: list[str]) -> dict[str, Any]:
        """Workers, queues, limits, CPU and memory: see `Gauges`."""
        return {"figures": self._gauges().to_data()}

    def inputs(self, tasks: list[str]) -> dict[str, Any]:
        """The inputs of a task run, as shown, and its result."""
        if not tasks:
            raise RunError("name the task to look at")
        tid = self._ids(tasks[:1])[0]
        return {"inputs": self._look.inputs(tid), "output": self._look.output(tid)}

    def _name(self, tid: int) -> str:
        return self._names.of(tid, self._runner.machine.node_of(tid))

    def _told(self, ids: Sequence[int]) -> str:
        m = self._runner.machine
        told = []
        for tid in ids[:5]:
            state = TaskState(m.state[tid])
            name = self._name(tid)
            ended = "has ended" if IS_TERMINAL[state] else "is"
            told.append(f"{name} {ended} {state.name}")
        return ", ".join(told)
