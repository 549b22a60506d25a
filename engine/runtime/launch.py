"""From a finished graph to a finished run.

The way in order: settings → lanes → the run's files (`opening`) → the plan (`entering`) → machine
and values → what still counts (`restoring`) → runner → signals, control socket, logs → wait →
snapshot (`run_files`). Nothing is started before everything that can be checked was.
"""

from __future__ import annotations

import os
import signal as signals
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from random import random
from typing import Any

from engine.core.dag import Dag
from engine.core.graph import Graph, check_limits
from engine.core.machine import Machine
from engine.core.notices import RunEnded, RunStarted
from engine.core.states import RunState, TaskState
from engine.errors import DefinitionError, RunError, StorageError
from engine.executors.guardian import Guardian, sweep
from engine.executors.local import SequentialExecutor
from engine.runtime.collector import no_collection, set_aside
from engine.runtime.commands import Commands
from engine.runtime.control import ControlServer
from engine.runtime.entering import Entry
from engine.runtime.gauges import Gauges, read_gauges
from engine.runtime.lanes import lanes_of, make_executors, worker_counts
from engine.runtime.looking import Look, preview
from engine.runtime.names import Names
from engine.runtime.notify import NoticeMaker, Registered
from engine.runtime.opening import About, Opened, open_run
from engine.runtime.options import RunOptions
from engine.runtime.outline import Outline
from engine.runtime.reloading import Reloader
from engine.runtime.reporting import Live, Reporter, Several, Silent
from engine.runtime.request import PlanMade, Request, take_request
from engine.runtime.restoring import Restoring
from engine.runtime.run import Run
from engine.runtime.run_files import RunFiles
from engine.runtime.runner import Runner
from engine.runtime.scope import EngineScope
from engine.runtime.selection import check_ready, selected_nodes
from engine.runtime.settings import Settings, settle
from engine.runtime.signals import Signals
from engine.runtime.snapshots import Snapshots
from engine.runtime.values import Values
from engine.state.sqlite_store import SqliteStore
from engine.telemetry.metrics import Metrics, Sampler
from engine.worker.clock import now
from engine.worker.sendable import check_sendable
from engine.worker.standard import hold_standard_streams, working_directory

#: Seconds that a task which runs in the caller's thread has to end after the third Ctrl-C.
LEAVE_AFTER = 1.0


def execute(
    dag: Dag,
    *,
    name: str,
    file: str | None,
    parameters: Mapping[str, Any],
    options: RunOptions,
    handlers: Sequence[Registered],
    form: str,
) -> Run:
    """Run a graph to its end, or carry on the run of it that was interrupted.

    Raises DefinitionError before anything started; StorageError if the state could not be
    kept; KeyboardInterrupt once state is stored, if Ctrl-C ended it, and SystemExit(143) for
    SIGTERM, unless the program has a handler of its own for it. A failed run returns.
    """
    _check_name(name)
    hold_standard_streams()
    if working_directory() is None:
        raise RunError("the working directory was deleted; start from another one")
    request = take_request(name)
    settings = settle(options, request.options)
    with no_collection():
        graph = dag.freeze()
    if request.command == "graph":
        request.graph = graph
        raise PlanMade
    check_limits(graph, settings.limits)
    check_sendable(graph.nodes, settings.executor)
    lanes = lanes_of(graph, settings)
    with no_collection():
        outline = Outline.of(graph)
    about = About(name, file, form, parameters)
    about.encoded()  # refused before anything is written
    selected = selected_nodes(graph, settings.until, settings.only)
    opened = open_run(
        about, settings, request.run_id, force=request.force,
        check_new=lambda: check_ready(graph, selected, [False] * graph.size),
    )
    try:
        launch = Launch(graph, lanes, outline, about, settings, opened, request, handlers)
        run = launch.go()
    finally:
        opened.close()
    request.run = run
    launch.raise_what_stopped_it()
    return run


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DefinitionError(f"the workflow's name {name!r} holds half a character (a lone "
                              "surrogate), which cannot be stored; give it another") from None


