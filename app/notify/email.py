"""Mail by SMTP: plain text, TLS with the server's name checked unless it is switched off."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate

import aiosmtplib

from app.notify.channel import PermanentError, TransientError
from app.notify.messages import clean, plain_text, subject
from app.notify.settings import EmailSettings, NotifySettings
from tables.alerts.records import NotificationRecord

logger = logging.getLogger(__name__)

_SECOND = 1e9


def _refusal(code: int, reason: str) -> PermanentError | TransientError:
    text = f"SMTP {code}: {reason}"
    return PermanentError(text) if code >= 500 else TransientError(text)


class EmailChannel:
    """One mail to all recipients, on a connection of its own.

    Its Message-ID is made of the notification's id: the same mail again is known to be the same.

    Args:
        now: the wall clock in seconds, for the Date.
    """

    name = "email"

    def __init__(
        self,
        settings: EmailSettings,
        password: str | None,
        deployment: str,
        patience: NotifySettings,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._password, self._deployment = settings, password, deployment
        self._timeout, self._now = patience.timeout / _SECOND, now
        self._context: ssl.SSLContext | None = None
        if settings.security != "none":
            self._context = ssl.create_default_context(cafile=settings.ca_file)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2

    def preview(self, notification: NotificationRecord) -> str:
        """Return the mail."""
        return self._message(notification).as_string()

    async def send(self, notification: NotificationRecord) -> None:
        """Hand the mail to the server.

        Raises:
            PermanentError: the server refuses it with 5xx, or each of its recipients.
            TransientError: it does so with 4xx, or does not answer, or TLS fails.
        """
        security = self._settings.security
        try:
            refused, _ = await aiosmtplib.send(
                self._message(notification),
                hostname=self._settings.host,
                port=self._settings.port,
                username=self._settings.username,
                password=self._password,
                timeout=self._timeout,
                use_tls=security == "tls",
                start_tls=security == "starttls",
                tls_context=self._context,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [each.code for each in error.recipients]
            raise _refusal(min(codes), f"{len(codes)} recipients refused") from None
        except aiosmtplib.SMTPResponseException as error:
            raise _refusal(error.code, clean(str(error.message))[:200]) from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise TransientError(type(error).__name__) from None
        if refused:
            # The others have it; sending it again would be a second mail to them.
            refusals = ", ".join(sorted({str(reply.code) for reply in refused.values()}))
            logger.warning("mail: %s recipients were refused (%s)", len(refused), refusals)

    async def close(self) -> None:
        """Nothing is kept open."""

    def _message(self, notification: NotificationRecord) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["Subject"] = subject(notification)
        message["From"] = self._settings.sender
        message["To"] = ", ".join(self._settings.recipients)
        message["Date"] = formatdate(self._now(), usegmt=True)
        message["Message-ID"] = f"<{notification.id}@{self._deployment}.candlewick>"
        message["Auto-Submitted"] = "auto-generated"
        message["X-Candlewick-Severity"] = notification.severity
        message.set_content(plain_text(notification) + "\n")
        return message
