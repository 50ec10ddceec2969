"""Quotes of a stretch of time: the spread, who waits on which side, and the middle's moves."""

from __future__ import annotations

import math
from typing import Any, Self

from models.features.aggregates import (
    FINE,
    Aggregate,
    Entry,
    Values,
    relative_change,
    squared_return,
)
from tables.quote_partial import mid_of
from tables.sums import GRID, to_double, to_units


class QuoteAggregate(Aggregate):
    """Quotes with two prices that are not crossed.

    An entry is (time, sequence, offset, symbol, append time, None, bid, ask, bid size, ask size).
    Sums are in grid units (tables/sums.py); those of relative spreads, imbalances and squared
    returns in units of 2^-80. A relative spread needs positive prices, an imbalance a size.

    `held` is the sum of spread x time until the next quote. A quote of before the stretch does not
    count: it might be hours old. So the time-weighted spread begins at the first quote.
    """

    __slots__ = (
        "first_mid", "held", "imbalance", "imbalance_last", "imbalances", "last_mid", "mid_sum",
        "relative", "relatives", "returns", "spread", "spread_last", "squares",
    )  # fmt: skip
    kind = "quotes"

    def __init__(self, time: int, latency: int, mid: float) -> None:
        super().__init__(time, latency)
        self.spread = self.spread_last = self.held = 0
        self.relative = self.relatives = 0
        self.imbalance = self.imbalances = 0
        self.imbalance_last: float | None = None
        self.mid_sum = 0
        self.first_mid = self.last_mid = mid
        self.returns = self.squares = 0

    @classmethod
    def of(cls, entry: Entry, memory: list[Any]) -> Self:
        """The aggregate of one quote."""
        bid, ask = entry[6], entry[7]
        mid = mid_of(bid, ask)
        made = cls(entry[0], entry[4] - entry[0], mid)
        made._add(bid, ask, entry[8], entry[9], mid)
        return made

    def add(self, entry: Entry, memory: list[Any]) -> None:
        """Take the next quote."""
        time, bid, ask = entry[0], entry[6], entry[7]
        mid = mid_of(bid, ask)
        self.held += self.spread_last * (time - self.last_time)
        self._add_time(time, entry[4] - time)
        if mid == self.last_mid:
            self.returns += mid > 0
        else:
            self._add_return(self.last_mid, mid)
        self._add(bid, ask, entry[8], entry[9], mid)

    def _add(self, bid: float, ask: float, bid_size: float, ask_size: float, mid: float) -> None:
        difference = ask - bid
        self.spread_last = to_units(difference)
        self.spread += self.spread_last
        self.mid_sum += to_units(mid)
        self.last_mid = mid
        if bid > 0:
            self.relatives += 1
            self.relative += int(difference / mid * FINE)
        waiting = bid_size + ask_size
        if waiting > 0:
            self.imbalances += 1
            self.imbalance_last = (bid_size - ask_size) / waiting
            self.imbalance += int(self.imbalance_last * FINE)

    def _add_return(self, before: float, after: float) -> None:
        square = squared_return(before, after)
        if square is not None:
            self.returns += 1
            self.squares += square

    def merge(self, later: Self) -> None:
        """Take the quotes of `later`, which follow."""
        self.held += self.spread_last * (later.first_time - self.last_time) + later.held
        super().merge(later)
        self._add_return(self.last_mid, later.first_mid)
        for name in ("spread", "relative", "relatives", "imbalance", "imbalances", "mid_sum",
                     "returns", "squares"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(later, name))
        self.spread_last, self.last_mid = later.spread_last, later.last_mid
        if later.imbalance_last is not None:
            self.imbalance_last = later.imbalance_last

    def values(self, until: int) -> Values:
        """The features of quotes; None where there is nothing to say."""
        held = self.held + self.spread_last * (until - self.last_time)
        lasted = until - self.first_time
        return {
            "quotes": self.count,
            "spread_mean": self.spread / (self.count * GRID),
            "spread_last": to_double(self.spread_last),
            "spread_time_weighted": (
                held / (lasted * GRID) if lasted else to_double(self.spread_last)
            ),
            "spread_relative": (self.relative / self.relatives / FINE if self.relatives else None),
            "imbalance": self.imbalance / self.imbalances / FINE if self.imbalances else None,
            "imbalance_last": self.imbalance_last,
            "mid_mean": self.mid_sum / (self.count * GRID),
            "mid_last": self.last_mid,
            "momentum": relative_change(self.first_mid, self.last_mid),
            "realised_volatility": math.sqrt(self.squares / FINE) if self.returns else None,
            **self._time_values(),
        }

    def _own_row(self) -> list[Any]:
        sums = (self.spread, self.spread_last, self.held, self.relative, self.imbalance,
                self.mid_sum, self.squares)  # fmt: skip
        return [
            self.relatives, self.imbalances, self.imbalance_last, self.first_mid, self.last_mid,
            self.returns, *(f"{each:x}" for each in sums),
        ]  # fmt: skip

    def _restore(self, row: list[Any]) -> None:
        (self.relatives, self.imbalances, self.imbalance_last, self.first_mid, self.last_mid,
         self.returns) = row[:6]  # fmt: skip
        (self.spread, self.spread_last, self.held, self.relative, self.imbalance, self.mid_sum,
         self.squares) = (int(each, 16) for each in row[6:])  # fmt: skip
