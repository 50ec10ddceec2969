"""The aggregate of one (symbol, window): a commutative monoid with exact sums.

Open and close go by (event time, sequence, offset), so merging is independent of arrival.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tables._partials import Accumulator

logger = logging.getLogger(__name__)

INFINITY = float("inf")
#: `Partial.revision` of a window of which nothing was published.
UNPUBLISHED = -1
#: Offset of the open and close of a window without a price that may set them.
ABSENT = -1
_SUM_BYTES = 16


class PurePartial:
    """The fields and the arithmetic of a `Partial`: the twin of `_partials.CompiledPartial`."""

    __slots__ = (
        "amendment",
        "close",
        "close_key",
        "filled",
        "high",
        "low",
        "notional",
        "open",
        "open_key",
        "priced",
        "revision",
        "sources",
        "trades",
        "volume",
    )

    def __init__(
        self,
        trades: int,
        volume: int,
        priced: int,
        notional: int,
        high: float,
        low: float,
        open_key: tuple[int, int, int],
        open_price: float,
        close_key: tuple[int, int, int],
        close_price: float,
        sources: int,
    ) -> None:
        self.trades = trades
        self.volume = volume
        self.priced = priced
        self.notional = notional
        self.high = high
        self.low = low
        self.open_key = open_key
        self.open = open_price
        self.close_key = close_key
        self.close = close_price
        self.sources = sources
        self.revision = UNPUBLISHED
        self.filled = False
        self.amendment: Any = None

    @property
    def has_bar(self) -> bool:
        """Whether a record set open and close."""
        return self.close_key[2] != ABSENT

    def merge(self, other: PurePartial) -> None:
        """Add the records of `other`; neither its revision nor its amendment."""
        self.trades += other.trades
        self.volume += other.volume
        self.priced += other.priced
        self.notional += other.notional
        self.sources |= other.sources
        if other.high > self.high:
            self.high = other.high
        if other.low < self.low:
            self.low = other.low
        if other.has_bar:
            if not self.has_bar or other.open_key < self.open_key:
                self.open_key = other.open_key
                self.open = other.open
            if not self.has_bar or other.close_key > self.close_key:
                self.close_key = other.close_key
                self.close = other.close


if TYPE_CHECKING:
    Base = PurePartial
else:
    try:
        from tables._partials import CompiledPartial as Base
    except ImportError as error:
        logger.warning(
            "the compiled windows are missing (%s): bars are made at half of the speed; install a "
            "C compiler and run `make setup` again",
            error,
        )
        Base = PurePartial

#: Whether aggregates are those of the compiled module.
COMPILED = Base is not PurePartial


class Partial(Base):
    """All that a bar needs from the records of its window.

    Sums are in grid units (tables/sums.py), times in ns. `sources` is a bit mask over the
    partition's source names. `amendment` holds records that belong to an earlier window and are
    handed over when this one closes (tables/publishing.py).
    """

    __slots__ = ()

    @classmethod
    def empty(cls) -> Partial:
        """The neutral element."""
        absent = (0, 0, ABSENT)
        return cls(0, 0, 0, 0, -INFINITY, INFINITY, absent, 0.0, absent, 0.0, 0)

    def amend(self, other: Partial) -> None:
        """Keep records that belong to an earlier window until this one closes."""
        if self.amendment is None:
            self.amendment = other
        else:
            self.amendment.merge(other)

    def to_row(self) -> list[Any]:
        """The aggregate as a list of plain values, for a state row."""
        return [
            self.trades,
            self.volume.to_bytes(_SUM_BYTES, "big", signed=True),
            self.priced.to_bytes(_SUM_BYTES, "big", signed=True),
            self.notional.to_bytes(_SUM_BYTES, "big", signed=True),
            self.high,
            self.low,
            self.open_key,
            self.open,
            self.close_key,
            self.close,
            self.sources,
            self.revision,
            self.filled,
            None if self.amendment is None else self.amendment.to_row(),
        ]

    @classmethod
    def from_row(cls, row: list[Any]) -> Partial:
        """Build the aggregate that `to_row` wrote."""
        partial = cls(
            row[0],
            int.from_bytes(row[1], "big", signed=True),
            int.from_bytes(row[2], "big", signed=True),
            int.from_bytes(row[3], "big", signed=True),
            row[4],
            row[5],
            tuple(row[6]),
            row[7],
            tuple(row[8]),
            row[9],
            row[10],
        )
        partial.revision = row[11]
        partial.filled = row[12]
        partial.amendment = None if row[13] is None else cls.from_row(row[13])
        return partial


def make_accumulator(lengths: Sequence[int]) -> Accumulator | None:
    """Return what adds trades to open windows of these lengths (ns); None where it is missing."""
    if not COMPILED:
        return None
    from tables._partials import Accumulator

    return Accumulator(lengths, Partial)
