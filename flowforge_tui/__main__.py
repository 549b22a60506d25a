"""`python -m flowforge_tui`: the same as `flowforge`.

Rule 1: as under `flowforge`, the working directory is not importable: `-m` puts it first,
        where a user's `engine.py` would be taken for this package before it can be refused.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[1])

if __name__ == "__main__":
    try:
        here = os.getcwd()
    except FileNotFoundError:  # `main` says so
        here = _ROOT
    if sys.path and sys.path[0] == here != _ROOT:
        del sys.path[0]
    from flowforge_tui.cli import main

    main()
