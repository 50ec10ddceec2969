"""One notification to one channel: attempts, waits between them, and what came of it.

Waits are exponential with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015), or what the channel asks for by Retry-After, if that is longer.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from app.notify.breaker import Breaker
from app.notify.channel import Channel, PermanentError, TransientError
from app.notify.settings import NotifySettings
from tables.alerts.records import NotificationRecord

logger = logging.getLogger(__name__)

#: Seconds of a Retry-After beyond which a channel asks for too much.
LONGEST_RETRY_AFTER = 3600.0
#: An attempt may be several requests (a message about several keys); time for so many.
REQUESTS = 10
_SECOND = 1e9

Result = Literal["delivered", "skipped", "dry_run", "dead", "unavailable"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a delivery.

    Attributes:
        result: `skipped`: not for this channel; `dead`: never to be taken; `unavailable`: not
            taken, to be tried again in `retry_in` seconds.
        attempts: how often it was sent.
    """

    result: Result
    reason: str = ""
    attempts: int = 0
    retry_in: float = 0.0


class _RestingError(Exception):
    """The breaker is open."""


class Deliverer:
    """Delivers to one channel, one notification at a time.

    Args:
        sleep, monotonic, chance: what tests replace.
    """

    def __init__(
        self,
        channel: Channel,
        settings: NotifySettings,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self.channel, self._settings = channel, settings
        self._sleep, self._chance = sleep, chance or random.Random()
        self._bound = REQUESTS * settings.timeout / _SECOND
        rest = settings.breaker_rest / _SECOND
        self.breaker = Breaker(settings.breaker_failures, rest, monotonic)

    async def deliver(self, notification: NotificationRecord) -> Outcome:
        """Deliver a notification; failures are outcomes, not errors."""
        over = notification.action == "resolve"
        if self.channel.name not in notification.channels or (
            over and not self._settings.send_resolved
        ):
            return Outcome("skipped")
        if self._settings.dry_run:
            preview = self.channel.preview(notification)
            logger.info("dry run, not sent to %s: %s", self.channel.name, preview)
            return Outcome("dry_run", preview)
        attempts = 0

        async def attempt() -> None:
            nonlocal attempts
            if not self.breaker.enter():
                raise _RestingError
            attempts += 1
            await self._attempt(notification)

        try:
            await AsyncRetrying(
                sleep=self._sleep,
                stop=stop_after_attempt(self._settings.attempts),
                wait=self._wait,
                retry=retry_if_exception(self._worth_a_retry),
                reraise=True,
            )(attempt)
        except PermanentError as error:
            return Outcome("dead", str(error), attempts)
        except TransientError as error:
            retry_in = max(
                self.breaker.remaining, _asked(error), self._settings.first_backoff / _SECOND
            )
            return Outcome("unavailable", str(error), attempts, retry_in)
        except _RestingError:
            return Outcome("unavailable", "the breaker is open", attempts, self.breaker.remaining)
        return Outcome("delivered", attempts=attempts)

    @property
    def longest(self) -> float:
        """Seconds that a delivery may take."""
        each = self._bound + self._settings.max_backoff / _SECOND
        return self._settings.attempts * each

    async def _attempt(self, notification: NotificationRecord) -> None:
        try:
            async with asyncio.timeout(self._bound):
                await self.channel.send(notification)
        except TimeoutError:
            self.breaker.failed()
            raise TransientError("no answer in time") from None
        except PermanentError:
            # It answers: nothing is wrong with the channel.
            self.breaker.succeeded()
            raise
        except TransientError as error:
            if error.limited:
                self.breaker.succeeded()
            else:
                self.breaker.failed()
            raise
        except BaseException:
            self.breaker.leave()
            raise
        self.breaker.succeeded()

    def _worth_a_retry(self, error: BaseException) -> bool:
        """Whether to wait here; longer than the greatest wait, the caller does."""
        longest = self._settings.max_backoff / _SECOND
        return isinstance(error, TransientError) and _asked(error) <= longest

    def _wait(self, state: RetryCallState) -> float:
        first, longest = self._settings.first_backoff, self._settings.max_backoff
        bound = min(longest, first * 2 ** (state.attempt_number - 1)) / _SECOND
        error = state.outcome.exception() if state.outcome is not None else None
        return max(self._chance.uniform(0.0, bound), _asked(error))


def _asked(error: BaseException | None) -> float:
    """Seconds that a channel asks for."""
    asked = error.retry_after if isinstance(error, TransientError) else None
    return min(max(asked or 0.0, 0.0), LONGEST_RETRY_AFTER)
