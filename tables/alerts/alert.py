"""One alert, that is one (alert type, key): what is known of it, and when it is to be told.

```
event    f  f f         f     r                     f = firing, r = resolved
clock  --|--|-|----|----|-----|------------->       cool-down [    ]
told     F[        ]R   F[    .    ]                F = fire, R = repeat of two, X = resolve
                              X
```

An alert is told at once if no message about it was sent in the cool-down before; what comes within
it is counted, and told when it is over. More severe than what was told, and over after it was
told, are said at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tables.alerts.contracts import Action, Severity
from tables.alerts.records import RANK, SEVERITIES, AlertEventRecord

#: Rank of what was never told: any severity is above.
UNTOLD = -1


@dataclass(slots=True)
class Content:
    """What a message says: of the worst event, the last of equally bad ones."""

    title: str = ""
    text: str = ""
    details: dict[str, str] = field(default_factory=dict)
    source: str = ""


@dataclass(slots=True)
class Pending:
    """Firing events that no message has told of. Times of events in ns; `rank` of the worst."""

    count: int = 0
    first: int = 0
    last: int = 0
    rank: int = UNTOLD
    value: float | None = None
    channels: tuple[str, ...] = ()

    def add(self, event: AlertEventRecord, channels: tuple[str, ...]) -> bool:
        """Count an event; whether none was worse."""
        rank = RANK[event.severity]
        worst = (rank, _or_least(event.value)) >= (self.rank, _or_least(self.value))
        time = event.event_time
        self.first = min(self.first, time) if self.count else time
        self.last = max(self.last, time) if self.count else time
        self.count += 1
        self.rank = max(self.rank, rank)
        if self.value is None or (event.value is not None and event.value > self.value):
            self.value = event.value
        self.channels = tuple(sorted({*self.channels, *channels}))
        return worst


def _or_least(value: float | None) -> float:
    return float("-inf") if value is None else value


@dataclass(slots=True)
class Alert:
    """The state of one alert; `*_at` are of the partition's clock, in ns.

    Attributes:
        told: whether the last message said that it fires.
        told_rank: severity of the last message that said so, in the cool-down.
        told_channels: who was told since it began to fire.
        cools_until: end of the cool-down; 0: none was sent yet.
        acknowledged: None, or by whom (perhaps an empty text).
        heard_at: when the last firing event came.
    """

    alert_type: str
    key: str
    firing: bool = False
    told: bool = False
    told_rank: int = UNTOLD
    told_channels: tuple[str, ...] = ()
    cools_until: int = 0
    acknowledged: str | None = None
    heard_at: int = 0
    quiet_time: int = 0
    content: Content = field(default_factory=Content)
    pending: Pending = field(default_factory=Pending)

    def fire(
        self, event: AlertEventRecord, channels: tuple[str, ...], now: int, quiet_time: int
    ) -> None:
        """Take a firing event."""
        self.firing = True
        self.heard_at = now
        self.quiet_time = event.quiet_time or quiet_time
        if self.pending.add(event, channels):
            self.content = Content(event.title, event.text, event.details, event.source)

    def end(self, content: Content | None = None) -> None:
        """It is over."""
        self.firing = False
        if content is not None:
            self.content = content

    @property
    def idle(self) -> bool:
        """Whether there is nothing to tell, now or when it ends."""
        return not (self.firing or self.told or self.pending.count)

    @property
    def unheard(self) -> bool:
        """Whether it has fired and ended without anybody being told."""
        return not (self.firing or self.told) and self.pending.count > 0

    @property
    def ends_at(self) -> int | None:
        """When it counts as resolved if nothing more is heard."""
        return self.heard_at + self.quiet_time if self.firing else None

    @property
    def speaks_at(self) -> int | None:
        """When there is something to tell; 0: at once; None: nothing, as things are."""
        if not self.firing:
            if self.told:
                return 0
            return self.cools_until if self.pending.count else None
        if not self.pending.count:
            return None
        if self.pending.rank > self.told_rank:
            return 0
        if self.told and self.acknowledged is not None:
            return None
        return self.cools_until

    def action(self, now: int) -> Action:
        """Return what a message at this moment says."""
        if not self.firing:
            return "resolve"
        if self.pending.rank > self.told_rank > UNTOLD and (self.told or now < self.cools_until):
            return "escalate"
        return "repeat" if self.told else "fire"

    def tell(self, cools_until: int) -> None:
        """Note that a message was made of all that is pending."""
        if self.firing:
            if self.pending.rank > self.told_rank > UNTOLD:
                self.acknowledged = None
            self.told, self.told_rank = True, self.pending.rank
            self.told_channels = tuple(sorted({*self.told_channels, *self.pending.channels}))
            self.cools_until = cools_until
        else:
            self.told, self.told_channels, self.acknowledged = False, (), None
        self.pending = Pending()

    def to_row(self) -> list[Any]:
        """Return its state as plain values."""
        content, pending = self.content, self.pending
        return [
            [self.firing, self.told, self.told_rank, list(self.told_channels)],
            [self.cools_until, self.acknowledged, self.heard_at, self.quiet_time],
            [content.title, content.text, sorted(map(list, content.details.items()))],
            content.source,
            [pending.count, pending.first, pending.last, pending.rank, pending.value],
            list(pending.channels),
        ]

    @classmethod
    def from_row(cls, alert_type: str, key: str, row: list[Any]) -> Alert:
        """Build an alert from its state."""
        (firing, told, told_rank, told_channels), times, content, source, pending, channels = row
        alert = cls(alert_type, key, firing, told, told_rank, tuple(told_channels), *times)
        title, text, details = content
        alert.content = Content(title, text, dict(details), source)
        count, first, last, rank, value = pending
        alert.pending = Pending(count, first, last, rank, value, tuple(channels))
        return alert


def severity_of(rank: int) -> Severity:
    """Return the severity of a rank."""
    return SEVERITIES[max(rank, 0)]
