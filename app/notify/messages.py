"""What people read: a subject and lines of plain text. What agents and users wrote is cleaned.

Control characters and those that turn the direction of writing come as spaces, so that nothing in
a text can end a header, forge a line or hide what is behind it.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

from tables.alerts.records import NotificationRecord

#: Keys of a grouped message that are listed.
LISTED = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORDS = {"fire": "", "escalate": ", more severe", "repeat": ", still", "resolve": ""}
_SLACK = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def clean(text: str) -> str:
    """Return a text on one line without characters that steer."""
    return "".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in text).strip()


def clip(text: str, limit: int) -> str:
    """Return at most so many characters of a text."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def iso_time(nanoseconds: int) -> str:
    """Return a time in ns as ISO 8601, UTC, to the millisecond."""
    time = _EPOCH + timedelta(microseconds=nanoseconds // 1_000)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def subject(notification: NotificationRecord) -> str:
    """Return the message in a line, 300 characters at most."""
    over = notification.action == "resolve"
    head = "RESOLVED" if over else notification.severity.upper() + _WORDS[notification.action]
    return clip(f"[{head}] {clean(notification.title)}", 300)


def lines(notification: NotificationRecord) -> list[str]:
    """Return what stands below the subject."""
    found = [clean(notification.text)] if notification.text.strip() else []
    found.append(f"Alert: {notification.alert_type}, {clean(notification.key)}")
    if notification.count:
        plural = "event" if notification.count == 1 else "events"
        span = iso_time(notification.first)
        if notification.last != notification.first:
            span += f" to {iso_time(notification.last)}"
        found.append(f"{notification.count:,} {plural}: {span}")
    if notification.value is not None:
        found.append(f"Worst value: {notification.value:g}")
    found += [f"{clean(name)}: {clean(text)}" for name, text in notification.details.items()]
    if len(notification.members) > 1:
        listed = [
            f"{clean(member.key)} ({member.severity}, {member.count:,})"
            for member in notification.members[:LISTED]
        ]
        rest = len(notification.members) - len(listed)
        found.append("Keys: " + ", ".join(listed) + (f" and {rest} more" if rest else ""))
    if notification.by:
        found.append(f"Acknowledged by {clean(notification.by)}")
    return found


def plain_text(notification: NotificationRecord) -> str:
    """Return the whole body as text, a few kilobytes at most."""
    return "\n".join([*lines(notification), f"Id: {notification.id}"])


def escape_slack(text: str, limit: int) -> str:
    """Escape what Slack reads as mark-up (&, <, >); the result has at most `limit` characters."""
    parts, length = [], 0
    for each in text:
        part = _SLACK.get(each, each)
        length += len(part)
        if length >= limit:
            parts.append("…")
            break
        parts.append(part)
    return "".join(parts)


def dedup_key(deployment: str, notification: NotificationRecord, key: str) -> str:
    """Return what an incident is known by elsewhere: the same from its first message to its end."""
    return f"{deployment}/{notification.alert_type}/{clean(key)}"
