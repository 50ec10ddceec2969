"""An account priced at a point of event time: its positions' values and their totals, in money.

A position without a price counts at its cost in the totals (so equity never jumps by the whole
position) and is counted as unpriced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tables.portfolio.position import Position
from tables.portfolio.prices import PriceBook


class Valued(NamedTuple):
    """One position and its price in grid units, adjusted for splits; both None without one."""

    symbol: str
    position: Position
    price: int | None
    price_time: int | None

    @property
    def market_value(self) -> int | None:
        """Quantity times price: below 0 for a short position."""
        return None if self.price is None else self.position.quantity * self.price

    @property
    def value(self) -> int:
        """The market value, or the cost where there is no price."""
        return self.position.cost if self.price is None else self.position.quantity * self.price


class Valuation(NamedTuple):
    """Totals of the open positions, in money, and the positions by symbol."""

    positions: tuple[Valued, ...]
    value: int
    cost: int
    gross: int
    unpriced: int
    oldest_price_time: int | None

    @property
    def unrealised(self) -> int:
        """Of the priced positions."""
        return self.value - self.cost


def priced(symbol: str, position: Position, prices: PriceBook) -> Valued:
    """A position at the symbol's last price."""
    last = prices.get(symbol)
    if last is None:
        return Valued(symbol, position, None, None)
    return Valued(symbol, position, position.adjusted(last.close, last.end), last.end)


def valuate(positions: Mapping[str, Position], prices: PriceBook) -> Valuation:
    """Price what is open, in the order of the symbols."""
    found = tuple(
        priced(symbol, positions[symbol], prices)
        for symbol in sorted(positions)
        if positions[symbol].quantity
    )
    times = [each.price_time for each in found if each.price_time is not None]
    return Valuation(
        found,
        sum(each.value for each in found),
        sum(each.position.cost for each in found),
        sum(abs(each.value) for each in found),
        len(found) - len(times),
        min(times, default=None),
    )
