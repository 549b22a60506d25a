"""Which attempt the code that runs here belongs to, and what it may ask about itself.

Rule 1: a worker sets `HERE` to the attempt, with `attempt.run` set, before it calls the
        user's function, and resets it after. Everything else finds its way from there.
Rule 2: nothing is made for an attempt that does not ask: `current()` builds the `Context`.
Rule 3: worker code talks to its run through a `RunScope` alone, be that the engine itself
        or one end of a pipe.
"""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import NotInTask

if TYPE_CHECKING:
    import logging

    from engine.core.events import Attempt

#: The attempt that the running code belongs to; None outside any.
HERE: ContextVar[Attempt | None] = ContextVar("flowforge_attempt", default=None)

#: The logger behind `current().log`. Its level lets everything through: a task's own log is
#: recorded whole, and filtered where it is read.
TASK_LOGGER = "flowforge.task"


class RunScope:
    """The run, as seen by the attempts in it. As it stands it keeps nothing; override to keep."""

    def __init__(self, run_id: str = "", home: Path | None = None) -> None:
        self.run_id = run_id
        self.home = home
        """The state directory; None if the run lives in memory only."""

    def name_of(self, attempt: Attempt) -> str:
        """The task run's name: `double`, `double[3]`."""
        name = attempt.node.name
        return name if attempt.index < 0 else f"{name}[{attempt.index}]"

    def write(self, attempt: Attempt, stream: str, level: int, text: str) -> None:
        """Keep output of an attempt.

        `stream` is "out", "err" or "log"; `level` one of `logging`'s. `text` is a piece as it
        was written: with its newline if it had one, secrets masked. Called from any thread;
        must not print.
        """

    def progress(self, attempt: Attempt, done: float, total: float | None) -> None:
        """Note how far an attempt has come."""

    def cancelled(self, attempt: Attempt) -> bool:
        """True once the attempt was asked to stop."""
        return attempt.cancelled


class Context:
    """What a running task may know about itself; `current()` returns it."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return _scope(self._attempt).run_id

    @property
    def task_id(self) -> str:
        """The task run's name, unique within the run: `double[3]`."""
        return _scope(self._attempt).name_of(self._attempt)

    @property
    def generation(self) -> int:
        """Counts up each time a person discards a success of this task run."""
        return self._attempt.generation

    @property
    def attempt(self) -> int:
        """Which try this is, from 1 within the generation."""
        return self._attempt.number

    @property
    def attempt_id(self) -> str:
        """Names this one try, in all runs: `RUN/double[3]/GENERATION.ATTEMPT`."""
        return f"{self.run_id}/{self.task_id}/{self.generation}.{self.attempt}"

    @property
    def idempotency_key(self) -> str:
        """32 hexadecimal digits, the same for every try of this task run, resumes included.

        Hand it to a service that drops repeated requests, and an effect happens once.
        A rerun asked for by a person has a new key.
        """
        from hashlib import blake2b

        parts = (self.run_id, self.task_id, str(self.generation))
        # Lengths first: names are any text, so no separator could keep two apart for certain.
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    @property
    def log(self) -> logging.Logger:
        """A logger whose records, of every level, go to this task's log."""
        import logging

        logger = logging.getLogger(TASK_LOGGER)
        if logger.level == logging.NOTSET:
            logger.setLevel(1)
        return logger

    def progress(self, done: float, total: float | None = None) -> None:
        """Tell how far the task has come, in units of its own; cheap enough for every item."""
        attempt = self._attempt
        _scope(attempt).progress(attempt, done, total)

    def cancelled(self) -> bool:
        """True once the run wants this attempt to stop. Long loops should look now and then."""
        return _scope(self._attempt).cancelled(self._attempt)

    def __repr__(self) -> str:
        return f"<Context {self.attempt_id}>"


def current() -> Context:
    """The context of the task that is running. Raises NotInTask outside any."""
    attempt = HERE.get()
    if attempt is None:
        raise NotInTask(
            "current() was called outside a running task; call it inside a task's function, or "
            "in a thread that the task started (with threading or ThreadPoolExecutor)"
        )
    return Context(attempt)


def _scope(attempt: Attempt) -> RunScope:
    scope: RunScope = attempt.run
    return scope
