from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.harness import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger"))
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path)
