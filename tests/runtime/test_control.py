"""The control socket, from both ends."""

import threading
from pathlib import Path

import pytest

from engine.errors import RunError
from engine.runtime import control
from engine.runtime.control import Caller, ControlServer


def answer(request: dict[str, object]) -> dict[str, object]:
    return {"ok": True, "message": f"heard {request['command']}"}


def test_a_run_that_has_just_begun_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is RUNNING on disk a moment before it listens."""
    monkeypatch.setattr(control, "LISTENS_WITHIN", 30.0)
    path, answers = tmp_path / "s", list[object]()
    asking = threading.Thread(
        target=lambda: answers.append(Caller().ask(path, {"command": "pause"}, 30.0)))
    asking.start()
    server = ControlServer(path, answer)
    asking.join(30)
    server.close()
    assert answers == [{"ok": True, "message": "heard pause"}]


def test_nobody_there_is_told_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "LISTENS_WITHIN", 0.05)
    with pytest.raises(RunError, match="may just have ended"):
        Caller().ask(tmp_path / "s", {"command": "pause"}, 30.0)
