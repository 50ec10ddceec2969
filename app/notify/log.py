"""The channel `log`: a line in the worker's log; needs no address and never fails."""

from __future__ import annotations

import logging

from app.notify.messages import lines, subject
from tables.alerts.records import NotificationRecord

logger = logging.getLogger(__name__)
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}


class LogChannel:
    """Writes each notification as one line."""

    name = "log"

    def preview(self, notification: NotificationRecord) -> str:
        """Return the line."""
        return f"{subject(notification)}: {'; '.join(lines(notification))}"

    async def send(self, notification: NotificationRecord) -> None:
        """Write the line."""
        over = notification.action == "resolve"
        level = logging.INFO if over else _LEVELS[notification.severity]
        logger.log(level, "alert %s: %s", notification.id, self.preview(notification))

    async def close(self) -> None:
        """Nothing is kept open."""
