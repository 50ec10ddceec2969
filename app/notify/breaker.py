"""A circuit breaker: a channel that fails again and again is left alone for a while.

Ours, because the kept ones (circuitbreaker 2.1, aiobreaker 1.2) read the clock themselves.
Closed: all may pass. Open: none, for `rest` seconds. Half-open: one may try; its success closes
the breaker, its failure opens it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]


class Breaker:
    """A breaker that opens after so many failures in a row.

    Args:
        failures: in a row.
        rest: seconds.
        monotonic: the clock, in seconds.
    """

    def __init__(self, failures: int, rest: float, monotonic: Callable[[], float]) -> None:
        self._allowed, self._rest, self._monotonic = failures, rest, monotonic
        self._failures = 0
        self._opened_at: float | None = None
        self._trying = False

    @property
    def state(self) -> BreakerState:
        """What it is now."""
        if self._opened_at is None:
            return "closed"
        return "open" if self.remaining > 0 else "half_open"

    @property
    def remaining(self) -> float:
        """Seconds until somebody may try; 0 where it is not open."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._rest - self._monotonic())

    def enter(self) -> bool:
        """Whether the caller may try; it then has to say how that went, or `leave`."""
        state = self.state
        if state == "open" or (state == "half_open" and self._trying):
            return False
        self._trying = True
        return True

    def leave(self) -> None:
        """The try ended without an answer: it was cancelled."""
        self._trying = False

    def succeeded(self) -> None:
        """The channel works."""
        self._failures, self._opened_at, self._trying = 0, None, False

    def failed(self) -> None:
        """The channel does not work."""
        half_open = self.state == "half_open"
        self._failures += 1
        self._trying = False
        if half_open or (self._opened_at is None and self._failures >= self._allowed):
            self._opened_at = self._monotonic()
