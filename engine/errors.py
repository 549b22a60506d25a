"""Every error that FlowForge raises on purpose, in one family.

Each docstring says what to do about it; each message says it to the user.
Three groups matter to a caller: `DefinitionError` (the workflow is wrong, nothing
ran), `RunError` (a run ended badly) and `StorageError` (the engine could not keep
its promise and stopped rather than break it).
"""

from __future__ import annotations


class FlowForgeError(Exception):
    """Base of the family. Catch it to catch everything that FlowForge raises itself."""


# -- the workflow is wrong; nothing ran ---------------------------------------------


class DefinitionError(FlowForgeError):
    """The workflow cannot be run as written. Mend the definition; nothing was started."""


class CycleError(DefinitionError):
    """Tasks wait for each other in a ring. The message prints the path; break one edge."""

    def __init__(self, path: list[str]) -> None:
        self.path = path
        super().__init__(
            f"tasks wait for each other in a cycle: {' → '.join(path)}; remove one of these edges"
        )


class DuplicateNameError(DefinitionError):
    """Two nodes carry one explicit name. Rename one, or leave the name out."""


class AmbiguousNameError(DefinitionError):
    """A bare task name stands for several nodes. Use the handle of the call you mean."""


class UnknownOptionError(DefinitionError):
    """An option that does not exist was given. The message names the nearest one."""


class HandleError(DefinitionError):
    """A handle was used as if it were a value. The message names the right construct."""


class ParameterError(DefinitionError):
    """A workflow parameter is missing, unknown or not of its annotated type."""


class LoadError(DefinitionError):
    """A flow file could not be loaded. The message names the file and the cause."""


class ConfigError(DefinitionError):
    """A setting (flag, environment variable, pyproject entry) has a wrong value."""


class UnserialisableError(FlowForgeError):
    """A value cannot be stored or sent. `path` is where in it the culprit sits."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(f"{path} cannot be serialised: {why}")

    def __reduce__(self) -> tuple[type[UnserialisableError], tuple[str, str]]:
        return type(self), (self.path, self.why)


# -- a run ended badly ----------------------------------------------------------------


class RunError(FlowForgeError):
    """Something about a run: it failed, is not there, or belongs to someone else."""


class RunFailed(RunError):
    """The run ended without success. `__cause__` is the first failure where it is known."""


class TaskFailed(RunError):
    """A task's attempt failed; stands in for an exception that could not be carried."""


class RunNotFound(RunError):
    """No run has that id or prefix. `flowforge runs` lists them."""


class RunOwned(RunError):
    """Another live process owns the run: attach to it, or start anew with --fresh."""

    def __init__(self, message: str, pid: int = 0, host: str = "", since: float = 0.0) -> None:
        super().__init__(message)
        self.pid = pid
        """The owner's process id on `host`; 0 if unknown."""
        self.host = host
        self.since = since
        """When it took the run, seconds since the epoch."""


class ForeignRun(RunError):
    """Somebody else wrote the run directory: look at it, or start anew with --fresh."""


class RunInterrupted(RunError):
    """The run was stopped by a signal. Start it again to carry on."""


class CodeChanged(RunError):
    """The code changed since the run began and --on-code-change=fail was given."""


# -- the engine cannot keep its promise -------------------------------------------------


class StorageError(FlowForgeError):
    """The state directory cannot be used. Nothing unrecorded is claimed as done."""


class StorageFull(StorageError):
    """No room on the disk: nothing was written. The run waits and tries again."""


class StorageBroken(StorageError):
    """An I/O error during a commit. The store is latched; start again to read what is there."""


class Fenced(StorageError):
    """This process no longer owns the run; another took it over. It must stop writing."""


class CodecError(StorageError):
    """A stored value cannot be read: damaged, of a class that is gone, or not this user's."""


class BlobDamaged(StorageError):
    """A large result's file is missing or changed. The task that made it runs again."""


class NewerSchema(StorageError):
    """The run was written by a newer FlowForge. Upgrade to open it."""


# -- inside a task ------------------------------------------------------------------------


class NotInTask(FlowForgeError, RuntimeError):
    """`current()` was called where no task is running. Call it from a task's own function."""


class Skip(Exception):
    """Raise it inside a task to end it SKIPPED: `raise Skip("nothing new today")`."""

    def __init__(self, why: str = "") -> None:
        self.why = why
        super().__init__(why)


class AttemptStopped(BaseException):
    """Raised inside a process or sequential task whose attempt is cancelled or timed out.

    A BaseException, so that a task's own `except Exception` does not swallow it;
    `finally` blocks and resources run their clean-up.
    """
