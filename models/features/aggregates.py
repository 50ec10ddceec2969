"""What trades and quotes have in common: exact sums of a stretch of time, merged in time order.

A pane, a session and a day are such aggregates. `merge` adds what lies between the two, too: the
return and the interval from the last record of one to the first of the other. All sums are
integers, so it does not matter where a stretch is cut.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

SECOND = 1e9
#: Grid of what is small: squared returns, relative spreads. Rounded towards zero.
FINE = 2.0**80

#: Time, sequence, offset, symbol, append time, identity or None, then what the kind has.
Entry = tuple[Any, ...]
Values = dict[str, float | int | None]


def squared_return(before: float, after: float) -> int | None:
    """The squared log return in units of 2^-80; None where a price is not positive."""
    if before <= 0 or after <= 0:
        return None
    ratio = after / before
    # Prices of 1e-300 are none, but may come.
    change = math.log(ratio) if 0 < ratio < math.inf else math.log(after) - math.log(before)
    return int(change * change * FINE)


def relative_change(before: float | None, after: float | None) -> float | None:
    """after / before - 1; None where that is none, or no number."""
    if before is None or after is None or before <= 0:
        return None
    change = after / before - 1
    return change if math.isfinite(change) else None


class Aggregate(ABC):
    """Records of a stretch of time, in order of (event time, sequence, offset).

    Here: how many, when the first and the last came, how far apart the last two were, and how old
    they were when the broker had them. All in ns.
    """

    __slots__ = ("count", "first_time", "last_interval", "last_time", "latency", "worst_latency")

    #: Of the records: `trades` or `quotes`.
    kind: ClassVar[str]

    def __init__(self, time: int, latency: int) -> None:
        self.count = 1
        self.first_time = self.last_time = time
        self.last_interval: int | None = None
        self.latency = self.worst_latency = latency

    @classmethod
    @abstractmethod
    def of(cls, entry: Entry, memory: list[Any]) -> Self:
        """The aggregate of one record. `memory` is of the symbol, and lives on."""

    @classmethod
    def new_memory(cls) -> list[Any]:
        """What is remembered of a symbol before its first record, as plain values."""
        return []

    @abstractmethod
    def add(self, entry: Entry, memory: list[Any]) -> None:
        """Take the next record."""

    def _add_time(self, time: int, latency: int) -> None:
        self.count += 1
        self.last_interval = time - self.last_time
        self.last_time = time
        self.latency += latency
        if latency > self.worst_latency:
            self.worst_latency = latency

    def merge(self, later: Self) -> None:
        """Take the records of `later`, which follow; it stays as it is."""
        self.count += later.count
        self.last_interval = (
            later.first_time - self.last_time
            if later.last_interval is None
            else later.last_interval
        )
        self.last_time = later.last_time
        self.latency += later.latency
        self.worst_latency = max(self.worst_latency, later.worst_latency)

    def copy(self) -> Self:
        """The same by itself."""
        return type(self).from_row(self.to_row())

    @abstractmethod
    def values(self, until: int) -> Values:
        """The features; `until` (ns) is how long the last record holds."""

    @classmethod
    def trend(cls, panes: Sequence[Self | None], recent: int) -> Values:
        """Features over the panes of a sliding window, oldest first, of which `recent` are new."""
        return {}

    def _time_values(self) -> Values:
        between = self.count - 1
        return {
            "interval_mean": (
                (self.last_time - self.first_time) / (between * SECOND) if between else None
            ),
            "interval_last": None if self.last_interval is None else self.last_interval / SECOND,
            "latency_mean": self.latency / (self.count * SECOND),
            "latency_max": self.worst_latency / SECOND,
        }

    def to_row(self) -> list[Any]:
        """Plain values; sums as hexadecimal texts, since they need more than 64 bits."""
        return [
            self.count, self.first_time, self.last_time, self.last_interval,
            f"{self.latency:x}", self.worst_latency, *self._own_row(),
        ]  # fmt: skip

    @classmethod
    def from_row(cls, row: list[Any]) -> Self:
        """Build what `to_row` wrote."""
        made = cls.__new__(cls)
        made.count, made.first_time, made.last_time, made.last_interval = row[:4]
        made.latency, made.worst_latency = int(row[4], 16), row[5]
        made._restore(row[6:])
        return made

    @abstractmethod
    def _own_row(self) -> list[Any]: ...

    @abstractmethod
    def _restore(self, row: list[Any]) -> None: ...