class Launch:
    """One session of one run, from its files being open to their being closed."""

    def __init__(
        self,
        graph: Graph,
        lanes: Sequence[str],
        outline: Outline,
        about: About,
        settings: Settings,
        opened: Opened,
        request: Request,
        handlers: Sequence[Registered],
    ) -> None:
        self.outline = outline
        self.about = about
        self.settings = settings
        self.opened = opened
        self.request = request
        self.reporter = _reporter(request, settings)
        self.files = RunFiles(opened)
        entry = Entry(opened, outline, about, settings, request)
        self.plan = entry.plan
        selected = selected_nodes(graph, settings.until, settings.only)
        self.machine = Machine(
            graph, lanes, limits=settings.limits, on_failure=settings.on_failure, random=random,
            selected=selected,
        )
        self.names = Names(graph.names, self._expansion)
        self.values = Values(
            graph, self.machine, read_blob=self.files.read_blob, reload=self.files.values)
        restoring = Restoring(self.machine, self.values, self.names, self.files, request,
                              entry.plan, self.reporter.say)
        if opened.resumed:
            returned = graph.result is not None or about.form != "function"
            restoring.restore(opened.history.record, returned=returned, selected=selected)
        self.carryover = restoring.carryover
        entry.record()  # what is asked for can be done: until here an error changes nothing
        self.scope = EngineScope(opened.run_id, settings.home, self.names, self.files.logs)
        self.guardian = _guardian(opened, self.reporter)
        self.executors = make_executors(lanes, self.guardian)
        self.runner = Runner(
            self.machine, self.values, opened.store, self.executors, self.scope,
            carryover=self.carryover, put_blob=self.files.put_blob, say=self.reporter.say,
        )
        self.runner.linger = request.linger
        self.notices = NoticeMaker(
            handlers, opened.run_id, self.machine, self.names, self.reporter.say
        )
        self.metrics = Metrics()
        self.sampler = Sampler(
            lambda: [pid for executor in self.executors.values() for pid in executor.pids()])
        self.look = Look(
            self.machine, self.values, read_blob=self.files.read_blob,
            reload=self.files.values_aside)
        self.commands = Commands(
            self.runner, self.names, look=self.look, gauges=self._gauges,
            reloader=Reloader(about, graph, outline, lanes, settings, self.values),
            lane=settings.executor, rows=self.files.rows_aside)
        self._signal: int | None = None
        self._killed = False
        self._leaving: threading.Timer | None = None

    @property
    def graph(self) -> Graph:
        """The graph, with the code that runs now."""
        return self.machine.graph

    def _gauges(self) -> Gauges:
        return read_gauges(self.machine, self.executors, lambda: self.sampler.latest)

    def _expansion(self, k: int) -> tuple[int, int, Sequence[str] | None] | None:
        base = self.machine.base[k]
        return None if base < 0 else (base, self.machine.count[k], self.machine.keys.get(k))

    # == the session ========================================================================

    def go(self) -> Run:
        """Run to the end of the session; returns the run as it then is."""
        began = now()
        live = Live(self.opened.run_id, self.about.workflow, self.machine, self.names,
                    self.graph.names, self._resumed_line(),
                    str(self.settings.home) if self.opened.run_dir is not None else None,
                    self.outline, self.opened.history.record, self.files.logs, self.commands,
                    self.scope.progress_of, self.scope.write_stray, self.look, self._gauges,
                    self._stop, self.runner.end_session, self._facts())
        self.reporter.begin(live)
        for note in self.opened.notes:
            self.reporter.say(note)
        if self.plan is not None and not self.plan.same:
            self.reporter.plan(self.plan)
        with ExitStack() as stack:
            self._open_session(stack)
            stack.enter_context(set_aside())
            self._tell_start()
            self._drive()
        if self.runner.broken is None:
            self.files.finish(self._figures())
        run = self._run(now() - began)
        self._tell_end(run)
        self.reporter.end(run)
        return run

    def _facts(self) -> dict[str, Any]:
        about, s = self.about, self.settings
        return {
            "file": about.file or "", "executor": s.executor, "workers": s.workers,
            "durability": s.durability,
            "parameters": {name: preview(value) for name, value in about.parameters.items()},
        }

    def _resumed_line(self) -> str:
        if not self.opened.resumed:
            return ""
        record = self.opened.history.record
        counts = record.counts()
        done = counts[TaskState.SUCCESS] + counts[TaskState.CACHED]
        last = record.ended or max(
            (s.get("began", 0.0) for s in self.opened.history.sessions[:-1]), default=now())
        return (f"carrying on run {self.opened.run_id} from {_ago(now() - last)}: "
                f"{done:,} done, {sum(counts.values()) - done:,} to go")

    def _open_session(self, stack: ExitStack) -> None:
        from engine.worker import capture

        if self.guardian is not None:
            stack.callback(self.guardian.close)
        capture.install()
        stack.callback(capture.uninstall)
        stack.callback(self.scope.close)
        if not isinstance(self.reporter, Silent):
            self.runner.bus.subscribe(self.reporter.changes)
        self.runner.bus.subscribe(self.metrics)
        self.runner.pollers.append(self.sampler.poll)
        if isinstance(self.opened.store, SqliteStore):
            snapshots = Snapshots(self.files.write_snapshot)
            self.runner.pollers += [snapshots.poll, self.opened.store.check_in_place]
            stack.callback(snapshots.close)
        stack.callback(self.sampler.close)
        if self.notices.wants_tasks():
            self.runner.bus.subscribe(self.notices.changes)
        stack.callback(self.runner.bus.close)
        if self.opened.socket is not None:
            server = ControlServer(self.opened.socket, self.commands.handle)
            stack.callback(server.close)

    def _drive(self) -> None:
        counts = worker_counts(list(self.executors), self.settings)
        sequential = self.executors.get("sequential")
        assert sequential is None or isinstance(sequential, SequentialExecutor)
        with Signals(self._on_signal, sequential.interrupt_user_code if sequential else _nothing
                     ) as heard:
            self.runner.pollers.append(heard.poll)
            self.runner.hears = heard.hears
            self.runner.start(counts, self.settings.grace)
            if sequential is not None:
                sequential.drive()
                if self._leaving is not None:
                    self._leaving.cancel()
            while not self.runner.done.wait(self.runner.hear_after):
                """Python handles a signal in this thread, between two of its steps."""
            for lane, executor in self.executors.items():
                # A thread cannot be killed and is not waited for; a process must not live on.
                if not self._killed or lane == "process":
                    executor.close()
            self._signal = heard.first

    def _on_signal(self, level: int) -> None:
        self._stop(level)
        if self._killed and "sequential" in self.executors:
            # The task has the thread that would have to leave, and may swallow what is
            # raised in it. All that counts is recorded.
            self._leaving = threading.Timer(LEAVE_AFTER, os._exit, (128 + signals.SIGINT,))
            self._leaving.daemon = True
            self._leaving.start()

    def _stop(self, level: int) -> None:
        """End the session: 1 starts nothing new, 2 stops what runs too, 3 leaves at once."""
        self.runner.end_session()
        if level == 1:
            self.runner.note("stopping: no new task starts; once more to stop the running ones")
            self._drain(stop_running=False)
        elif level == 2:
            self.runner.note("stopping the running tasks; once more to leave at once")
            self._drain(stop_running=True)
        else:
            self._killed = True
            self.runner.abandon()

    def _drain(self, *, stop_running: bool) -> None:
        # Not to be held up by a full disk: the next signal must still be heard.
        with suppress(RunError, StorageError):
            self.runner.command(
                lambda m, at: m.drain("signal", at, stop_running=stop_running), wait=False)

    # == the end ============================================================================

    def _figures(self) -> dict[str, Any]:
        """What this session did, in figures: kept with the run."""
        slots = sum(e.workers for lane, e in self.executors.items() if lane != "async")
        return {**self.metrics.summary(slots=slots), "processes": self.sampler.summary()}

    def _run(self, seconds: float) -> Run:
        counts = self._counts()
        return Run(
            self.opened.run_id, self.about.workflow, self.files.record_at_end,
            lambda record: Names(self.graph.names, record.expansion),
            self.values.live, self._result,
            state=self.machine.run_state, why="", cause=self._cause(), counts=counts,
            seconds=seconds, signal=self._signal,
        )

    def _counts(self) -> dict[str, int]:
        m = self.machine
        states = bytearray(m.state[:self.graph.size])
        spread = [k for k in range(self.graph.size) if m.base[k] >= 0]
        for k in spread:
            states[k] = 255
        parts = [states, *(m.state[m.base[k]:m.base[k] + m.count[k]] for k in spread)]
        return {s.name: n for s in TaskState if (n := sum(p.count(s) for p in parts))}

    def _cause(self) -> BaseException | None:
        failed = sorted(self.machine.failed)
        return self.runner.exceptions.get(failed[0]) if failed else None

    def _result(self) -> Any:
        if self.graph.result is not None or self.about.form == "function":
            return self.values.resolve(self.graph.result)
        return {n.name: self.values.of_node(n.index, self.values.live)
                for n in self.graph.leaves()}

    def raise_what_stopped_it(self) -> None:
        """Raise what the caller must know of beyond the run's state."""
        if self.runner.broken is not None:
            raise self.runner.broken
        if self.machine.run_state is not RunState.INTERRUPTED or self._signal is None:
            return
        if self._signal == signals.SIGINT:
            raise KeyboardInterrupt
        # As it would have been without a run: what is told to end must not go on.
        if signals.getsignal(self._signal) is signals.SIG_DFL:
            raise SystemExit(128 + self._signal)
        signals.raise_signal(self._signal)

    # == listeners ==========================================================================

    def _tell_start(self) -> None:
        self.notices.tell(RunStarted(
            self.opened.run_id, now(), self.about.workflow, RunState.RUNNING,
            tasks=self.graph.size, resumed=self.opened.resumed,
        ))

    def _tell_end(self, run: Run) -> None:
        failed = sorted(self.machine.failed)
        error = self.values.errors.get(failed[0], ("", None))[1] if failed else None
        self.notices.tell(RunEnded(
            self.opened.run_id, now(), self.about.workflow, run.state, seconds=run.seconds,
            error=error, counts=run.counts,
        ))


def _guardian(opened: Opened, reporter: Reporter) -> Guardian | None:
    """What ends the run's processes should this one die; and those of a dead owner, ended now."""
    try:
        if opened.resumed:
            killed = sweep(opened.run_id)
            if killed:
                reporter.say(f"ended {killed} processes that the run's last owner left behind")
        return Guardian.start(opened.run_id)
    except OSError as error:
        reporter.say(f"no guardian could be started ({error}): should this process be killed, "
                     "its tasks' processes may live on until the run is resumed")
        return None


def _nothing() -> None:
    """No user code runs on this thread that a signal could interrupt."""


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            n = int(seconds // size)
            return f"{n} {unit}{'s' if n != 1 else ''} ago"
    return "a moment ago"


def _reporter(request: Request, settings: Settings) -> Reporter:
    from engine.telemetry.run_log import RunLog

    return Several(_console(request, settings), RunLog())


def _console(request: Request, settings: Settings) -> Reporter:
    if request.reporter is not None:
        return request.reporter(settings.output)
    if settings.output == "silent":
        return Silent()
    from engine.telemetry.console import PlainConsole

    return PlainConsole()
