"""Notifications and settings for the tests of delivery."""

from __future__ import annotations

import random
from typing import Any

from app.notify.settings import NotifySettings
from tables.alerts.records import MemberRecord, NotificationRecord

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND
CHANNELS = ("email", "log", "opsgenie", "pagerduty", "slack", "webhook")


def note(**more: Any) -> NotificationRecord:
    """Return a notification about SPY, to all channels."""
    chosen: dict[str, Any] = {
        "id": "0123456789abcdef0123456789abcdef",
        "sequence": 7,
        "alert_type": "anomaly.price",
        "key": "SPY",
        "severity": "critical",
        "action": "fire",
        "title": "SPY moves",
        "text": "It moves a lot.",
        "details": {"price": "512.3"},
        "value": 9.5,
        "count": 12,
        "first": NOW,
        "last": NOW + 60 * SECOND,
        "time": NOW + 60 * SECOND,
        "source": "bars 1m",
        "channels": CHANNELS,
    } | more
    member = MemberRecord(chosen["key"], chosen["severity"], chosen["count"], chosen["value"])
    return NotificationRecord(**{"members": (member,), **chosen})


def several(keys: int, **more: Any) -> NotificationRecord:
    """Return a notification about several keys."""
    members = tuple(MemberRecord(f"K{number}", "warning", 1, None) for number in range(keys))
    return note(key="*", members=members, count=keys, **more)


def patience(**more: Any) -> NotifySettings:
    """Return settings whose waits a test does not have to sit through."""
    chosen: dict[str, Any] = {"first_backoff": "1ms", "max_backoff": "2s", "timeout": "5s"}
    return NotifySettings(**{**chosen, **more})


class Time:
    """A clock that sleeping advances, and that remembers for how long."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Greatest(random.Random):
    """Chance that always gives the upper bound."""

    def uniform(self, a: float, b: float) -> float:
        return b
