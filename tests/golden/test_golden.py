"""What earlier versions wrote is opened, shown, resumed and retried by this one."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import NewerSchema
from engine.runtime.stored import list_runs, open_stored
from engine.state import sqlite_schema
from engine.state.sqlite_rows import meta_crc
from engine.state.sqlite_schema import VERSION
from engine.state.sqlite_store import SqliteStore
from tests.golden.make import HERE, ROOT, key_in

VERSIONS = sorted(p.name for p in HERE.glob("v*"))

pytestmark = pytest.mark.fault(24)

#: Resumes the run named on the command line with the flow beside it, whatever file it names.
GO_ON = """
import sys
from engine.runtime.load import load_flow
from engine.runtime.request import Request, requested
command, home, run_id, *tasks = sys.argv[1:]
flow = load_flow("flow.py")
with requested(Request(command=command, run_id=run_id, tasks=tuple(tasks))):
    run = flow.golden.options(home=home, workers=1).run()
print(run.state)
print(run.result)
"""


class Golden:
    """A copy of one golden run, in a state directory of its own."""

    def __init__(self, folder: Path, version: str, name: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        shutil.copytree(HERE / version / name, self.home / "runs")
        self.home.chmod(0o700)
        (self.home / "runs").chmod(0o700)
        shutil.copy(HERE / "flow.py", folder)
        self.run_dir = next((self.home / "runs").iterdir())
        self.key = key_in(folder)

    def go_on(self, command: str, *tasks: str) -> list[str]:
        """State and result; what ran is in the file `ran`."""
        done = subprocess.run(
            [sys.executable, "-c", GO_ON, command, str(self.home), self.run_dir.name, *tasks],
            cwd=self.folder, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "GOLDEN": str(self.folder),
                 "FLOWFORGE_KEY_FILE": str(self.key)},
        )
        assert done.returncode == 0, done.stderr
        assert "damage" not in done.stderr, done.stderr
        return done.stdout.splitlines()

    def ran(self) -> list[str]:
        return sorted((self.folder / "ran").read_text().splitlines())

    def schema(self) -> int:
        with sqlite3.connect(self.run_dir / "run.db") as db:
            found: int = db.execute("PRAGMA user_version").fetchone()[0]
        db.close()
        return found


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_every_version_of_the_format_is_kept():
    assert [int(v[1:]) for v in VERSIONS] == list(range(1, VERSION + 1))


def test_they_are_listed_and_shown(tmp_path: Path, version: str, monkeypatch):
    killed = Golden(tmp_path / "killed", version, "killed")
    failed = Golden(tmp_path / "failed", version, "failed")
    monkeypatch.setenv("FLOWFORGE_KEY_FILE", str(killed.key))
    assert [str(r.state) for r in list_runs(killed.home)] == ["INTERRUPTED"]
    assert [str(r.state) for r in list_runs(failed.home)] == ["FAILED"]
    stored = open_stored(failed.home, "latest")
    assert stored.mine and stored.history.damage == []
    assert {s.name: n for s, n in stored.record.counts().items() if n} == {
        "SUCCESS": 9, "FAILED": 1, "UPSTREAM_FAILED": 1}
    assert stored.parameters(trusted=False) == {"width": 4}
    (tid,) = stored.find("values")
    assert "1180591620717411303424" in stored.preview(tid, repr)
    assert failed.schema() == int(version[1:]), "a look changed it"


def test_the_killed_one_is_resumed(tmp_path: Path, version: str):
    golden = Golden(tmp_path / "killed", version, "killed")
    state, result = golden.go_on("resume")
    assert state == "SUCCESS"
    assert result.endswith(", 21, 300000, 'MENDED']") and "Point(x=1, y=2.5)" in result
    again = set(golden.ran())
    assert {"add", "unkept"} <= again and not any(x.startswith("square") for x in again), again
    assert golden.schema() == VERSION


def test_the_failed_one_is_retried(tmp_path: Path, version: str):
    golden = Golden(tmp_path / "failed", version, "failed")
    state, result = golden.go_on("retry", "shaky")
    assert state == "SUCCESS" and "'MENDED'" in result
    assert golden.ran() == ["report", "shaky", "tell"]


def test_without_its_snapshot_too(tmp_path: Path, version: str):
    golden = Golden(tmp_path / "failed", version, "failed")
    (golden.run_dir / "snapshot.msgpack").unlink()
    assert "'MENDED'" in golden.go_on("retry", "shaky")[1]
    assert golden.ran() == ["report", "shaky", "tell"]


# -- versions that there are not yet --------------------------------------------------------------


def upper(connection: sqlite3.Connection) -> None:
    """A step that rewrites what has a checksum."""
    for key, value in connection.execute("SELECT key, value FROM meta").fetchall():
        connection.execute("UPDATE meta SET value = ?, crc = ? WHERE key = ?",
                           (value + "!", meta_crc(key, value + "!"), key))


@pytest.fixture
def next_version(monkeypatch) -> int:
    """As if this FlowForge had one version more: a column, and a change of what is there."""
    step = ("ALTER TABLE journal ADD COLUMN kind TEXT NOT NULL DEFAULT 'row'",
            "CREATE INDEX kinds ON journal (kind)", upper)
    monkeypatch.setattr(sqlite_schema, "SCHEMA", (*sqlite_schema.SCHEMA, step))
    monkeypatch.setattr(sqlite_schema, "VERSION", VERSION + 1)
    return VERSION + 1


def older(path: Path) -> None:
    store = SqliteStore.create(path, "process")
    store.append(b"a row", {"workflow": "w"})
    store.close()


def test_an_older_one_is_migrated_when_it_is_opened_for_writing(tmp_path: Path, request):
    path = tmp_path / "run.db"
    older(path)
    new = request.getfixturevalue("next_version")
    assert sqlite_version(path) == new - 1
    connection = sqlite_schema.connect_writer(path, "full")
    assert connection.execute("SELECT kind FROM journal").fetchall() == [("row",)]
    assert ("workflow", "w!") in connection.execute("SELECT key, value FROM meta").fetchall()
    connection.close()
    assert sqlite_version(path) == new


def test_a_look_sees_it_migrated_and_leaves_it_as_it_is(tmp_path: Path, request):
    path = tmp_path / "run.db"
    older(path)
    before = path.read_bytes()
    new = request.getfixturevalue("next_version")
    reader = SqliteStore.read(path)
    assert reader.meta()["workflow"] == "w!" and [r.data for r in reader.rows()] == [b"a row"]
    assert reader.damage == []
    reader.close()
    assert path.read_bytes() == before and sqlite_version(path) == new - 1


def test_a_migration_that_fails_or_is_cut_off_leaves_it_as_it_was(tmp_path: Path, monkeypatch):
    path = tmp_path / "run.db"
    older(path)

    def fails(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("made by the test")

    step = ("ALTER TABLE journal ADD COLUMN kind TEXT", upper, fails)
    monkeypatch.setattr(sqlite_schema, "SCHEMA", (*sqlite_schema.SCHEMA, step))
    monkeypatch.setattr(sqlite_schema, "VERSION", VERSION + 1)
    with pytest.raises(sqlite3.OperationalError):
        sqlite_schema.connect_writer(path, "full")
    monkeypatch.undo()
    assert sqlite_version(path) == VERSION
    store = SqliteStore.open(path, "full", 2)
    assert store.meta()["workflow"] == "w" and store.damage == []
    assert [r.data for r in store.rows()] == [b"a row"]
    store.close()


def sqlite_version(path: Path) -> int:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    db.close()
    return found


def test_a_newer_one_is_refused_by_every_command_and_left_as_it_is(tmp_path: Path):
    golden = Golden(tmp_path / "failed", VERSIONS[-1], "failed")
    with sqlite3.connect(golden.run_dir / "run.db") as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    before = {p.name: p.read_bytes() for p in golden.run_dir.iterdir() if p.is_file()}
    with pytest.raises(NewerSchema, match="newer FlowForge"):
        open_stored(golden.home, "latest")
    (listed,) = list_runs(golden.home)
    assert "newer FlowForge" in listed.problem
    for words in (["show", "latest"], ["resume", "latest"], ["retry", "latest"],
                  ["rerun", "latest", "values"], ["logs", "latest"]):
        done = subprocess.run(
            [sys.executable, "-m", "flowforge_tui", *words], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "FLOWFORGE_HOME": str(golden.home)},
            cwd=golden.folder, check=False,
        )
        assert done.returncode == 3, (words, done)
        assert "pip install -U flowforge" in done.stderr and "Traceback" not in done.stderr
    after = {p.name: p.read_bytes() for p in golden.run_dir.iterdir() if p.is_file()}
    assert after.items() >= before.items()
    assert json.loads(subprocess.run(
        [sys.executable, "-m", "flowforge_tui", "runs", "--json"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FLOWFORGE_HOME": str(golden.home)},
        cwd=golden.folder, check=True,
    ).stdout)[0]["problem"]
