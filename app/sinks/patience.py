"""When a sink that fails is tried again: back-off with full jitter, Retry-After, breaker, rest.

M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. Clock and chance are
parameters; nothing waits here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from app.notify.breaker import Breaker, BreakerState
from app.sinks.driver import SinkRefusesError, SinkUnavailableError
from app.sinks.settings import SinkSettings

#: Seconds of a Retry-After beyond which a sink asks for too much.
LONGEST_RETRY_AFTER: Final = 3600.0
_SECOND: Final = 1e9


class Patience:
    """The waits of one sink.

    Args:
        monotonic: the clock, in seconds.
    """

    def __init__(
        self, settings: SinkSettings, monotonic: Callable[[], float], chance: random.Random
    ) -> None:
        self._first = settings.first_backoff / _SECOND
        self._longest = settings.max_backoff / _SECOND
        self._rest = settings.rest / _SECOND
        self._breaker = Breaker(settings.attempts, self._rest, monotonic)
        self._monotonic, self._chance = monotonic, chance
        self._failures = 0
        self._troubled = self._refused = False
        self._until = 0.0

    @property
    def troubled(self) -> bool:
        """Whether the last attempt has failed; then nothing more is read."""
        return self._troubled

    @property
    def failures(self) -> int:
        """In a row."""
        return self._failures

    @property
    def remaining(self) -> float:
        """Seconds until the next attempt; 0: now."""
        if not self._troubled:
            return 0.0
        return max(0.0, self._until - self._monotonic(), self._breaker.remaining)

    @property
    def state(self) -> BreakerState:
        """The breaker's; a sink that refuses rests as if it were open."""
        if self._refused:
            return "open" if self.remaining else "half_open"
        return self._breaker.state

    def answered(self) -> None:
        """It may be written to, for all that is known; another failure is one more in a row."""
        self._troubled = self._refused = False

    def succeeded(self) -> None:
        """It works."""
        self._failures = 0
        self.answered()
        self._breaker.succeeded()

    def failed(self, error: BaseException) -> float:
        """An attempt has failed; return the seconds until the next."""
        self._failures += 1
        self._troubled = True
        self._refused = isinstance(error, SinkRefusesError)
        if self._refused:
            wait = self._rest
        else:
            limited = isinstance(error, SinkUnavailableError) and error.limited
            if limited:
                # It answers: no sign of a fault.
                self._breaker.succeeded()
            else:
                self._breaker.failed()
            # Not a power of thousands: it stops to matter at the greatest wait.
            bound = min(self._longest, self._first * 2 ** min(self._failures - 1, 32))
            wait = max(self._chance.uniform(0.0, bound), _asked(error), self._breaker.remaining)
        self._until = self._monotonic() + wait
        return wait


def _asked(error: BaseException) -> float:
    """Seconds that a sink asks for."""
    asked = error.retry_after if isinstance(error, SinkUnavailableError) else None
    return min(max(asked or 0.0, 0.0), LONGEST_RETRY_AFTER)
