"""The user's edited code, taken into a run that is live.

Rule 1: the file is loaded as a dry run loads it: even one that calls `.run()` only builds its
        graph. If that fails, or the graph has another shape, everything is as it was before.
Rule 2: what ends a task run, or what it holds, may not change under an attempt in hand: trigger
        rules, limits, executors and edges must be the same. A resume takes any change.
Rule 3: results of the old code stand, and the new outline is recorded in the same row as the
        reset that asked for it, so that no resume counts them as changed.
Rule 4: the user's modules beside the flow file are loaded anew with it; installed ones are not.
"""

from __future__ import annotations

import linecache
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from engine.core.events import OutlineChanged
from engine.core.graph import Graph
from engine.core.machine import Machine
from engine.core.states import GOOD
from engine.core.tasks import TaskOptions
from engine.errors import FlowForgeError, RunError
from engine.runtime.lanes import lanes_of
from engine.runtime.opening import About
from engine.runtime.outline import Outline
from engine.runtime.request import Request
from engine.runtime.settings import Settings
from engine.runtime.values import Values
from engine.state.fingerprints import is_user_file
from engine.worker import classes
from engine.worker.codec import decode

#: Packages that this very process runs on, wherever they lie.
_OURS = frozenset({"engine", "flowforge_tui"})
#: Options that an attempt in hand, or the machine's counters, rest upon.
_FIXED = ("trigger_rule", "limits", "on_interrupt")
#: Names listed in an answer.
NAMED = 3


@dataclass(slots=True)
class Edition:
    """The code as it is now, fit to be taken over."""

    graph: Graph
    outline: Outline
    changed: list[int]
    """Nodes whose code or arguments differ from those so far."""
    stands: int = 0
    """Once taken over: how many results of earlier code stand."""

    def told(self) -> str:
        """What the person is told of it."""
        if not self.changed:
            return "the code is as it was"
        names = list(dict.fromkeys(self.outline.spec(k).name for k in self.changed))
        listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more"
                                             if len(names) > NAMED else "")
        if not self.stands:
            return f"new code of {listed}"
        return (f"new code of {listed}; {self.stands:,} result{'s' if self.stands != 1 else ''} "
                "of the code before stand")


