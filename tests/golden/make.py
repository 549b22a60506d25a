"""`python -m tests.golden.make`: run directories as this version writes them, kept for ever.

Made once for each version of the format (`VERSION` in `engine/state/sqlite_schema.py`), before
it is released: `tests/golden/v1/` has one run that was killed, whose log was not copied
back, and one that ended FAILED. `test_golden.py` opens, resumes and retries all of them.

They are signed with `key`, which is good for nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from engine.state.sqlite_schema import VERSION

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def make(folder: Path, *present: str, code: int) -> Path:
    """Run the flow, with these files there; returns the run's directory."""
    folder.mkdir()
    shutil.copy(HERE / "flow.py", folder)
    for name in present:
        (folder / name).touch()
    done = subprocess.run(
        [sys.executable, "-m", "flowforge_tui", "run", "flow.py", "-j", "1"], cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "GOLDEN": str(folder),
             "FLOWFORGE_KEY_FILE": str(key_in(folder))},
        check=False,
    )
    assert done.returncode == code, done
    return next((folder / ".flowforge" / "runs").iterdir())


def key_in(folder: Path) -> Path:
    """A copy of the key, for its owner alone, as git cannot keep it."""
    copy = folder / "key"
    shutil.copy(HERE / "key", copy)
    copy.chmod(0o600)
    return copy


def main() -> None:
    place = HERE / f"v{VERSION}"
    if place.exists():
        sys.exit(f"{place} is there already; what was released is never made again")
    with tempfile.TemporaryDirectory() as folder:
        killed = make(Path(folder) / "killed", "kill", "broken", code=-9)
        failed = make(Path(folder) / "failed", "broken", code=1)
        for run_dir, name in ((killed, "killed"), (failed, "failed")):
            shutil.copytree(run_dir, place / name / run_dir.name,
                            ignore=shutil.ignore_patterns("*-shm"))


if __name__ == "__main__":
    main()
