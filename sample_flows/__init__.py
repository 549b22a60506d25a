"""Flows that do real work, each of which teaches one thing. Run any with `flowforge run`."""
