"""What still counts of a run that is carried on, and what has to run again.

Rule 1: a success counts while its result can be had. One that is needed and cannot (it was not
        kept, its file is gone or damaged) is made again, and nothing else for its sake.
Rule 2: what was cut short and must not be repeated fails, on a resume as on a crash.
Rule 3: the command's own wishes come after that: what it names, or all that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.core.graph import Graph
from engine.core.machine import Machine
from engine.core.record import NO_VALUE, RunRecord
from engine.core.states import FAILED, SUCCESS, TaskState
from engine.errors import CodecError, RunError, StorageError
from engine.runtime.carryover import Before, Carryover
from engine.runtime.names import Names
from engine.runtime.plan import Plan
from engine.runtime.recovery import lost_results
from engine.runtime.request import Request
from engine.runtime.run_files import RunFiles
from engine.runtime.selection import check_ready
from engine.runtime.values import RELEASED, Values
from engine.worker.clock import now
from engine.worker.codec import ABSENT, BlobRef, Encoded, check_pickles


class Restoring:
    """Gives a session's machine and values what is recorded."""

    def __init__(
        self, machine: Machine, values: Values, names: Names, files: RunFiles,
        request: Request, plan: Plan | None, say: Callable[[str], None],
    ) -> None:
        self._machine = machine
        self._values = values
        self._names = names
        self._files = files
        self._request = request
        self._plan = plan
        self._say = say
        self.carryover = Carryover(there=self._at_hand)
        """What items of maps take over from those before them."""
        machine.lost = self._lost_by_now

    @property
    def _graph(self) -> Graph:
        """With the code that runs now."""
        return self._machine.graph

    def restore(self, record: RunRecord, *, returned: bool, selected: set[int] | None) -> None:
        """Take up a recorded run, and reset what has to run again.

        `returned`: what the workflow returns is needed to the end; `selected`: the nodes that are
        to run, None for all. Raises RunError, DefinitionError.
        """
        machine, values = self._machine, self._values
        machine.restore(record)
        values.slots = list(record.values)
        values.errors = dict(record.errors)
        failed = record.to_retry(unasked=self._request.command != "retry")
        cut_short = [t for t in record.in_flight() if self._fails_on_interrupt(record.node_of(t))]
        machine.fail_interrupted(cut_short, now())
        self._reset_as_asked(failed)
        stands = bytes(machine.state)
        lost = lost_results(self._graph, machine, values.kept if returned else (), self._there)
        before: dict[int, Before] = dict(record.previous)
        for k in lost:
            spread = record.expansions.get(k) if k < record.size else None
            if spread is not None:
                before[k] = (*spread, record.marks.get(k))
        if lost:
            machine.recompute(lost, "its result is needed again and was not kept")
        check_ready(
            self._graph, selected, [s == SUCCESS for s in machine.state[:self._graph.size]])
        values.recount()
        self.carryover = Carryover(
            before, done=lambda t: stands[t] == SUCCESS, there=self._there, marks=record.marks,
            barred=lambda t: stands[t] == FAILED and (
                t in cut_short or record.was_interrupted(t)),
        )

    def _fails_on_interrupt(self, node: int) -> bool:
        return self._graph.nodes[node].spec.options.on_interrupt == "fail"

    # -- what is asked for ---------------------------------------------------------------------

    def _reset_as_asked(self, failed: list[int]) -> None:
        """What the command names, or on a plain resume all that failed or was cancelled."""
        request, machine = self._request, self._machine
        ids = [tid for task in request.tasks for tid in self._names.find(task)]
        if self._plan is not None:
            machine.rerun(sorted(self._plan.rerun), now())
            failed = [t for t in failed if machine.node_of(t) not in self._plan.left]
        if request.command == "rerun":
            self._insist(machine.rerun(ids, now()), ids)
        elif request.command == "retry" and ids:
            self._insist(machine.retry(ids, now()), ids)
        else:
            machine.retry(failed, now())

    def _insist(self, reset: list[int], asked: Sequence[int]) -> None:
        if not reset:
            told = ", ".join(
                f"{self._name(t)} is {TaskState(self._machine.state[t]).name}" for t in asked)
            raise RunError(f"nothing to {self._request.command}: {told}")

    def _name(self, tid: int) -> str:
        return self._names.of(tid, self._machine.node_of(tid))

    # -- which results can be had --------------------------------------------------------------

    def _lost_by_now(self) -> list[int]:
        """In a live run: the results that are needed again, and were let go without being kept."""
        machine = self._machine
        lost = lost_results(self._graph, machine, (), self._at_hand)
        for k in lost:
            if k >= self._graph.size or machine.base[k] < 0:
                continue
            base, count = machine.base[k], machine.count[k]
            items = range(base, base + count)
            once = self._fails_on_interrupt(k)
            self.carryover.put_aside(
                k, base, count, machine.keys.get(k),
                {t for t in items if machine.state[t] == SUCCESS},
                {t for t in items if once and machine.state[t] == FAILED},
            )
        return lost

    def _at_hand(self, tid: int) -> bool:
        """True if the result of a success of this session can be had."""
        value = self._values.slots[tid]
        if value is RELEASED:
            node = self._graph.nodes[self._machine.node_of(tid)]
            return node.spec.options.persist
        return value is not NO_VALUE and value is not ABSENT

    def _there(self, tid: int) -> bool:
        """True if a recorded result can be had now."""
        value = self._values.slots[tid]
        if not self._at_hand(tid):
            return False
        try:
            if type(value) is BlobRef:
                value = Encoded(self._files.read_blob(value))
            if type(value) is Encoded:
                check_pickles(value)
        except CodecError as error:
            self._say(f"the result of {self._name(tid)} cannot be opened and is made again: "
                      f"{error}")
            return False
        except (StorageError, OSError) as error:
            self._say(f"a stored result is damaged and is made again: {error}")
            return False
        return True
