"""Signals and pipes of a headless run that other tests leave out."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from tests.cli.flows import Place

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.mark.fault(46)
def test_sigquit_ends_it_at_once_and_it_can_be_resumed(place: Place):
    process = place.start("run", "gate.py")
    place.wait_for("waiting")
    process.send_signal(signal.SIGQUIT)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGQUIT
    assert json.loads(place.do("runs", "--json").stdout)[0]["state"] == "INTERRUPTED"
    place.write("go", "")
    place.do("resume")
    assert place.ran() == ["first"]


@pytest.mark.fault(46, 48)
@pytest.mark.parametrize("output", ["plain", "rich", "json"])
def test_a_signal_is_heard_though_nobody_reads_what_is_said(place: Place, output: str):
    """The answer to the signal cannot be written: the run must stop all the same."""
    process = place.start("run", "gate.py", "--output", output)
    place.wait_for("waiting")
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 130
    assert json.loads(place.do("runs", "--json").stdout)[0]["state"] == "INTERRUPTED"
