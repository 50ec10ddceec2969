"""What decides what is told, when and to whom. All of it changes results."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from app.contracts.records import MAX_TIME
from tables.alerts.contracts import Severity
from tables.alerts.records import RANK

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Route:
    """Alerts of these types, at least so severe, go to a channel; `*` stands for any text."""

    alert_type: str
    severity: Severity
    channel: str


@dataclass(frozen=True, slots=True)
class AlertRules:
    """The parameters of an `AlertBook`; times in ns of event time.

    Attributes:
        deployment: part of each idempotency key.
        routes: an alert goes to every channel that one of them names; without one it is counted
            and not told.
        cool_down: between two messages about the same (alert type, key), but for those that say
            it is more severe or over.
        quiet_time: without another event for so long, an alert counts as resolved; an event may
            name its own.
        group_wait: how long a message waits for others of its type; 0: each key has its own.
        max_group: keys of one message; then it waits no longer.
        max_keys: (alert type, key) pairs that a partition tracks. Events of further ones are not
            lost: they count for one alert of key `*` of their type.
        max_silences: of a partition; further ones are refused.
        clock_ahead: an event moves the clock this far ahead of its append time, at most.
        max_ahead: an event or clock record further ahead than this is refused.
    """

    deployment: str
    routes: tuple[Route, ...]
    cool_down: int = 5 * MINUTE
    quiet_time: int = 15 * MINUTE
    group_wait: int = 0
    max_group: int = 50
    max_keys: int = 10_000
    max_silences: int = 1_000
    clock_ahead: int = SECOND
    max_ahead: int = 10 * SECOND

    def __post_init__(self) -> None:
        smallest = {
            **dict.fromkeys(("cool_down", "group_wait", "clock_ahead", "max_ahead"), 0),
            **dict.fromkeys(("quiet_time", "max_group", "max_keys", "max_silences"), 1),
        }
        for name, bound in smallest.items():
            if not bound <= getattr(self, name) <= MAX_TIME:
                raise ValueError(f"{name} {getattr(self, name)}; expected at least {bound}")

    def channels(self, alert_type: str, severity: Severity) -> tuple[str, ...]:
        """Return the channels of an alert, sorted; none: it is not told."""
        return _channels(self.routes, alert_type, severity)


@lru_cache(maxsize=4096)
def _channels(routes: tuple[Route, ...], alert_type: str, severity: Severity) -> tuple[str, ...]:
    return tuple(
        sorted(
            {
                route.channel
                for route in routes
                if RANK[severity] >= RANK[route.severity] and matches(route.alert_type, alert_type)
            }
        )
    )


def matches(pattern: str, text: str) -> bool:
    """Whether a text is what a pattern says; `*` stands for any text, nothing else is special."""
    return ("*" in pattern and _glob(pattern, text)) or pattern == text


def _glob(pattern: str, text: str) -> bool:
    """Match part by part: takes the time of one pass, whatever the pattern (no back-tracking)."""
    first, *middle, last = pattern.split("*")
    end = len(text) - len(last)
    if not (text.startswith(first) and text.endswith(last) and len(first) <= end):
        return False
    position = len(first)
    for part in middle:
        position = text.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True
