"""The last price of each symbol: the close of the last bar that has ended, as last revised."""

from __future__ import annotations

from typing import NamedTuple


class LastPrice(NamedTuple):
    """Close in grid units (money.py) of the bar that ended at `end`, in its `revision`."""

    end: int
    revision: int
    close: int


class PriceBook:
    """Prices by symbol, and which have changed since their rows were last taken."""

    def __init__(self) -> None:
        self.prices: dict[str, LastPrice] = {}
        self.changed: set[str] = set()

    def get(self, symbol: str) -> LastPrice | None:
        """The last price; None where no bar has ended yet."""
        return self.prices.get(symbol)

    def put(self, symbol: str, price: LastPrice) -> bool:
        """Take a price; False where a later bar, or a later revision of it, is known."""
        known = self.prices.get(symbol)
        if known is not None and price[:2] <= known[:2]:
            return False
        self.prices[symbol] = price
        self.changed.add(symbol)
        return True
