"""One command, one table.

    python -m benchmarks                        everything: about a quarter of an hour
    python -m benchmarks --quick                everything, small: under a minute
    python -m benchmarks --only w1,w2           some groups
    python -m benchmarks --json figures.json    the repeats, too
    python -m benchmarks --dir DIRECTORY        where the state goes (a real disk)

Rule 1: each row has a process of its own, and so has each raw baseline before and after it.
Rule 2: state goes to a disk, never to memory: there a commit costs nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import fresh, report
from benchmarks.measured import FULL, SCALES, Line, Measured, Row, Scale
from benchmarks.rows import GROUPS, ROWS


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a row could not be measured."""
    asked = parser().parse_args(arguments)
    scale = SCALES[asked.scale]
    for text in report.head(scale):
        print(text)
    lines = []
    with tempfile.TemporaryDirectory(prefix="flowforge-bench-", dir=asked.dir or disk()) as root:
        for index, row in enumerate(ROWS):
            if row.group in asked.only:
                lines.append(measure(index, row, scale, Path(root)))
                print(report.aligned(report.cells(lines[-1])), flush=True)
    print(f"\n{report.FOOT}")
    if asked.json:
        report.write_json(asked.json, scale, lines)
    return 1 if any(line.failure for line in lines) else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", dest="scale", action="store_const", const="quick",
                      default=FULL.name, help="small sizes, one repeat")
    made.add_argument("--only", type=groups, default=GROUPS, metavar="A,B",
                      help=f"some of {', '.join(GROUPS)}")
    made.add_argument("--json", type=Path, metavar="FILE")
    made.add_argument("--dir", type=Path, help="where the state goes; default: a temporary one")
    return made


def groups(text: str) -> tuple[str, ...]:
    """The groups that were named."""
    named = tuple(text.lower().split(","))
    unknown = [name for name in named if name not in GROUPS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no {unknown[0]}; there are {', '.join(GROUPS)}")
    return named


def measure(index: int, row: Row, scale: Scale, root: Path) -> Line:
    """The row in a process of its own, between its baselines."""
    line = Line(row.group, row.name, row.unit, str(row.target), base=row.base, scale=scale.name)
    try:
        with tempfile.TemporaryDirectory(dir=root) as place:
            line.before = baselines(row, scale, Path(place))
            found = fresh.answer(
                ["-m", "benchmarks.one", str(index), scale.name, place], Path(place))
            line.after = baselines(row, scale, Path(place))
    except fresh.BenchmarkFailed as error:
        line.failure = str(error)
        return line
    line.measured = Measured(**found)
    raw = {name: (line.before[name] + line.after[name]) / 2 for name in row.raw}
    line.limit = row.target.limit(raw, row.base)
    return line


def baselines(row: Row, scale: Scale, place: Path) -> dict[str, float]:
    """What the machine does now, by name."""
    return {
        name: json.loads(fresh.run(
            ["-m", "benchmarks.baseline", name, scale.name, str(place)], place))
        for name in row.raw
    }


def disk() -> Path:
    """A directory for temporary files that is not kept in memory."""
    candidates = [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]
    real = [path for path in candidates if path.is_dir() and not in_memory(path)]
    if not real:
        sys.exit("all temporary directories are kept in memory; name one on a disk with --dir")
    return real[0]


def in_memory(path: Path) -> bool:
    """True if a directory's file system is memory."""
    import psutil

    mounts = {Path(p.mountpoint): p.fstype for p in psutil.disk_partitions(all=True)}
    around = (path.resolve(), *path.resolve().parents)
    return next((mounts[p] for p in around if p in mounts), "") in ("tmpfs", "ramfs")


if __name__ == "__main__":
    sys.exit(main())
