"""Loading a flow file, and choosing the workflow in it that is meant.

Rule 1: a flow file is imported under a name other than `__main__`, so its guarded part does
        not run; its own directory is importable, as under `python FILE`.
Rule 2: it is compiled from its source each time, never from a `.pyc`: two edits within one
        second and of one size would look the same to Python's cache.
Rule 3: an error in the file shows the user's own frames, none of the loader's. Errors of the
        engine's family, which a run started in the file's body may raise, pass as they are.
"""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import sys
import traceback
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

from engine.errors import FlowForgeError, LoadError
from engine.runtime.find import Found, find_workflows
from engine.worker import classes

if TYPE_CHECKING:
    from engine.dsl.workflows import Workflow

__all__ = ["Found", "choose", "find_workflows", "load_flow", "users_traceback", "workflows_in"]

_ENGINE = __name__.partition(".")[0]
_ENGINE_DIR = Path(__file__).resolve().parents[1]


def load_flow(path: str | Path) -> ModuleType:
    """Import a flow file as a module, and make its code fit to be sent to workers.

    Raises LoadError; FlowForgeError and SystemExit as the file's own code raises them.
    """
    file = _checked(Path(path))
    _refuse_namesake(file.parent)
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    importlib.invalidate_caches()
    code = _compiled(file)
    module = _new_module(file)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    classes.set_flow_module(module.__name__)
    _ship_by_value(module)  # ahead of the body, which may itself run the workflow
    try:
        _execute(code, module, file)
    except BaseException:
        if before is not None:
            sys.modules[module.__name__] = before
        else:
            sys.modules.pop(module.__name__, None)
        raise
    return module


def _checked(path: Path) -> Path:
    if path.is_dir():
        raise LoadError(f"{path} is a directory; name the file: flowforge run FILE[:WORKFLOW]")
    if not path.exists():
        raise LoadError(f"there is no file {path}; give the path of a Python file with a workflow")
    if path.suffix != ".py":
        raise LoadError(f"{path} is not a Python file; give one whose name ends in .py")
    return path.resolve()


def _refuse_namesake(directory: Path) -> None:
    """A user's `engine.py` would be imported instead of this package, or the other way round."""
    for namesake in (directory / f"{_ENGINE}.py", directory / _ENGINE / "__init__.py"):
        if namesake.exists() and namesake.resolve().parent != _ENGINE_DIR:
            raise LoadError(
                f"{namesake} has the name of FlowForge's own package, so `from {_ENGINE} import …` "
                "beside it cannot work; rename it"
            )


def _compiled(file: Path) -> CodeType:
    linecache.checkcache(str(file))
    try:
        return compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except OSError as exc:
        raise LoadError(f"{file} cannot be read: {exc.strerror}; check its permissions") from exc
    except (SyntaxError, ValueError) as exc:
        what = "".join(traceback.format_exception_only(exc)).rstrip()
        raise LoadError(f"{file} is not valid Python; mend it:\n{what}") from None


def _new_module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_module_name(file), file)
    assert spec is not None  # its name ends in .py
    return importlib.util.module_from_spec(spec)


def _module_name(file: Path) -> str:
    """The file's stem, if that is free; a flow named json.py must not replace json."""
    stem = file.stem
    loaded = sys.modules.get(stem)
    again = loaded is not None and _is_file(getattr(loaded, "__file__", None), file)
    free = loaded is None and stem.isidentifier() and stem not in sys.stdlib_module_names
    return stem if again or free else f"flow_{stem}"


def _is_file(name: str | None, file: Path) -> bool:
    return name is not None and Path(name).exists() and Path(name).samefile(file)


def _ship_by_value(module: ModuleType) -> None:
    """Workers get the flow's functions themselves and never import its file, which could run it."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)


def _execute(code: CodeType, module: ModuleType, file: Path) -> None:
    try:
        exec(code, module.__dict__)
    except FlowForgeError:
        raise
    except Exception as exc:
        told = users_traceback(exc)
        raise LoadError(f"{file.name} raised an error while it was loaded:\n{told}") from exc


def users_traceback(exc: Exception) -> str:
    """The traceback without the engine's frames, as `python FILE` would show it."""
    inside = exc.__traceback__.tb_next if exc.__traceback__ is not None else None
    shown = traceback.TracebackException(type(exc), exc, inside)
    chain: list[traceback.TracebackException | None] = [shown]
    while chain:
        one = chain.pop()
        if one is not None:
            one.stack = traceback.StackSummary.from_list(
                [f for f in one.stack if not _is_machinery(f.filename)])
            chain += [one.__cause__, one.__context__]
    return "".join(shown.format()).rstrip()


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or Path(filename).is_relative_to(_ENGINE_DIR)


# -- choosing --------------------------------------------------------------------------------


def workflows_in(module: ModuleType) -> list[Workflow]:
    """The workflows of a loaded file, in order of definition.

    Those it only imported from elsewhere are left out, unless it has no others.
    """
    from engine.dsl.workflows import Workflow

    found = {id(v): v for v in vars(module).values() if isinstance(v, Workflow)}
    file = Path(module.__file__) if module.__file__ else None
    own = [w for w in found.values() if file is not None and _is_file(w.file, file)]
    return own or list(found.values())


def choose(module: ModuleType, name: str | None = None) -> Workflow:
    """The workflow of that name (its own, or the variable's); without a name, the only one.

    Raises LoadError, saying which there are.
    """
    from engine.dsl.suggest import nearest

    known = workflows_in(module)
    file = Path(module.__file__).name if module.__file__ else module.__name__
    if not known:
        raise LoadError(
            f"{file} has no workflow; decorate a function with @workflow, or write "
            "`with workflow(...) as wf:`, at the top level of the file"
        )
    if name is None:
        if len(known) == 1:
            return known[0]
        raise LoadError(
            f"{file} has {len(known)} workflows; say which: "
            f"{' or '.join(f'{file}:{w.name}' for w in known)}"
        )
    named = [w for w in known if w.name == name]
    named = named or [w for w in known if vars(module).get(name) is w]
    if named:
        return named[0]
    close = nearest(name, [w.name for w in known])
    hint = f"did you mean {close!r}?" if close else f"it has: {_listed(known)}"
    raise LoadError(f"{file} has no workflow {name!r}; {hint}")


def _listed(workflows: list[Workflow]) -> str:
    return ", ".join(w.name for w in workflows)


