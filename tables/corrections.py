"""What venues have cancelled and corrected: which trade is meant, and what it counts as since.

A correction needs the log before it (tables/recall.py reads it again), so a partition stops at it
with a `Question` and goes on with the `Answer`. What a correction made of a trade is remembered as
long as the trade can be corrected again (app/README.md, *Corrections*).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from app.contracts.wire import CorrectionRecord
from tables.configuration import BarsConfiguration
from tables.identifiers import MINUTE
from tables.partial import Partial
from tables.rows import encode_override, override_key


class Override(NamedTuple):
    """What a trade of event time `time` (ns) counts as; price and size are None if cancelled."""

    time: int
    price: float | None
    size: float | None

    @property
    def cancelled(self) -> bool:
        """Whether it does not count at all."""
        return self.price is None


@dataclass(frozen=True, slots=True)
class Question:
    """A correction that waits for the log before it.

    Attributes:
        offset: of the correction.
        record: it.
        earliest: event time in ns of the oldest trade that it may name.
    """

    offset: int
    record: CorrectionRecord
    earliest: int


@dataclass(frozen=True, slots=True)
class Correction:
    """What a correction comes to.

    Attributes:
        target: offset of the trade.
        override: what the trade counts as from now on.
        contents: by interval, the window's start (ns) and what its records add up to now; None
            where each is cancelled.
        former: by interval, the closed window as it would be without any correction; None where
            it was not closed.
    """

    target: int
    override: Override
    contents: tuple[tuple[int, Partial | None], ...]
    former: tuple[Partial | None, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the log says of the correction at `offset`; `reason` is why it is dead, if it is."""

    offset: int
    correction: Correction | None = None
    reason: str = ""


class Overrides:
    """The corrected trades of one partition, by symbol and offset."""

    def __init__(self) -> None:
        self._known: dict[str, dict[int, Override]] = {}
        self._changed: dict[tuple[str, int], Override | None] = {}

    def __len__(self) -> int:
        return sum(map(len, self._known.values()))

    def of(self, symbol: str) -> Mapping[int, Override]:
        """The symbol's corrected trades by offset."""
        return self._known.get(symbol, {})

    def set(self, symbol: str, offset: int, override: Override) -> None:
        """Remember what a trade counts as."""
        self._known.setdefault(symbol, {})[offset] = override
        self._changed[symbol, offset] = override

    def forget(self, earliest: int) -> None:
        """Release the trades of before `earliest` (ns) that share no window with a later one."""
        for symbol in list(self._known):
            known = self._known[symbol]
            for offset in [each for each, found in known.items() if found.time < earliest]:
                del known[offset]
                self._changed[symbol, offset] = None
            if not known:
                del self._known[symbol]

    def take_changes(self) -> list[tuple[bytes, bytes | None]]:
        """Rows to store and to delete since the last call."""
        changed, self._changed = self._changed, {}
        return [
            (
                override_key(symbol, offset),
                None if override is None else encode_override(*override),
            )
            for (symbol, offset), override in changed.items()
        ]

    def restore(self, symbol: str, offset: int, override: Override) -> None:
        """Take in a stored one."""
        self._known.setdefault(symbol, {})[offset] = override


def oldest_window(configuration: BarsConfiguration, watermark: int) -> int:
    """Event time (ns) before which no window holds a trade that may still be corrected."""
    return watermark - configuration.recall_horizon - max(configuration.intervals)


def oldest_record(configuration: BarsConfiguration, maximum: int) -> int:
    """Event time (ns) before which no id is remembered that an anchor's records may repeat.

    `maximum` is the anchor's: its watermark is the least that any record behind it is judged by.
    """
    horizon = configuration.correction_horizon + configuration.grace
    return maximum - configuration.grace - horizon - MINUTE
