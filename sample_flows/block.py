"""Is there room on this machine? The block form: declaring a task makes it a node.

Teaches: **`with workflow(...) as wf`.** No function around it and no calls to write: tasks
are declared where they stand, `wf.dag.get_task` finds them, `add_dependency` orders them,
and `wf.run()` runs what is there. Arguments work as well: `report` is called with results.

    flowforge run sample_flows/block.py
"""

import os
import shutil
import sys
from pathlib import Path

from engine import task, workflow

#: Bytes that should stay free.
RESERVE = 100 * 1024 * 1024

with workflow("room on this machine") as wf:

    @task
    def disk() -> dict[str, int]:
        """Bytes of the working directory's file system."""
        total, used, free = shutil.disk_usage(".")
        return {"total": total, "used": used, "free": free}

    @task
    def installation() -> int:
        """Bytes of this Python's standard library."""
        root = Path(os.__file__).parent
        return sum(f.stat().st_size for f in root.rglob("*.py"))

    @task
    def prepare() -> None:
        """A place for the report."""
        Path("out").mkdir(exist_ok=True)

    @task
    def report(disk: dict[str, int], library: int) -> str:
        """Both in a file, for people."""
        text = (
            f"{disk['free'] / 2**30:.1f} of {disk['total'] / 2**30:.1f} GiB are free.\n"
            f"The library of Python {sys.version.split()[0]} takes {library / 2**20:.1f} MiB.\n"
        )
        Path("out/room.txt").write_text(text, encoding="utf-8")
        print(text, end="")
        return "enough" if disk["free"] > RESERVE else "too little"

    report(disk(), installation())
    wf.dag.get_task("report").add_dependency(wf.dag.get_task("prepare"))

if __name__ == "__main__":
    print(wf.run().result)
