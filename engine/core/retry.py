"""When a failed attempt is tried again.

Pure: the caller brings the attempt number and the randomness. What needs the exception
itself (`retry_on`, a callable delay) is answered where the exception lives, in the
worker, and arrives with the outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log

#: No delay is longer (seconds): a year.
LONGEST = 366 * 86_400.0

Delay = float | Sequence[float] | Callable[..., float]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon a task is tried again. All times in seconds."""

    retries: int = 0
    """Tries after the first failure."""
    delay: Delay = 0.0
    """A number; a list, one per retry, the last repeated; or `f(attempt) -> seconds`."""
    backoff: float = 1.0
    """Each delay is this many times the one before (2.0 doubles)."""
    jitter: float = 0.0
    """A delay d becomes a random one in [d·(1-jitter), d·(1+jitter)]; spreads a herd."""
    max_delay: float | None = None
    """No delay is longer, whatever backoff and jitter say."""
    on: tuple[type[BaseException], ...] | Callable[[BaseException], bool] | None = None
    """Retry only on these exception types, or when this predicate is true."""

    def next_delay(
        self, failures: int, random: Callable[[], float], asked: float | None = None
    ) -> float | None:
        """Seconds until the next try after the `failures`-th failure; None: no more tries.

        `asked` is the answer of a callable delay, given by the worker.
        `random` returns a float in [0, 1).
        """
        if failures > self.retries:
            return None
        if asked is not None:
            base = asked
        elif isinstance(self.delay, (int, float)):
            base = float(self.delay)
        elif callable(self.delay):
            base = 0.0
        else:
            steps = self.delay
            base = float(steps[min(failures, len(steps)) - 1]) if steps else 0.0
        seconds = base
        if self.backoff != 1.0 and base:
            # 2.0 ** 1024 is an error, and somebody retries for ever, with a max_delay.
            grown = (failures - 1) * log(self.backoff) + log(base)
            seconds = base * self.backoff ** (failures - 1) if grown < log(LONGEST) else LONGEST
        if self.jitter:
            seconds *= 1.0 + self.jitter * (2.0 * random() - 1.0)
        if self.max_delay is not None:
            seconds = min(seconds, self.max_delay)
        return min(max(0.0, seconds), LONGEST)
