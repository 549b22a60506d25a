from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.flows import GATE, PIPE, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A directory with the flow files pipe.py and gate.py."""
    here = Place(tmp_path)
    here.write("pipe.py", PIPE)
    here.write("gate.py", GATE)
    return here
