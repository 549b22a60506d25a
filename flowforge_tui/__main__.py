"""`python -m flowforge_tui`: the same as `flowforge`."""

from __future__ import annotations

from flowforge_tui.cli import main

if __name__ == "__main__":
    main()
