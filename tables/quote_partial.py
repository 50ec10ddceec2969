"""The aggregate of the quotes of one (symbol, window): a commutative monoid with exact sums.

Open and close go by (event time, sequence, offset), so merging is independent of arrival. The mid
has a high and a low of its own; its open and close follow from those of bid and ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tables.partial import ABSENT, COMPILED, INFINITY, UNPUBLISHED

if TYPE_CHECKING:
    from tables._partials import QuoteAccumulator

Key = tuple[int, int, int]
_SUM_BYTES = 16


def mid_of(bid: float, ask: float) -> float:
    """The middle of a quote, rounded once."""
    return (bid + ask) * 0.5


class PureQuotePartial:
    """The fields and the arithmetic of a `QuotePartial`: the twin of the compiled class."""

    __slots__ = (
        "ask_high",
        "ask_low",
        "bid_high",
        "bid_low",
        "close_key",
        "closing",
        "mid_high",
        "mid_low",
        "open_key",
        "opening",
        "quotes",
        "revision",
        "sources",
        "spread",
    )

    def __init__(
        self,
        quotes: int,
        spread: int,
        bid_high: float,
        bid_low: float,
        ask_high: float,
        ask_low: float,
        mid_high: float,
        mid_low: float,
        open_key: Key,
        opening: tuple[float, float],
        close_key: Key,
        closing: tuple[float, float, float, float],
        sources: int,
    ) -> None:
        self.quotes = quotes
        self.spread = spread
        self.bid_high = bid_high
        self.bid_low = bid_low
        self.ask_high = ask_high
        self.ask_low = ask_low
        self.mid_high = mid_high
        self.mid_low = mid_low
        self.open_key = open_key
        self.opening = opening
        self.close_key = close_key
        self.closing = closing
        self.sources = sources
        self.revision = UNPUBLISHED

    @property
    def has_bar(self) -> bool:
        """Whether it holds a quote."""
        return self.quotes > 0

    def merge(self, other: PureQuotePartial) -> None:
        """Add the quotes of `other`, not its revision."""
        if not other.quotes:
            return
        if not self.quotes or other.open_key < self.open_key:
            self.open_key, self.opening = other.open_key, other.opening
        if not self.quotes or other.close_key > self.close_key:
            self.close_key, self.closing = other.close_key, other.closing
        self.quotes += other.quotes
        self.spread += other.spread
        self.sources |= other.sources
        self.bid_high = max(self.bid_high, other.bid_high)
        self.bid_low = min(self.bid_low, other.bid_low)
        self.ask_high = max(self.ask_high, other.ask_high)
        self.ask_low = min(self.ask_low, other.ask_low)
        self.mid_high = max(self.mid_high, other.mid_high)
        self.mid_low = min(self.mid_low, other.mid_low)


if TYPE_CHECKING or not COMPILED:
    Base = PureQuotePartial
else:
    from tables._partials import CompiledQuotePartial as Base


class QuotePartial(Base):
    """All that a quote bar needs from the quotes of its window.

    `spread` is the sum of ask - bid in grid units (tables/sums.py), times in ns. `opening` is
    (bid, ask), `closing` is (bid, ask, bid size, ask size). `sources` is a bit mask over the
    partition's source names.
    """

    __slots__ = ()

    @classmethod
    def empty(cls) -> QuotePartial:
        """The neutral element."""
        absent = (0, 0, ABSENT)
        down, up = -INFINITY, INFINITY
        return cls(
            0, 0, down, up, down, up, down, up, absent, (0.0, 0.0), absent, (0.0, 0.0, 0.0, 0.0), 0
        )

    def to_row(self) -> list[Any]:
        """The aggregate as a list of plain values, for a state row."""
        return [
            self.quotes,
            self.spread.to_bytes(_SUM_BYTES, "big", signed=True),
            self.bid_high,
            self.bid_low,
            self.ask_high,
            self.ask_low,
            self.mid_high,
            self.mid_low,
            self.open_key,
            self.opening,
            self.close_key,
            self.closing,
            self.sources,
            self.revision,
        ]

    @classmethod
    def from_row(cls, row: list[Any]) -> QuotePartial:
        """Build the aggregate that `to_row` wrote."""
        partial = cls(
            row[0],
            int.from_bytes(row[1], "big", signed=True),
            row[2],
            row[3],
            row[4],
            row[5],
            row[6],
            row[7],
            tuple(row[8]),
            tuple(row[9]),
            tuple(row[10]),
            tuple(row[11]),
            row[12],
        )
        partial.revision = row[13]
        return partial


def make_quote_accumulator(lengths: Sequence[int]) -> QuoteAccumulator | None:
    """Return what adds quotes to open windows of these lengths (ns); None where it is missing."""
    if not COMPILED:
        return None
    from tables._partials import QuoteAccumulator

    return QuoteAccumulator(lengths, QuotePartial)
