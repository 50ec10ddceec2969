"""Bars of activity of one partition: state of each symbol, trades in, closed bars out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tables.activity.kinds import ActivityKind
from tables.activity.opened import ActivityBarRecord
from tables.activity.series import Closed, Series, series_of
from tables.activity.trades import ActivityTrades, Segment
from tables.sums import to_units

STATE_VERSION = 1
#: Up to so many trades of a symbol in a segment are cheaper one by one than as arrays.
FEW = 12


class ActivityBar(NamedTuple):
    """A closed bar, and the position in the batch of the trade that closed it."""

    position: int
    record: ActivityBarRecord


class _Symbol:
    """A symbol's series, with what the tick rule needs: its last price and the sign since."""

    __slots__ = ("price", "series", "sign")

    def __init__(self, name: str, kinds: tuple[ActivityKind, ...], carry: bool) -> None:
        self.price: float | None = None
        self.sign = 0
        self.series: list[Series] = [series_of(kind, name, carry) for kind in kinds]

    def sign_of(self, price: float) -> int:
        """1 above the last price, -1 below it, at it the sign before; 0 before any change."""
        if self.price is not None and price != self.price:
            self.sign = 1 if price > self.price else -1
        self.price = price
        return self.sign


class ActivityBars:
    """Makes bars of types `kinds` of the trades of one partition, in log order.

    Args:
        kinds: in the order of bars that one trade closes.
        carry: what a closing trade has too much counts towards the next bar.
    """

    def __init__(self, kinds: tuple[ActivityKind, ...], *, carry: bool = False) -> None:
        self._kinds = kinds
        self._carry = carry
        self._signed = any(kind.signed for kind in kinds)
        self._symbols: dict[str, _Symbol] = {}
        self._changed: set[str] = set()

    def _symbol(self, name: str) -> _Symbol:
        symbol = self._symbols.get(name)
        if symbol is None:
            symbol = self._symbols[name] = _Symbol(name, self._kinds, self._carry)
        return symbol

    def take(self, trades: ActivityTrades, names: Sequence[str]) -> list[ActivityBar]:
        """Take the next trades; the bars that they close, in the order of those trades.

        Args:
            trades: at most 65,536, in log order.
            names: the symbol of each code.
        """
        if not self._kinds or not len(trades):
            return []
        segment = Segment(trades)
        found: list[tuple[int, int, ActivityBarRecord]] = []
        for code, begin, end in segment.symbols():
            name = names[code]
            self._changed.add(name)
            for place, closed in enumerate(
                self._of_symbol(self._symbol(name), segment, begin, end)
            ):
                found += [(int(segment.position[index]), place, bar) for index, bar in closed]
        found.sort(key=lambda each: each[:2])
        return [ActivityBar(position, bar) for position, _, bar in found]

    def _of_symbol(
        self, symbol: _Symbol, segment: Segment, begin: int, end: int
    ) -> list[list[Closed]]:
        """What each of the symbol's series closes."""
        signs: list[int] | None = None
        if self._signed:
            signs = [symbol.sign_of(price) for price in segment.price[begin:end].tolist()]
        if end - begin > FEW:
            return [each.take_many(segment, begin, end, signs) for each in symbol.series]
        return [Series.take_many(each, segment, begin, end, signs) for each in symbol.series]

    def take_one(self, name: str, price: float, size: float, time: int) -> list[ActivityBarRecord]:
        """Take the next trade (event time in ns); the bars that it closes."""
        symbol = self._symbol(name)
        self._changed.add(name)
        sign = symbol.sign_of(price) if self._signed else 0
        volume, notional = to_units(size), to_units(price * size)
        bars = [each.take_one(price, time, volume, notional, sign) for each in symbol.series]
        return [bar for bar in bars if bar is not None]

    def take_changes(self) -> list[tuple[str, list[Any]]]:
        """Symbols changed since the last call, by name, with their rows of plain values."""
        changed, self._changed = sorted(self._changed), set()
        return [(name, self._row(self._symbols[name])) for name in changed]

    def _row(self, symbol: _Symbol) -> list[Any]:
        series = [each.to_row() for each in symbol.series]
        return [STATE_VERSION, symbol.price, symbol.sign, series]

    def restore(self, name: str, row: list[Any]) -> None:
        """Take in a symbol's row.

        Raises:
            ValueError: it is of another version, or of other bar types.
        """
        version, price, sign, series = row
        if version != STATE_VERSION:
            raise ValueError(f"{name}: bars of version {version}, this code reads {STATE_VERSION}")
        labels = [each[0] for each in series]
        if labels != [kind.label for kind in self._kinds]:
            raise ValueError(f"{name}: the state holds bars {labels}")
        symbol = self._symbol(name)
        symbol.price, symbol.sign = price, sign
        for each, own in zip(symbol.series, series, strict=True):
            each.restore(own)
