"""Channels over HTTP: Slack, a web hook of one's own, PagerDuty, Opsgenie.

What PagerDuty and Opsgenie call an incident is one (alert type, key): a message about several keys
is several requests there, each harmless when repeated, because the incident's key goes with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from app.notify.http import Poster
from app.notify.messages import (
    clean,
    clip,
    dedup_key,
    escape_slack,
    iso_time,
    lines,
    plain_text,
    subject,
)
from app.notify.signing import HEADER, sign
from app.observe.masking import MASK
from tables.alerts.records import NotificationRecord, encoder

#: Limits of the services, in characters.
SLACK_HEADER, SLACK_SECTION, SLACK_TEXT = 150, 3_000, 3_000
PAGERDUTY_SUMMARY, OPSGENIE_MESSAGE = 1_024, 130
IDEMPOTENCY = "Idempotency-Key"
_PAGERDUTY_SEVERITY = {"info": "info", "warning": "warning", "critical": "critical"}
_OPSGENIE_PRIORITY = {"info": "P5", "warning": "P3", "critical": "P1"}


class SlackChannel:
    """An incoming web hook of Slack. All text is escaped and taken verbatim: no mention, no link
    can be made by what an alert says.
    """

    name = "slack"

    def __init__(self, url: str, poster: Poster) -> None:
        self._url, self._poster = url, poster

    def preview(self, notification: NotificationRecord) -> str:
        """Return the body."""
        return self._body(notification).decode()

    async def send(self, notification: NotificationRecord) -> None:
        """Post it."""
        headers = {IDEMPOTENCY: notification.id}
        await self._poster.post(self._url, self._body(notification), headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()

    def _body(self, notification: NotificationRecord) -> bytes:
        head, below = subject(notification), "\n".join(lines(notification))
        header = {"type": "plain_text", "text": escape_slack(head, SLACK_HEADER), "emoji": False}
        section = {"type": "mrkdwn", "text": escape_slack(below, SLACK_SECTION), "verbatim": True}
        identity = {"type": "plain_text", "text": f"Id: {notification.id}", "emoji": False}
        return encoder.encode(
            {
                "text": escape_slack(head, SLACK_TEXT),
                "blocks": [
                    {"type": "header", "text": header},
                    {"type": "section", "text": section},
                    {"type": "context", "elements": [identity]},
                ],
                "mrkdwn": False,
                "unfurl_links": False,
                "unfurl_media": False,
            }
        )


class WebhookChannel:
    """A web hook of one's own: the notification as JSON, with its idempotency key and signature.

    Args:
        secret: signs; None: nothing does.
        now: the wall clock in seconds, for the signature.
    """

    name = "webhook"

    def __init__(
        self,
        url: str,
        secret: str | None,
        deployment: str,
        poster: Poster,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._secret, self._poster, self._now = url, secret, poster, now
        self._deployment = deployment

    def preview(self, notification: NotificationRecord) -> str:
        """Return the body."""
        return self._body(notification).decode()

    async def send(self, notification: NotificationRecord) -> None:
        """Post it, signed anew for each attempt."""
        body = self._body(notification)
        headers = {IDEMPOTENCY: notification.id}
        if self._secret is not None:
            headers[HEADER] = sign(self._secret, int(self._now()), body)
        await self._poster.post(self._url, body, headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()

    def _body(self, notification: NotificationRecord) -> bytes:
        builtins = msgspec.to_builtins(notification)
        return encoder.encode({"deployment": self._deployment, **builtins})


class PagerDutyChannel:
    """Events API v2: `trigger` and `resolve` by a `dedup_key` for each alert."""

    name = "pagerduty"

    def __init__(self, url: str, routing_key: str, deployment: str, poster: Poster) -> None:
        self._url, self._routing_key, self._poster = url, routing_key, poster
        self._deployment = deployment

    def preview(self, notification: NotificationRecord) -> str:
        """Return the bodies, a line each."""
        return "\n".join(
            encoder.encode(body).decode() for _, body in self._bodies(notification, MASK)
        )

    async def send(self, notification: NotificationRecord) -> None:
        """Post an event for each key."""
        for identity, body in self._bodies(notification, self._routing_key):
            await self._poster.post(self._url, encoder.encode(body), {IDEMPOTENCY: identity})

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()

    def _bodies(
        self, notification: NotificationRecord, routing_key: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        over = notification.action == "resolve"
        for key, identity in _keys(notification):
            body: dict[str, Any] = {
                "routing_key": routing_key,
                "event_action": "resolve" if over else "trigger",
                "dedup_key": dedup_key(self._deployment, notification, key),
            }
            if not over:
                body["client"] = "Candlewick"
                body["payload"] = {
                    "summary": clip(subject(notification), PAGERDUTY_SUMMARY),
                    "source": clean(key),
                    "severity": _PAGERDUTY_SEVERITY[notification.severity],
                    "timestamp": iso_time(notification.time),
                    "group": self._deployment,
                    "class": notification.alert_type,
                    "custom_details": {"text": plain_text(notification)},
                }
            yield identity, body


class OpsgenieChannel:
    """Alert API: an alert is made by its `alias`, and closed by it."""

    name = "opsgenie"

    def __init__(self, url: str, api_key: str, deployment: str, poster: Poster) -> None:
        self._url, self._api_key, self._poster = url.rstrip("/"), api_key, poster
        self._deployment = deployment

    def preview(self, notification: NotificationRecord) -> str:
        """Return the requests' addresses and bodies, a line each."""
        return "\n".join(
            f"{url} {encoder.encode(body).decode()}"
            for _, url, body in self._requests(notification)
        )

    async def send(self, notification: NotificationRecord) -> None:
        """Post a request for each key."""
        for identity, url, body in self._requests(notification):
            headers = {IDEMPOTENCY: identity, "Authorization": f"GenieKey {self._api_key}"}
            await self._poster.post(url, encoder.encode(body), headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._poster.close()

    def _requests(
        self, notification: NotificationRecord
    ) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for key, identity in _keys(notification):
            alias = dedup_key(self._deployment, notification, key)
            text = plain_text(notification)
            if notification.action == "resolve":
                closing = f"{self._url}/{quote(alias, safe='')}/close?identifierType=alias"
                yield identity, closing, {"source": "candlewick", "note": text}
            else:
                body = {
                    "message": clip(subject(notification), OPSGENIE_MESSAGE),
                    "alias": alias,
                    "description": text,
                    "tags": [notification.severity, notification.alert_type],
                    "details": {"key": clean(key), "id": notification.id},
                    "entity": clean(key),
                    "source": "candlewick",
                    "priority": _OPSGENIE_PRIORITY[notification.severity],
                }
                yield identity, self._url, body


def _keys(notification: NotificationRecord) -> Iterator[tuple[str, str]]:
    """Yield each key, and an idempotency key for it."""
    single = len(notification.members) == 1
    for number, member in enumerate(notification.members):
        yield member.key, notification.id if single else f"{notification.id}-{number}"
