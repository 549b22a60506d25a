from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.flows import GATE, PIPE, Place
from tests.runtime.conftest import bench
from tests.screens.pty_terminal import PtyTerminal

__all__ = ["bench", "place", "terminal"]

Open = Callable[..., PtyTerminal]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A directory with the flow files pipe.py and gate.py."""
    here = Place(tmp_path)
    here.write("pipe.py", PIPE)
    here.write("gate.py", GATE)
    return here


@pytest.fixture
def terminal(place: Place) -> Iterator[Open]:
    """Opens `flowforge` with arguments on a terminal of its own, in the directory `place`."""
    opened: list[PtyTerminal] = []

    def start(*arguments: str, columns: int = 80, rows: int = 24, **env: Any) -> PtyTerminal:
        made = PtyTerminal(arguments, cwd=place.path, env={**place.env, **env},
                           columns=columns, rows=rows)
        opened.append(made)
        return made

    yield start
    for made in opened:
        made.close()
