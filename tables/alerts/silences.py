"""Silences: what is not to be told until an event time. A partition holds so many at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tables.alerts.records import SilenceRecord
from tables.alerts.rules import matches


@dataclass(frozen=True, slots=True)
class Silence:
    """Patterns of type and key, and the event time in ns that it lasts until."""

    id: str
    alert_type: str
    key: str
    until: int
    by: str | None = None

    def covers(self, alert_type: str, key: str) -> bool:
        """Whether an alert is silenced."""
        return matches(self.alert_type, alert_type) and matches(self.key, key)

    def to_row(self) -> list[Any]:
        """Return its state as plain values."""
        return [self.alert_type, self.key, self.until, self.by]


class Silences:
    """The silences of a partition."""

    def __init__(self) -> None:
        self.by_id: dict[str, Silence] = {}

    def add(self, record: SilenceRecord) -> Silence:
        """Add a silence, or replace the one of this id."""
        silence = Silence(record.id, record.alert_type, record.key, record.until, record.by)
        self.by_id[silence.id] = silence
        return silence

    def until(self, alert_type: str, key: str, now: int) -> int:
        """Return when the last silence of an alert ends; 0 if there is none after `now`."""
        return max(
            (
                silence.until
                for silence in self.by_id.values()
                if silence.until > now and silence.covers(alert_type, key)
            ),
            default=0,
        )

    def expired(self, now: int) -> list[str]:
        """Return the ids of those that are over, sorted."""
        return sorted(each.id for each in self.by_id.values() if each.until <= now)
