"""What any pane may ask of the screen that it is in."""

from __future__ import annotations

from textual.message import Message


class Jump(Message):
    """The cursor of the tree is to go to a task run, or to a map as a whole."""

    def __init__(self, tid: int) -> None:
        super().__init__()
        self.tid = tid


class Left(Message):
    """Esc, and nothing to end here: the focus may go where it was.

    Not `Leave`: its handler's name, `on_leave`, is that of the mouse's event.
    """