class Reloader:
    """Loads a run's file again. Knows which code is the present one."""

    def __init__(
        self, about: About, graph: Graph, outline: Outline, lanes: Sequence[str],
        settings: Settings, values: Values,
    ) -> None:
        self.graph = graph
        self.outline = outline
        self._about = about
        self._lanes = list(lanes)
        self._settings = settings
        self._values = values
        self._lock = threading.Lock()

    @contextmanager
    def edition(self) -> Iterator[Edition]:
        """The edited code, to be taken over inside. If that raises, the old modules are back.

        Raises RunError if it does not load, or cannot be taken over.
        """
        about = self._about
        if about.file is None:
            raise RunError("the run was started from an interactive session, without a file to "
                           "load the code from; define its tasks and run it there again")
        with self._lock:
            modules = _Modules(Path(about.file).parent)
            try:
                modules.drop()
                yield self._load(about.file)
            except BaseException:
                modules.put_back()
                raise

    def take(self, edition: Edition, machine: Machine) -> None:
        """Have what runs from now on run it. Under the runner's lock."""
        self.graph = machine.graph = edition.graph
        self.outline = edition.outline
        self._values.renew(edition.graph)
        machine.changes.append(OutlineChanged(edition.outline))
        edition.stands = sum(_successes(machine, k) for k in edition.changed)

    # -- loading -----------------------------------------------------------------------------

    def _load(self, file: str) -> Edition:
        from engine.runtime.start import start  # it imports the dsl, which starts runs

        request = Request("graph")
        linecache.checkcache()
        try:
            start(request, file, workflow=self._about.workflow,
                  values=lambda: decode(self._about.encoded()))
        except (FlowForgeError, SystemExit) as error:
            why = str(error) if isinstance(error, FlowForgeError) else "it ends the program"
            raise RunError(f"the code was not taken over: {why}") from None
        graph = request.graph
        if graph is None:
            raise RunError(f"the code was not taken over: {Path(file).name} no longer makes the "
                           f"workflow {self._about.workflow!r}")
        outline = Outline.of(graph)
        problem = self._differs(graph, outline)
        if problem:
            raise RunError(f"the code was not taken over, as the run's graph would not be the "
                           f"same: {problem}; stop the run and resume it, which takes any change")
        changed = [k for k in range(outline.size) if self._is_new(outline, k)]
        return Edition(graph, outline, changed)

    def _is_new(self, outline: Outline, k: int) -> bool:
        old = self.outline
        return old.digests[k] != outline.digests[k] or old.spec(k).parts != outline.spec(k).parts

    def _differs(self, graph: Graph, new: Outline) -> str:
        """What of the shape is not as it was, in words; empty if nothing."""
        old = self.outline
        if new.names != old.names:
            return _other_tasks(old.names, new.names)
        for k, name in enumerate(new.names):
            if new.upstream_of(k) != old.upstream_of(k) or new.needs[k] != old.needs[k]:
                return f"{name} waits for other tasks than before"
            if new.maps.get(k) != old.maps.get(k):
                return f"{name} is mapped over something else than before"
        lanes = lanes_of(graph, self._settings)
        for k, name in enumerate(new.names):
            if lanes[k] != self._lanes[k]:
                return f"{name} has another executor than before"
        return self._other_options(graph)

    def _other_options(self, graph: Graph) -> str:
        seen: set[tuple[int, int]] = set()
        for before, now in zip(self.graph.nodes, graph.nodes, strict=True):
            pair = (id(before.spec), id(now.spec))
            if pair in seen:
                continue
            seen.add(pair)
            for option in _FIXED:
                if _option(before.spec.options, option) != _option(now.spec.options, option):
                    return f"{now.name} has another {option} than before"
        return ""


def _option(options: TaskOptions, name: str) -> object:
    value = getattr(options, name)
    return dict(value) if name == "limits" else value


def _other_tasks(old: Sequence[str], new: Sequence[str]) -> str:
    gone, came = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    told = [f"{word} {', '.join(names[:NAMED])}{' …' if len(names) > NAMED else ''}"
            for word, names in (("it has no", gone), ("it also has", came)) if names]
    return " and ".join(told) or "its tasks come in another order"


def _successes(machine: Machine, k: int) -> int:
    base, count = machine.base[k], machine.count[k]
    states = machine.state[base:base + count] if base >= 0 else machine.state[k:k + 1]
    return sum(states.count(s) for s in GOOD)


class _Modules:
    """The user's modules in a folder, set aside so that they are loaded anew."""

    def __init__(self, folder: Path) -> None:
        self._flow = classes.flow_module()
        self._folder = folder.resolve()
        self._old = {name: module for name, module in list(sys.modules.items())
                     if self._is_theirs(name, module)}

    def _is_theirs(self, name: str, module: ModuleType) -> bool:
        if name == "__main__" or name.partition(".")[0] in _OURS:
            return False
        file = getattr(module, "__file__", None)
        return (isinstance(file, str) and file.endswith(".py") and is_user_file(file)
                and Path(file).resolve().is_relative_to(self._folder))

    def drop(self) -> None:
        """Have the next import of each read its file."""
        for name, module in self._old.items():
            sys.modules.pop(name, None)
            cached = getattr(module, "__cached__", None)
            if isinstance(cached, str):
                # Two edits within one second and of one size look the same to Python's cache.
                with suppress(OSError):
                    Path(cached).unlink()

    def put_back(self) -> None:
        """As if nothing had been loaded."""
        for name, module in list(sys.modules.items()):
            if name not in self._old and self._is_theirs(name, module):
                del sys.modules[name]
        sys.modules.update(self._old)
        classes.set_flow_module(self._flow)
