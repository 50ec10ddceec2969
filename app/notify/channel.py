"""What a channel is: it sends a notification, or says why not."""

from __future__ import annotations

from typing import Protocol

from tables.alerts.records import NotificationRecord


class DeliveryError(Exception):
    """A channel did not take a notification; the message is a short reason without secrets."""


class TransientError(DeliveryError):
    """It may take it later.

    Attributes:
        retry_after: seconds that the channel asks for; None: it does not say.
        limited: it works, and has had enough for now (429): nothing is wrong with it.
    """

    def __init__(
        self, reason: str, retry_after: float | None = None, *, limited: bool = False
    ) -> None:
        super().__init__(reason)
        self.retry_after, self.limited = retry_after, limited


class PermanentError(DeliveryError):
    """It will never take it: trying again is no use."""


class Channel(Protocol):
    """A way to somebody."""

    @property
    def name(self) -> str:
        """Return its name in routes."""

    def preview(self, notification: NotificationRecord) -> str:
        """Return what would be sent, without secrets."""

    async def send(self, notification: NotificationRecord) -> None:
        """Send a notification; again with the same idempotency key if asked again.

        Raises:
            DeliveryError: it was not taken, or it is not known whether it was.
        """

    async def close(self) -> None:
        """Let go of connections."""
