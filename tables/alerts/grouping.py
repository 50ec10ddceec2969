"""Messages that wait for others of their type, so that a storm over many keys is one message.

What fires and what is over are two messages. A key is in at most one waiting message of its type;
before it gets into another one, both are sent, so that no key's messages change their order.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tables.alerts.contracts import MAX_TITLE
from tables.alerts.records import (
    RANK,
    MemberRecord,
    NotificationRecord,
    encoder,
    notification_decoder,
)

#: (alert type, whether it tells of what is over)
GroupName = tuple[str, bool]


class Grouper:
    """Drafts of one key each, by type, until their time has come.

    Args:
        wait: of the first draft of a group, in ns.
        size: keys of a group; a full one waits no longer.
    """

    def __init__(self, wait: int, size: int) -> None:
        self.wait, self.size = wait, size
        self.groups: dict[GroupName, tuple[int, list[NotificationRecord]]] = {}

    @property
    def next(self) -> int | None:
        """When the next group is due."""
        return min((due for due, _ in self.groups.values()), default=None)

    def holds(self, alert_type: str, key: str) -> bool:
        """Whether a message about a key waits."""
        return any(
            draft.key == key
            for over in (False, True)
            for draft in self.groups.get((alert_type, over), (0, []))[1]
        )

    def hold(self, draft: NotificationRecord, now: int) -> GroupName:
        """Put a draft into its group."""
        name = (draft.alert_type, draft.action == "resolve")
        self.groups.setdefault(name, (now + self.wait, []))[1].append(draft)
        return name

    def full(self, name: GroupName) -> bool:
        """Whether a group takes no more."""
        return len(self.groups[name][1]) >= self.size

    def due(self, now: int) -> list[GroupName]:
        """Return the groups whose time has come, in order."""
        return sorted(
            (name for name, (due, _) in self.groups.items() if due <= now),
            key=lambda name: (self.groups[name][0], *name),
        )

    def of_type(self, alert_type: str) -> list[GroupName]:
        """Return the waiting groups of a type, the oldest first."""
        names = [name for name in ((alert_type, False), (alert_type, True)) if name in self.groups]
        return sorted(names, key=lambda name: (self.groups[name][0], *name))

    def release(self, name: GroupName, now: int) -> NotificationRecord:
        """Return one draft for all of a group, which is over then."""
        _, drafts = self.groups.pop(name)
        return merged(drafts, now)

    def to_row(self, name: GroupName) -> list[Any]:
        """Return a group's state as plain values."""
        due, drafts = self.groups[name]
        return [due, [encoder.encode(draft).decode() for draft in drafts]]

    def restore(self, name: GroupName, row: list[Any]) -> None:
        """Take in a group's state."""
        due, drafts = row
        self.groups[name] = (due, [notification_decoder.decode(each) for each in drafts])


def merged(drafts: list[NotificationRecord], now: int) -> NotificationRecord:
    """Return one draft for several of a type; a single one stays as it is, but for its time."""
    if len(drafts) == 1:
        return msgspec.structs.replace(drafts[0], time=now)
    worst = max(drafts, key=_badness)
    actions = [draft.action for draft in drafts]
    title = f"{len(drafts)} keys: {worst.title}"
    members: list[MemberRecord] = sorted(
        (member for draft in drafts for member in draft.members), key=lambda member: member.key
    )
    return msgspec.structs.replace(
        worst,
        key="*",
        action="fire" if "fire" in actions else actions[0],
        title=title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1] + "…",
        count=sum(draft.count for draft in drafts),
        first=min(draft.first for draft in drafts),
        last=max(draft.last for draft in drafts),
        time=now,
        channels=tuple(sorted({name for draft in drafts for name in draft.channels})),
        members=tuple(members),
        by=None,
    )


def _badness(draft: NotificationRecord) -> tuple[int, float, int, str]:
    value = float("-inf") if draft.value is None else draft.value
    return (RANK[draft.severity], value, draft.last, draft.key)
