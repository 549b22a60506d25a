"""The state diagram of task runs, drawn from the tables that the machine goes by.

`python -m engine.core.diagram` prints it; DESIGN.md holds a copy, and a test compares.
"""

from __future__ import annotations

from engine.core.states import RESETS, TERMINAL, TRANSITIONS


def mermaid() -> str:
    """The transitions as a Mermaid state diagram; dashed names mark a person's moves."""
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for state, targets in TRANSITIONS.items():
        lines += [f"    {state.name} --> {target.name}" for target in sorted(targets)]
    for state, targets in RESETS.items():
        lines += [f"    {state.name} --> {t.name}: retry, rerun, lost" for t in sorted(targets)]
    lines += [f"    {state.name} --> [*]" for state in sorted(TERMINAL)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(mermaid())
