"""Which bucket a point goes to: by its topic, and by its age.

A bucket refuses what is older than its retention (422, after it has written the rest). So what is
that old already, or will be in a moment, goes to a bucket without retention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from app.durations import NANOSECONDS, format_duration
from app.setting_types import Group
from app.settings import PREFIX, SettingsError
from app.sinks.line_batches import LineBatch
from app.sinks.settings import InfluxSettings

#: Input topics, whose points have a bucket of their own.
TICKS: Final = frozenset({"ticks", "quotes"})
#: The shortest retention that InfluxDB has.
SHORTEST: Final = NANOSECONDS["h"]
#: A point that has less than this left, or a tenth of its bucket's retention, is old already.
MARGIN: Final = NANOSECONDS["h"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, and the ns that it keeps a point; 0: for ever."""

    name: str
    retention: int

    def oldest(self, now: int) -> int | None:
        """Return the time before which points are too old for it; None: none is."""
        if not self.retention:
            return None
        return now - self.retention + min(MARGIN, self.retention // 10)


@dataclass(frozen=True, slots=True)
class Buckets:
    """The three buckets of a deployment."""

    outputs: Bucket
    ticks: Bucket
    history: Bucket

    @classmethod
    def of(cls, settings: InfluxSettings) -> Buckets:
        """Return those that the settings name.

        Raises:
            SettingsError: a retention that InfluxDB does not have.
        """
        name = settings.bucket
        return cls(
            Bucket(name, _retention(settings, "bar_retention")),
            Bucket(f"{name}_ticks", _retention(settings, "tick_retention")),
            Bucket(f"{name}_history", 0),
        )

    def of_topic(self, topic: str) -> Bucket:
        """Return the bucket of a topic's points, as long as they are not old."""
        return self.ticks if topic in TICKS else self.outputs


def _retention(settings: Group, name: str) -> int:
    retention: int = getattr(settings, name)
    if 0 < retention < SHORTEST:
        raise SettingsError(
            f"{PREFIX}INFLUX__{name.upper()}={format_duration(retention)}: expected at least 1h, "
            "or 0s for ever"
        )
    return retention


def divide(batch: LineBatch, before: int | None) -> tuple[LineBatch, LineBatch]:
    """Return the lines from a time on, and the older ones; both in log order, same `next`."""
    old = [] if before is None else np.flatnonzero(batch.times < before).tolist()
    return _without(batch, old)


def oldest(batch: LineBatch, count: int) -> tuple[LineBatch, LineBatch]:
    """Return all lines but the `count` oldest ones, and those; both in log order."""
    return _without(batch, np.sort(np.argsort(batch.times, kind="stable")[:count]).tolist())


def _without(batch: LineBatch, rows: list[int]) -> tuple[LineBatch, LineBatch]:
    if not rows:
        return batch, LineBatch([], [], batch.next)
    rest = np.delete(np.arange(len(batch.offsets)), rows).tolist()
    return batch.chosen(rest), batch.chosen(rows)
