"""Trades of a stretch of time: price, volume, volatility, and who was in a hurry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

from models.features.aggregates import (
    FINE,
    Aggregate,
    Entry,
    Values,
    relative_change,
    squared_return,
)
from tables.policies import EXTREMES, VOLUME
from tables.sums import GRID, to_double, to_units


class TradeAggregate(Aggregate):
    """A trade with flag `extremes` counts for prices, one with flag `volume` for volume.

    An entry is (time, sequence, offset, symbol, append time, identity, price, size, flags).
    Sums are in grid units (tables/sums.py), squared returns in units of 2^-80.

    `bought` and `sold` are by the tick rule alone: a trade above the price before it was bought,
    one below it sold, one at it is what that one was; before any change of price it is neither.
    The rule of Lee and Ready (1991) needs the quotes, which are in another log.
    """

    __slots__ = (
        "bought", "first_price", "last_price", "notional", "price_sum", "priced", "prices",
        "returns", "sold", "squares", "trades", "volume",
    )  # fmt: skip
    kind = "trades"

    def __init__(self, time: int, latency: int) -> None:
        super().__init__(time, latency)
        self.trades = self.volume = self.priced = self.notional = 0
        self.bought = self.sold = 0
        self.prices = self.price_sum = 0
        self.first_price: float | None = None
        self.last_price: float | None = None
        self.returns = self.squares = 0

    @classmethod
    def new_memory(cls) -> list[Any]:
        """The last price, and what the tick rule made of it: 1 bought, -1 sold, 0 unknown."""
        return [None, 0]

    @classmethod
    def of(cls, entry: Entry, memory: list[Any]) -> Self:
        """The aggregate of one trade."""
        made = cls(entry[0], entry[4] - entry[0])
        made._add(entry, memory)
        return made

    def add(self, entry: Entry, memory: list[Any]) -> None:
        """Take the next trade."""
        self._add_time(entry[0], entry[4] - entry[0])
        self._add(entry, memory)

    def _add(self, entry: Entry, memory: list[Any]) -> None:
        price, size, flags = entry[6], entry[7], entry[8]
        units = to_units(size)
        if flags & EXTREMES:
            before = memory[0]
            if before is not None and price != before:
                memory[1] = 1 if price > before else -1
            memory[0] = price
            last = self.last_price
            if last is None:
                self.first_price = price
            elif price == last:
                # The return is 0, where there is one.
                self.returns += price > 0
            else:
                self._add_return(last, price)
            self.last_price = price
            self.prices += 1
            self.price_sum += to_units(price)
            self.priced += units
            self.notional += to_units(price * size)
        if flags & VOLUME:
            self.trades += 1
            self.volume += units
            if memory[1] > 0:
                self.bought += units
            elif memory[1] < 0:
                self.sold += units

    def _add_return(self, before: float, after: float) -> None:
        square = squared_return(before, after)
        if square is not None:
            self.returns += 1
            self.squares += square

    def merge(self, later: Self) -> None:
        """Take the trades of `later`, which follow."""
        super().merge(later)
        for name in ("trades", "volume", "priced", "notional", "bought", "sold", "prices",
                     "price_sum", "returns", "squares"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(later, name))
        if later.first_price is not None:
            if self.last_price is None:
                self.first_price = later.first_price
            else:
                self._add_return(self.last_price, later.first_price)
            self.last_price = later.last_price

    def values(self, until: int) -> Values:
        """The features of trades; None where there is nothing to say."""
        signed = self.bought + self.sold
        return {
            "trades": self.trades,
            "volume": to_double(self.volume),
            "price_mean": self.price_sum / (self.prices * GRID) if self.prices else None,
            "price_last": self.last_price,
            "vwap": self.notional / self.priced if self.priced else None,
            "momentum": relative_change(self.first_price, self.last_price),
            "realised_volatility": math.sqrt(self.squares / FINE) if self.returns else None,
            "imbalance": (self.bought - self.sold) / signed if signed else None,
            **self._time_values(),
        }

    @classmethod
    def trend(cls, panes: Sequence[Self | None], recent: int) -> Values:
        """Volume of a pane: its mean, recent mean / mean, and least-squares slope per pane."""
        volumes = [0 if pane is None else pane.volume for pane in panes]
        count, total = len(volumes), sum(volumes)
        # Sum of (x - mean x)(y - mean y) over sum of (x - mean x)^2, times 2 for whole numbers.
        weighted = sum((2 * place - count + 1) * each for place, each in enumerate(volumes))
        spread = count * (count * count - 1) // 6
        return {
            "volume_mean": total / (count * GRID),
            "volume_trend": sum(volumes[-recent:]) * count / (recent * total) if total else None,
            "volume_slope": weighted / (spread * GRID) if spread else None,
        }

    def _own_row(self) -> list[Any]:
        sums = (self.volume, self.priced, self.notional, self.bought, self.sold, self.price_sum,
                self.squares)  # fmt: skip
        return [
            self.trades, self.prices, self.returns, self.first_price, self.last_price,
            *(f"{each:x}" for each in sums),
        ]  # fmt: skip

    def _restore(self, row: list[Any]) -> None:
        self.trades, self.prices, self.returns, self.first_price, self.last_price = row[:5]
        (self.volume, self.priced, self.notional, self.bought, self.sold, self.price_sum,
         self.squares) = (int(each, 16) for each in row[5:])  # fmt: skip
