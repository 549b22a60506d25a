"""What the README shows is true: its examples run, its commands and files exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flowforge_tui.cli import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_there_are_examples_of_all_forms() -> None:
    forms = ("@workflow\n", "with workflow(", "Scheduler(dag")
    assert all(any(form in example for example in EXAMPLES) for form in forms)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: str(EXAMPLES.index(e) + 1))
@pytest.mark.parametrize("way", [[], ["-m", "flowforge_tui", "run"]], ids=["python", "run"])
def test_example_runs(example: str, way: list[str], tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(example, encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FLOWFORGE_")}
    done = subprocess.run(
        [sys.executable, *way, str(file)], cwd=tmp_path, capture_output=True, text=True,
        timeout=60, env={**kept, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stderr


def test_the_commands_are_those_that_exist() -> None:
    named = set(re.findall(r"`flowforge (\w+)", README))
    assert named == set(COMMANDS)


def test_the_files_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_dev_knows_the_readme_commands() -> None:
    commands = re.findall(r"^python3 dev\.py (\w+)$", README, re.MULTILINE)
    assert commands == ["census", "test"]
    told = subprocess.run(
        [sys.executable, str(ROOT / "dev.py"), "help"], capture_output=True, text=True
    )
    assert told.returncode == 0
    assert all(f"dev.py {command}" in told.stdout for command in commands)
