"""Everything that goes wrong, and what becomes of it. Best watched in the TUI.

Teaches: **failures are part of the plan.** Real ones: a lock that somebody else holds, a
regular expression that never ends, a segmentation fault, a broken file. `retries` mends
what mends itself, `timeout` ends what does not end, a crash takes one worker and no
neighbour, `Skip` says that there was nothing to do, and a trigger rule lets a task run just
because another one failed. A failure that such a task has dealt with is *handled*: the run
is a success, in spite of it all.

    flowforge run sample_flows/trouble.py
    flowforge run sample_flows/trouble.py -p handled=false      # ends FAILED, exit code 1
"""

import ctypes
import json
import os
import re
import time
from pathlib import Path

from engine import Skip, TaskFailed, TaskRetrying, current, task, workflow

#: Matches in 2^n steps: each `a` can belong to either plus.
ENDLESS = re.compile(r"(a+)+b")


# -- it mends itself -------------------------------------------------------------------------


@task(
    retries=20, retry_delay=0.1, retry_backoff=1.3, max_retry_delay=1.0, retry_jitter=0.5,
    retry_on=FileExistsError,
)
def hold_lock(who: str, lock: Path, seconds: float) -> int:
    """Take a lock that several want; who finds it taken fails, and comes back later.

    Each wait is longer than the last, and differs by chance: in step, two would collide again.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
    try:
        print(f"{who} got it in attempt {current().attempt}")
        time.sleep(seconds)
    finally:
        lock.unlink()
    return current().attempt


# -- it does not end -------------------------------------------------------------------------


@task(executor="process", timeout=1.0)
def match_cleverly(text: str) -> bool:
    """Never ends, and holds the GIL inside C: only its process can be ended. It is."""
    return ENDLESS.fullmatch(text) is not None


@task(trigger_rule="one_failed")
def match_plainly(text: str, clever: bool) -> bool:
    """The same question in linear time, asked only because the clever way failed."""
    print(f"instead of {clever!r}")
    return text.endswith("b") and set(text[:-1]) == {"a"}


# -- it crashes ------------------------------------------------------------------------------


@task(executor="process")
def read_address(address: int) -> bytes:
    """Reads memory that is not ours. At address 1 that is the end of the process."""
    return ctypes.string_at(address, 1)


@task(trigger_rule="all_done")
def report_crash(value: bytes) -> str:
    """Gets `Missing` in place of the value: false, with the reason."""
    return "it worked?" if value else f"as expected: {value!r}"


# -- it is wrong -----------------------------------------------------------------------------


@task(retries=2, retry_delay=0.1, retry_on=OSError)
def parse(text: str) -> dict[str, int]:
    """Broken JSON stays broken, so this is not one of the errors that are tried again."""
    found: dict[str, int] = json.loads(text)
    return found


@task
def use(numbers: dict[str, int]) -> int:
    """Never starts: what it needs does not exist (UPSTREAM_FAILED)."""
    return sum(numbers.values())


@task(trigger_rule="all_done")
def fall_back(numbers: dict[str, int], total: int) -> int:
    """Deals with the failure right above it."""
    return total if total else 0


# -- there is nothing to do --------------------------------------------------------------------


@task
def newer_than(path: Path, days: float) -> Path:
    """Skips itself if the file has not changed lately; what needs it is skipped with it."""
    age = (time.time() - path.stat().st_mtime) / 86400
    if age > days:
        raise Skip(f"{path.name} is {age:.1f} days old")
    return path


@task
def process_news(path: Path) -> int:
    """Bytes of the new file."""
    return path.stat().st_size


@task(trigger_rule="all_done")
def clean_up(lock: Path) -> None:
    """Runs whatever became of those that it waits for."""
    lock.unlink(missing_ok=True)


# -- together ----------------------------------------------------------------------------------


@workflow(on_failure="continue", workers=4)
def trouble(handled: bool = True, hold: float = 0.5, out: Path = Path("out")):
    """All of it at once. With `handled=false` nobody deals with the broken file."""
    lock = out / "trouble.lock"
    holders = hold_lock.partial(lock=lock, seconds=hold).map(["ann", "bob", "eve"], key=str)

    text = "a" * 40
    answer = match_plainly(text, match_cleverly(text))

    crash = report_crash(read_address(1))

    numbers = parse('{"one": 1, "two": }')
    total = use(numbers)
    if handled:
        total = fall_back(numbers, total)

    process_news(newer_than(Path(os.__file__), days=0.0))
    clean_up(lock).after(holders)
    return {"attempts": holders, "answer": answer, "crash": crash, "total": total}


@trouble.on(TaskFailed)
def tell_failure(notice: TaskFailed) -> None:
    """A listener: gets to know everything, and can break nothing."""
    print(f"  listener: {notice.task} ended {notice.state.name}: {notice.error or notice.why}")


@trouble.on(TaskRetrying)
def tell_retry(notice: TaskRetrying) -> None:
    """Called in the engine's own thread, one notice after the other."""
    print(f"  listener: {notice.task} comes again in {notice.wait:.2f} s")


if __name__ == "__main__":
    print(trouble.run().result)
