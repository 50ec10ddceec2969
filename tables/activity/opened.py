"""The bar that a symbol's next trades go into."""

from __future__ import annotations

from typing import Any

import msgspec

from tables.sums import to_double


class ActivityBarRecord(msgspec.Struct, gc=False):
    """A bar of activity as encoded; the field order is part of the bytes.

    (symbol, interval, number) names it: the number counts the symbol's bars of that type, from 0.
    `start` and `end` are the event times (ns) of its first and its last trade in log order, so
    `end` may lie before `start` where trades came in disorder. Else as a `BarRecord`: vwap is null
    where the volume is 0, `revision` is 0, a bar is never published before it is final.
    """

    symbol: str
    interval: str
    number: int
    start: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None
    trades: int
    revision: int = 0
    is_final: bool = True


class Opened:
    """The trades of an open bar, in log order; sums in grid units (tables/sums.py), times in ns."""

    __slots__ = ("close", "end", "high", "low", "notional", "open", "start", "trades", "volume")

    def __init__(
        self, trades: int, volume: int, notional: int, high: float, low: float,
        opening: float, closing: float, start: int, end: int,
    ) -> None:  # fmt: skip
        self.trades = trades
        self.volume = volume
        self.notional = notional
        self.high = high
        self.low = low
        self.open = opening
        self.close = closing
        self.start = start
        self.end = end

    def add(self, price: float, time: int, volume: int, notional: int) -> None:
        """Take the next trade."""
        self.trades += 1
        self.volume += volume
        self.notional += notional
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.end = time

    def extend(self, later: Opened) -> None:
        """Take the trades of `later`, which follow."""
        self.trades += later.trades
        self.volume += later.volume
        self.notional += later.notional
        self.high = max(self.high, later.high)
        self.low = min(self.low, later.low)
        self.close, self.end = later.close, later.end

    def record(self, symbol: str, interval: str, number: int) -> ActivityBarRecord:
        """The bar as published."""
        return ActivityBarRecord(
            symbol, interval, number, self.start, self.end,
            self.open, self.high, self.low, self.close, to_double(self.volume),
            self.notional / self.volume if self.volume else None, self.trades,
        )  # fmt: skip

    def to_row(self) -> list[Any]:
        """Plain values; sums as hexadecimal texts, since they need more than 64 bits."""
        return [
            self.trades, f"{self.volume:x}", f"{self.notional:x}", self.high, self.low,
            self.open, self.close, self.start, self.end,
        ]  # fmt: skip

    @classmethod
    def from_row(cls, row: list[Any]) -> Opened:
        """Build what `to_row` wrote."""
        trades, volume, notional, *rest = row
        return cls(trades, int(volume, 16), int(notional, 16), *rest)


def opened_by(price: float, time: int, volume: int, notional: int) -> Opened:
    """A bar with one trade."""
    return Opened(1, volume, notional, price, price, price, price, time, time)
