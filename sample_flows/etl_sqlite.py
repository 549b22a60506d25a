"""The chemical elements, from a CSV file into SQLite: extract, validate, load, ask.

Teaches: **a `@resource`** is opened for the task that names it as a default, and closed
whatever happens, so no task forgets a connection or a rollback. The seven periods are loaded
side by side; SQLite lets one in at a time, so the others find the database locked and come
again by **`retries`**. A task may run twice (a retry, a crash), so its effect must be the
same twice: `INSERT OR REPLACE`.

    flowforge run sample_flows/etl_sqlite.py
    ELEMENTS_DB=/tmp/elements.db flowforge run sample_flows/etl_sqlite.py
"""

import csv
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine import resource, task, workflow

SOURCE = Path(__file__).with_name("data") / "elements.csv"
DATABASE = Path(os.environ.get("ELEMENTS_DB", "out/elements.db"))

SCHEMA = """
CREATE TABLE IF NOT EXISTS element (
    number INTEGER PRIMARY KEY, symbol TEXT UNIQUE NOT NULL, name TEXT UNIQUE NOT NULL,
    period INTEGER NOT NULL, weight REAL NOT NULL CHECK (weight > 0));
CREATE TABLE IF NOT EXISTS rejected (
    number INTEGER PRIMARY KEY, symbol TEXT NOT NULL, reason TEXT NOT NULL);
"""

#: A heavier element before a lighter one: where order by weight and by charge disagree.
INVERSIONS = """
SELECT before || '-' || symbol FROM (
    SELECT symbol, weight, number,
           lag(symbol) OVER by_number AS before, lag(weight) OVER by_number AS weight_before,
           lag(number) OVER by_number AS number_before
    FROM element WINDOW by_number AS (ORDER BY number))
WHERE weight < weight_before AND number = number_before + 1 ORDER BY number
"""


@dataclass(frozen=True)
class Element:
    """A row that passed validation."""

    number: int
    symbol: str
    name: str
    period: int
    weight: float
    """Standard atomic weight."""


@dataclass(frozen=True)
class Rejected:
    """A row that did not, and why."""

    number: int
    symbol: str
    reason: str


@resource
def database() -> Iterator[sqlite3.Connection]:
    """A transaction: committed if the task succeeds, rolled back if it fails."""
    DATABASE.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(DATABASE, timeout=0.01)  # seconds; a retry waits better
    try:
        with connection:
            yield connection
    finally:
        connection.close()


@task
def extract(source: Path) -> list[dict[str, str]]:
    """The rows as they are written."""
    with source.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@task(outputs=2)
def validate(rows: list[dict[str, str]]) -> tuple[list[list[Element]], list[Rejected]]:
    """Good rows by period, and the others with a reason."""
    periods: dict[str, list[Element]] = {}
    rejected = []
    for row in rows:
        reason = complaint(row)
        if reason:
            rejected.append(Rejected(int(row["number"]), row["symbol"], reason))
            continue
        periods.setdefault(row["period"], []).append(Element(
            int(row["number"]), row["symbol"], row["name"], int(row["period"]),
            float(row["weight"]),
        ))
    return list(periods.values()), rejected


@task(retries=5, retry_delay=0.05, retry_on=sqlite3.OperationalError)
def create(db: sqlite3.Connection = database) -> None:
    """The tables, if they are not there yet."""
    db.executescript(SCHEMA)


@task(retries=50, retry_delay=0.05, retry_jitter=0.9, retry_on=sqlite3.OperationalError)
def load(elements: list[Element], db: sqlite3.Connection = database) -> int:
    """One period, in one transaction. Locked out? The attempt fails, and comes again."""
    db.execute("BEGIN IMMEDIATE")
    db.executemany(
        "INSERT OR REPLACE INTO element VALUES (?, ?, ?, ?, ?)",
        [(e.number, e.symbol, e.name, e.period, e.weight) for e in elements],
    )
    return len(elements)


@task(retries=50, retry_delay=0.05, retry_jitter=0.9, retry_on=sqlite3.OperationalError)
def reject(rows: list[Rejected], db: sqlite3.Connection = database) -> int:
    """What was not loaded is kept with its reason, never dropped in silence."""
    db.execute("BEGIN IMMEDIATE")
    db.executemany(
        "INSERT OR REPLACE INTO rejected VALUES (?, ?, ?)",
        [(r.number, r.symbol, r.reason) for r in rows],
    )
    return len(rows)


@task
def report(
    loaded: list[int], rejected: int, db: sqlite3.Connection = database
) -> dict[str, int | list[str]]:
    """Ask the database, and compare with what was sent to it."""
    (rows,) = db.execute("SELECT count(*) FROM element").fetchone()
    if rows != sum(loaded):
        raise ValueError(f"{sum(loaded)} elements were loaded, but {rows} are there")
    inversions = [pair for (pair,) in db.execute(INVERSIONS)]
    for period, least, most in db.execute(
        "SELECT period, min(weight), max(weight) FROM element GROUP BY period"
    ):
        print(f"period {period}: {least:8.3f} to {most:8.3f}")
    print(f"heavier before lighter: {', '.join(inversions)}")
    return {"elements": rows, "rejected": rejected, "inversions": inversions}


@workflow
def etl(source: Path = SOURCE):
    """Extract, validate, load by period, ask."""
    periods, rejected = validate(extract(source))
    tables = create()
    loaded = load.map(periods, key=lambda elements: f"period-{elements[0].period}").after(tables)
    return report(loaded, reject(rejected).after(tables))


def complaint(row: dict[str, str]) -> str:
    """What is wrong with a row; empty if nothing is."""
    if not row["symbol"].isalpha() or not row["name"].isalpha():
        return "no symbol or no name"
    if not row["weight"]:
        return "no standard atomic weight: no isotope of it is stable"
    try:
        weight = float(row["weight"])
    except ValueError:
        return f"weight {row['weight']!r} is not a number"
    return "" if weight > 0 else f"weight {weight} is not above 0"


if __name__ == "__main__":
    print(etl.run().result)
