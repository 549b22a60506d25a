"""Signals as a foreground shell leaves them. What a script starts with `&` has SIGINT and SIGQUIT
ignored, and hands that on to every program that a test starts."""

from __future__ import annotations

import signal

for _name, _usual in (("SIGINT", signal.default_int_handler), ("SIGQUIT", signal.SIG_DFL)):
    if signal.getsignal(getattr(signal, _name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _usual)
