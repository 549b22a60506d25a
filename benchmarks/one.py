"""Measure one row in this process.

    python -m benchmarks.one INDEX SCALE DIRECTORY     prints the figures as JSON
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.measured import SCALES, Measured, Row, Scale


def measure(row: Row, scale: Scale, directory: Path) -> Measured:
    """The row's figures; its state goes below the directory."""
    home = directory / "state"
    home.mkdir(mode=0o700)
    return row.measure(scale, home)


if __name__ == "__main__":
    from benchmarks.rows import ROWS

    found = measure(ROWS[int(sys.argv[1])], SCALES[sys.argv[2]], Path(sys.argv[3]))
    print(json.dumps(asdict(found)))
