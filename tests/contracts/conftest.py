"""Every executor, for the suite that all of them must pass."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["sequential", "thread", "process"])
def executor(request):
    return request.param


@pytest.fixture
def launch(executor, tmp_path, monkeypatch):
    """Runs a workflow on the executor under test, in a directory of the test's own."""
    monkeypatch.chdir(tmp_path)

    def run(wf, *args, **kwargs):
        options = {"executor": executor, "workers": 2, "output": "silent", "durability": "process",
                   "grace": 1.0, **kwargs.pop("options", {})}
        return wf.options(**options).run(*args, **kwargs)

    return run
