"""The last resort of the codec: a signed pickle, for values that nothing else can carry.

Rule 1: nothing is unpickled before its signature was found to be this user's.
Rule 2: classes and functions of the flow go in by their lasting name (`classes.py`), so a
        pickle made under `python FILE` opens under `flowforge run FILE`.
Rule 3: a pickle that does not open again is refused when it is made, at the task that made
        it, and not at the resume that needs it.
"""

from __future__ import annotations

import io
import pickle
import types
from collections.abc import Iterator
from typing import Any

from engine.errors import CodecError, StorageError, UnserialisableError
from engine.worker import signing
from engine.worker.classes import class_ref, global_ref, importable, resolve_global
from engine.worker.codec_values import Encoded

#: How every pickle begins that is written here, at protocol 5.
_START = b"\x80\x05"

#: Where Python 3.13, alone of all, has its path classes; `pathlib` has them everywhere.
_PATHS_IN_3_13 = "pathlib._local"


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> tuple[str, Any] | None:
        if isinstance(obj, type):
            if obj.__module__ == _PATHS_IN_3_13:
                return "name", f"pathlib:{obj.__qualname__}"
            ref = class_ref(obj)
            return None if importable(ref) else ("name", ref)
        if type(obj) is types.FunctionType:
            found = global_ref(obj)
            return None if found is None else ("name", found)
        if type(obj) is Encoded:
            return "encoded", bytes(obj)
        return None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: tuple[str, Any]) -> Any:
        kind, content = pid
        if kind == "encoded":
            from engine.worker.codec import decode

            return decode(content)
        return resolve_global(content)


def dumps(value: Any) -> bytes:
    """A signed pickle of `value`, known to open again. Raises whatever keeps it from that."""
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(value)
    data = file.getvalue()
    _reopen(value, data)
    return signing.sign(data) + data


def _reopen(value: Any, data: bytes) -> None:
    try:
        copy = _Unpickler(io.BytesIO(data)).load()
    except Exception as exc:
        raise pickle.PicklingError(
            f"its pickle cannot be opened again ({type(exc).__name__}: {exc})"
        ) from exc
    if type(copy) is not type(value) and not isinstance(value, Encoded):
        raise pickle.PicklingError(f"its pickle opens as a {type(copy).__name__}")


def may_be_in(data: bytes) -> bool:
    """True if there is a pickle among these bytes, or what looks like one."""
    return _START in data


def loads(data: bytes) -> Any:
    """The value of a signed pickle. Raises CodecError if it is not this user's, or damaged."""
    signature, body = data[: signing.SIZE], data[signing.SIZE :]
    if not signing.is_mine(signature, body):
        raise CodecError(
            "a pickled value in this run was not written with your signing key, so it is not "
            "opened; run the task that made it again (or set FLOWFORGE_KEY_FILE to the key of "
            "the account that did)"
        )
    try:
        return _Unpickler(io.BytesIO(body)).load()
    except LookupError as exc:
        raise CodecError(exc.args[0] if exc.args else repr(exc)) from exc
    except Exception as exc:
        raise CodecError(f"a pickled value cannot be opened: {type(exc).__name__}: {exc}") from exc


# -- which part of a value is to blame -----------------------------------------------------------


def blame(value: Any, exc: BaseException, root: str) -> UnserialisableError:
    """The error for a value that cannot be pickled: names the part of it that is to blame."""
    path, why = root, exc
    seen: set[int] = set()
    # Depth is nobody's fault in particular, and looking for it takes as long as it is deep.
    while id(value) not in seen and not isinstance(why, RecursionError):
        seen.add(id(value))
        for step, child in _children(value):
            problem = _problem(child)
            if problem is not None:
                path, value, why = path + step, child, problem
                break
    return UnserialisableError(path, _explain(value, why))


def _problem(value: Any) -> BaseException | None:
    try:
        dumps(value)
    except StorageError:
        raise
    except Exception as exc:
        return exc
    return None


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"[{key!r:.80}]", item
        for key in value:
            yield f".key({key!r:.80})", key
    elif isinstance(value, list | tuple | set | frozenset):
        for i, item in enumerate(value):
            yield f"[{i}]", item
    if isinstance(value, type | types.ModuleType | types.FunctionType):
        return
    from engine.worker.codec_classes import state_of

    for name, item in state_of(value).items():
        yield f".{name}", item
    if isinstance(value, BaseException):
        yield ".args", value.args


def _explain(value: Any, why: BaseException) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    if isinstance(why, RecursionError):
        return f"a {kind} nested too deeply; return it in flatter form, or with persist=False"
    known = _ADVICE.get(type(value).__name__)
    advice = known or "return plain data instead, or use @task(persist=False) if no resume needs it"
    text = str(why).partition("\n")[0][:300]
    return f"a {kind} ({text}); {advice}"


_ADVICE = {
    "generator": "return list(...) of it",
    "coroutine": "await it inside the task",
    "TextIOWrapper": "return the file's path instead",
    "BufferedReader": "return the file's path instead",
    "BufferedWriter": "return the file's path instead",
}

