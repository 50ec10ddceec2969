"""The notification that `candlewick alerts test` sends."""

from __future__ import annotations

import hashlib

from tables.alerts.records import MemberRecord, NotificationRecord


def trial_notification(deployment: str, channel: str, now: int) -> NotificationRecord:
    """Return a notification that says that it is a test; `now` in ns."""
    identity = hashlib.sha256(f"test\x00{deployment}\x00{channel}\x00{now}".encode()).hexdigest()
    return NotificationRecord(
        id=identity[:32],
        sequence=0,
        alert_type="test",
        key=deployment,
        severity="info",
        action="fire",
        title=f"Test of {channel} from Candlewick",
        text="This is a test: nothing is wrong, and nothing is to be done.",
        details={},
        value=None,
        count=1,
        first=now,
        last=now,
        time=now,
        source="candlewick alerts test",
        channels=(channel,),
        members=(MemberRecord(deployment, "info", 1, None),),
    )
