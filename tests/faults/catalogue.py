"""The faults that the engine survives, by number; a test says which it injects with
`@pytest.mark.fault(13)`, or `pytestmark = pytest.mark.fault(1, 5)` for a whole file.

`python -m tests.faults.table` writes the numbers and their tests into docs/durability.md.
"""

from __future__ import annotations

GROUPS: dict[str, dict[int, str]] = {
    "Worker and process": {
        1: "a worker is SIGKILLed with three others busy",
        2: "the engine is SIGKILLed with workers busy",
        3: "a task's own child process outlives its worker",
        4: "`os._exit(0)` in a task",
        5: "a segmentation fault in a task",
        6: "a task raises SystemExit or KeyboardInterrupt",
        7: "an exception that cannot be unpickled",
        8: "a result that unpickles badly",
        9: "a result that cannot be pickled",
        10: "a task hung in C past its timeout",
        11: "a thread task that returns after its timeout",
        12: "out of memory",
        13: "a poison task that kills every worker",
        14: "a worker killed while it sends 100 MB",
        15: "no more file descriptors or processes",
    },
    "Storage": {
        16: "SIGKILL at every commit point",
        17: "disk full",
        18: "an I/O error on commit",
        19: "slow fsync",
        20: "a bit flipped in run.db or the snapshot",
        21: "run.db truncated, its write-ahead log deleted",
        22: "a reader that holds the file for an hour",
        23: "a blob missing or changed",
        24: "a newer schema, an older one",
        25: "a state directory read-only, deleted in mid-run, on NFS",
    },
    "Definition and input": {
        26: "a cycle",
        27: "a chain of 100,000 tasks",
        28: "duplicate and hostile names",
        29: "a result of 500 MB",
        30: "values that msgpack bends",
        31: "an argument changed by the task that got it",
        32: "code edited, a task renamed, added or removed before a resume",
        33: "a map over 0, 1 and 100,000 items; crashed half way",
    },
    "Time": {
        34: "the wall clock set back an hour, forward a day",
        35: "the engine suspended",
    },
    "Ownership": {
        36: "20 processes resume one run",
        37: "an owner asleep, taken over, that wakes",
        38: "a dead owner's pid taken by another program",
        39: "retry pressed twice, rerun while running",
        40: "a command to a run whose owner just died",
    },
    "Output": {
        41: "NULs, invalid UTF-8, characters split in two writes",
        42: "1 GB on one line; 100,000 lines in a burst",
        43: "two tasks printing at once; output of C code and of children",
        44: "`logging` configured by the user's code",
        45: "a secret in an argument, a log line, a traceback",
    },
    "Terminal": {
        46: "SIGTERM, SIGHUP, SIGQUIT",
        47: "Ctrl-C once, twice, three times; Ctrl-Z",
        48: "resized to 1×1; `TERM=dumb`; no terminal; a closed pipe",
        49: "hostile text in every field that can be shown",
        50: "a screen killed while attached",
    },
    "Security": {
        51: "a run directory that another user wrote",
        52: "a state directory that is a symlink, another user's, or open to all",
        53: "a msgpack bomb",
        54: "a foreign page opening the browser session's websocket",
    },
}

FAULTS: dict[int, str] = {n: what for group in GROUPS.values() for n, what in group.items()}
