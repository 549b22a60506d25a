"""Threads that a task starts belong to the task: what they print is in its log.

Python hands context variables on to asyncio tasks but, before 3.14, not to threads.

Rule 1: a thread belongs to the attempt that started it; a job in a thread pool to the attempt
        that submitted it, whoever made the pool.
Rule 2: outside attempts the standard library's own functions run, after one look at `HERE`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from engine.worker.context import HERE

if TYPE_CHECKING:
    from engine.core.events import Attempt

_thread_start = threading.Thread.start
_pool_submit = ThreadPoolExecutor.submit
_active = False


def _start(thread: threading.Thread) -> None:
    attempt = HERE.get()
    if attempt is not None and _active:
        thread.run = _Belonging(thread.run, attempt)  # type: ignore[method-assign]
    _thread_start(thread)


def _submit(
    pool: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
) -> Future[Any]:
    attempt = HERE.get()
    if attempt is None or not _active:
        return _pool_submit(pool, fn, *args, **kwargs)
    # The pool's threads outlive this attempt and serve others: they must not inherit it.
    token = HERE.set(None)
    try:
        return _pool_submit(pool, _belonging_job, attempt, fn, args, kwargs)
    finally:
        HERE.reset(token)


class _Belonging:
    """A thread's `run`, and the telling of what it raised, in the name of an attempt.

    From Python 3.14 on the thread calls `threading.excepthook` in a context of its own, where
    nothing says whose traceback that is.
    """

    __slots__ = ("_attempt", "_run")

    def __init__(self, run: Callable[[], None], attempt: Attempt) -> None:
        self._run = run
        self._attempt = attempt

    def __call__(self) -> None:
        HERE.set(self._attempt)
        try:
            self._run()
        except BaseException as exc:
            told = (type(exc), exc, exc.__traceback__, threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(told))


def _belonging_job(
    attempt: Attempt, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    token = HERE.set(attempt)
    try:
        return fn(*args, **kwargs)
    finally:
        HERE.reset(token)


def install() -> None:
    """Have threads inherit the attempt from now on."""
    global _active, _thread_start, _pool_submit
    _active = True
    if threading.Thread.start is not _start:
        _thread_start = threading.Thread.start
        threading.Thread.start = _start  # type: ignore[method-assign, assignment]
    if ThreadPoolExecutor.submit is not _submit:
        _pool_submit = ThreadPoolExecutor.submit
        ThreadPoolExecutor.submit = _submit  # type: ignore[method-assign, assignment]


def uninstall() -> None:
    """Put the standard library's functions back, where nobody has wrapped ours since."""
    global _active
    _active = False
    if threading.Thread.start is _start:
        threading.Thread.start = _thread_start  # type: ignore[method-assign]
    if ThreadPoolExecutor.submit is _submit:
        ThreadPoolExecutor.submit = _pool_submit  # type: ignore[method-assign]
