"""How Unicode fills its planes: the classic API, objects put together by hand.

Teaches: **`Dag`, `Task`, `Scheduler`.** A task is a subclass with `run()`, or a name and a
function; a task among another one's arguments stands for its result, and
`add_dependency` orders tasks that exchange nothing. The graph below is the same kind of
graph that `@workflow` makes.

    flowforge run sample_flows/classic.py
"""

import sys
import unicodedata
from collections import Counter
from pathlib import Path

from engine import Dag, Scheduler, Task

PLANES = {0: "basic", 1: "supplementary", 2: "ideographic", 3: "tertiary", 14: "special"}
OUT = Path("out") / "unicode.txt"


class CountPlane(Task):
    """Counts the characters of one plane (65,536 code points) by general category."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(f"plane-{number}-{name}", timeout=60)
        self.first = number << 16

    def run(self) -> Counter[str]:
        """Category → characters, those that are assigned."""
        found = Counter(
            unicodedata.category(chr(point)) for point in range(self.first, self.first + 65536)
        )
        del found["Cn"]  # not assigned
        return found


def add_up(*planes: Counter[str]) -> Counter[str]:
    """All planes together."""
    return sum(planes, Counter())


def prepare() -> None:
    """A place for the table."""
    OUT.parent.mkdir(parents=True, exist_ok=True)


def write(total: Counter[str]) -> str:
    """The table, most frequent category first."""
    lines = [f"Unicode {unicodedata.unidata_version}, {total.total():,} code points in use"]
    lines += [f"{count:>9,}  {category}" for category, count in total.most_common()]
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(lines[0])
    return str(OUT)


dag = Dag("unicode planes")
planes = [CountPlane(number, name) for number, name in PLANES.items()]
total = Task("total", add_up, args=tuple(planes))
ready = Task("prepare", prepare)
table = Task("write", write, args=(total,))
table.add_dependency(ready)
for each in (*planes, total, ready, table):
    dag.add_task(each)

scheduler = Scheduler(dag, executor_type="process", max_workers=2)

if __name__ == "__main__":
    sys.exit(0 if scheduler.run().state.name == "SUCCESS" else 1)
