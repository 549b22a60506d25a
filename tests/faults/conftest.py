"""The benches that other tests have, for faults that are injected into whole runs."""

from __future__ import annotations

from tests.cli.conftest import place
from tests.executors.conftest import pool
from tests.runtime.conftest import bench

__all__ = ["bench", "place", "pool"]
