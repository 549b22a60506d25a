"""The three standard descriptors, and the working directory, as a program may not have them.

Rule 1: descriptors 0 to 2 are never left to whatever file is opened next: what C code or a
        child then writes as output would end up in a journal.
"""

from __future__ import annotations

import os
import sys


def hold_standard_streams() -> None:
    """Open what is closed of stdin, stdout and stderr onto nothing. Costs 3 µs if none is."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free number is taken, and those below are open by now.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:
            mode = "w" if fd else "r"
            setattr(sys, name, open(fd, mode, closefd=False, errors="replace"))  # noqa: SIM115


def working_directory() -> str | None:
    """Where the program stands; None if that directory was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None
