"""Run directories that somebody else wrote: to be looked at, and nothing more."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import msgpack
import pytest

from engine.runtime.journal import pack_entries, unpack_entries
from engine.state.sqlite_rows import row_crc
from engine.state.sqlite_schema import connect
from engine.worker.codec import Encoded, pack_column
from engine.worker.codec_values import PICKLE
from tests.cli.flows import Place

pytestmark = pytest.mark.fault(51)

FLOW = """
import os
from pathlib import Path
from engine import task, workflow

class Odd:
    def __reduce__(self):
        return (make, ())

def make():
    if os.environ.get("VICTIM"):
        Path("unpickled").touch()
    return Odd()

@task
def odd():
    return Odd()

@task
def use(x):
    Path("used").touch()
    if Path("broken").exists():
        raise ValueError("broken")
    return 1

@workflow
def flow():
    return use(odd())
"""

EVIL = """
from pathlib import Path
Path("executed").touch()
from engine import task, workflow

@workflow
def flow():
    pass
"""


class Victim(Place):
    """A user with a key of his own, and somebody else's run in his state directory."""

    def __init__(self, place: Place) -> None:
        super().__init__(place.path)
        self.write("flow.py", FLOW)
        self.write("broken", "")
        self.env |= {"FLOWFORGE_KEY_FILE": str(place.path / "key-of-another")}
        self.do("run", "flow.py", code=1)
        self.env |= {"FLOWFORGE_KEY_FILE": str(place.path / "own-key"), "VICTIM": "1"}
        self.run_dir = next((place.path / ".flowforge" / "runs").iterdir())

    def files(self) -> dict[str, bytes]:
        """What is there, but for what SQLite puts beside a file that is looked at."""
        return {str(p.relative_to(self.run_dir)): p.read_bytes()
                for p in sorted(self.run_dir.rglob("*"))
                if p.is_file() and not p.name.startswith("run.db-")}

    def traces(self) -> set[str]:
        return {name for name in ("unpickled", "executed") if (self.path / name).exists()}


@pytest.fixture
def victim(place: Place, monkeypatch: pytest.MonkeyPatch) -> Victim:
    return Victim(place)


def test_it_can_be_looked_at(victim: Victim):
    assert json.loads(victim.do("runs", "--json").stdout)[0]["state"] == "FAILED"
    shown = victim.do("show", "latest").stdout
    assert "not signed with your key" in shown and "1 succeeded, 1 failed" in shown
    assert json.loads(victim.do("show", "latest", "--json").stdout)["yours"] is False
    assert "pickled" in victim.do("show", "latest", "odd").stdout
    victim.do("logs", "latest")
    assert not victim.traces()


def test_it_is_not_carried_on_by_any_way(victim: Victim):
    before = victim.files()
    (victim.path / "used").unlink()
    for words in (["resume"], ["resume", "latest"], ["retry", "latest"],
                  ["rerun", "latest", "odd"], ["resume", "latest", "--dry-run"],
                  ["resume", "latest", "--force"], ["run", "flow.py"],
                  ["run", "flow.py", "--resume"]):
        done = victim.do(*words, code=2)
        assert "FLOWFORGE_KEY_FILE" in done.stderr and "--fresh" in done.stderr, words
        assert "Traceback" not in done.stderr
    assert victim.files() == before
    assert not victim.traces() and not (victim.path / "used").exists()
    # Starting anew is no way round: it is a run of one's own.
    (victim.path / "broken").unlink()
    assert victim.do("run", "flow.py", "--fresh").returncode == 0


def test_with_the_key_it_was_written_with_it_is_carried_on(victim: Victim):
    (victim.path / "broken").unlink()
    victim.env |= {"FLOWFORGE_KEY_FILE": str(victim.path / "key-of-another")}
    victim.do("resume", "latest")


# -- forgeries in a run of one's own ----------------------------------------------------------


def rewrite(run_dir: Path, kind: str, change: object) -> None:
    """Change the entries of one kind in a journal, checksums made anew; the snapshot goes."""
    db = connect(run_dir / "run.db", "rw")
    for seq, data in db.execute("SELECT seq, data FROM journal").fetchall():
        entries = unpack_entries(data)
        if any(e[0] == kind for e in entries):
            for entry in entries:
                if entry[0] == kind:
                    change(entry)  # type: ignore[operator]
            data = pack_entries(entries)
            db.execute("UPDATE journal SET data = ?, crc = ? WHERE seq = ?",
                       (data, row_crc(seq, data), seq))
    db.close()
    (run_dir / "snapshot.msgpack").unlink(missing_ok=True)


@pytest.fixture
def own(victim: Victim) -> Victim:
    """The same, but that the run is his own."""
    shutil.rmtree(victim.path / ".flowforge")
    (victim.path / "used").unlink()
    victim.env.pop("VICTIM")
    victim.do("run", "flow.py", code=1)
    victim.env["VICTIM"] = "1"
    victim.run_dir = next((victim.path / ".flowforge" / "runs").iterdir())
    return victim


def test_a_file_put_in_the_place_of_the_runs_own_is_not_executed(own: Victim):
    evil = own.write("evil.py", EVIL)

    def change(entry: list[object]) -> None:
        entry[1]["file"] = str(evil)  # type: ignore[index]

    rewrite(own.run_dir, "O", change)
    done = own.do("resume", "latest", code=2)
    assert "not signed with your key" in done.stderr
    assert not own.traces()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize("signature", [b"", b"x" * 32])
@pytest.mark.parametrize("protocol", [4, 5])
def test_a_pickle_put_in_the_place_of_a_result_is_not_opened(
    own: Victim, signature: bytes, protocol: int
):
    """One of the protocol that is written here is found before anything runs, and made again."""
    bomb = pickle.dumps(Bomb(), protocol=protocol)
    forged = msgpack.packb(msgpack.ExtType(PICKLE, signature + bomb))

    def change(entry: list[object]) -> None:
        entry[-1] = pack_column([Encoded(forged)])

    rewrite(own.run_dir, "s", change)
    (own.path / "broken").unlink()
    again = protocol == 5
    done = own.do("resume", "latest", code=0 if again else 1)
    assert "was not written with your signing key" in done.stderr
    assert ("the result of odd cannot be opened and is made again" in done.stderr) == again
    assert not (own.path / "executed").exists()
    own.do("rerun", "latest", "odd")
    assert not (own.path / "executed").exists()


def test_without_a_key_runs_go_on_all_the_same(place: Place):
    """A machine on which no key can be kept: nothing can be told apart there, nor be pickled."""
    place.env |= {"FLOWFORGE_KEY_FILE": "/proc/no/key"}
    place.write("broken", "")
    place.do("run", "pipe.py", code=1)
    (place.path / "broken").unlink()
    place.do("resume", "latest")


@pytest.mark.fault(52)
def test_a_run_directory_that_is_a_link_is_not_written_to(own: Victim):
    elsewhere = own.path / "elsewhere"
    own.run_dir.rename(elsewhere)
    own.run_dir.symlink_to(elsewhere)
    assert "symbolic link" in own.do("resume", "latest", code=3).stderr


@pytest.mark.fault(52)
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_run_directory_of_another_user_is_not_written_to(own: Victim):
    os.chown(own.run_dir, 65534, 65534)
    assert "belongs to another user" in own.do("resume", "latest", code=3).stderr
