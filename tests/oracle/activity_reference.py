"""Bars of activity by a plain loop in fractions; nothing of ours is used.

Rules as stated in `tables/activity`: trades in log order; a trade's size and its double product
price x size count as multiples of 2^-40, rounded half to even; the closing trade belongs wholly to
its bar. Expectations of imbalance and run bars are averages over bars with alpha = 2/21, kept as
multiples of 2^-40, each step rounded down; a bar has size // 10 to size x 10 trades.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

GRID = 2**40


@dataclass(frozen=True)
class Trade:
    """A trade; time in ns."""

    symbol: str
    price: float
    size: float
    time: int


@dataclass(frozen=True)
class ActivityBar:
    """A closed bar; the fields are those of the published record."""

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


@dataclass
class _Series:
    """Trades since the last close, each with its sign; and what was learned from closed bars."""

    trades: list[Trade] = field(default_factory=list)
    number: int = 0
    #: Of the open bar: what its trades count (with what was carried), bought and sold.
    total: Fraction = Fraction(0)
    bought: Fraction = Fraction(0)
    sold: Fraction = Fraction(0)
    expected: tuple[Fraction, Fraction, Fraction] | None = None


def on_grid(value: float) -> Fraction:
    """The nearest multiple of 2^-40, half to even."""
    return Fraction(round(Fraction(value) * GRID), GRID)


def down(value: Fraction) -> Fraction:
    """The next multiple of 2^-40 below."""
    return Fraction(floor(value * GRID), GRID)


def bars(trades: Iterable[Trade], label: str, *, carry: bool = False) -> list[ActivityBar]:
    """All bars of one type, in the order in which they close."""
    kind, text = label.split(":")
    measure, _, rule = kind.partition("_")
    size = Fraction(text)
    if measure != "tick" and not rule:
        size = on_grid(float(text))
    last: dict[str, float] = {}
    signs: dict[str, int] = defaultdict(int)
    series: dict[str, _Series] = defaultdict(_Series)
    closed = []
    for trade in trades:
        before = last.get(trade.symbol)
        if before is not None and trade.price != before:
            signs[trade.symbol] = 1 if trade.price > before else -1
        last[trade.symbol] = trade.price
        own = series[trade.symbol]
        own.trades.append(trade)
        amount = _amount(trade, measure)
        own.total += amount
        if signs[trade.symbol] > 0:
            own.bought += amount
        elif signs[trade.symbol] < 0:
            own.sold += amount
        if not (_is_beyond(own, rule, int(size)) if rule else own.total >= size):
            continue
        if rule:
            _learn(own)
        closed.append(_bar(own.trades, label, own.number))
        own.total = own.total % size if carry and not rule else Fraction(0)
        own.bought = own.sold = Fraction(0)
        own.trades = []
        own.number += 1
    return closed


def _amount(trade: Trade, measure: str) -> Fraction:
    if measure == "tick":
        return Fraction(1)
    if measure == "volume":
        return on_grid(trade.size)
    return abs(on_grid(trade.price * trade.size))


def _is_beyond(own: _Series, rule: str, size: int) -> bool:
    count = len(own.trades)
    if own.expected is None:
        return count >= size
    if count < max(1, size // 10):
        return False
    if count >= size * 10:
        return True
    length, of_buys, of_sells = own.expected
    if rule == "imbalance":
        return abs(own.bought - own.sold) >= length * abs(of_buys - of_sells)
    return max(own.bought, own.sold) >= length * max(of_buys, of_sells)


def _learn(own: _Series) -> None:
    count = len(own.trades)
    found = (Fraction(count), down(own.bought / count), down(own.sold / count))
    if own.expected is None:
        own.expected = found
        return
    length, buys, sells = (
        before + down(Fraction(2, 21) * (new - before))
        for before, new in zip(own.expected, found, strict=True)
    )
    own.expected = (length, buys, sells)


def _bar(trades: list[Trade], label: str, number: int) -> ActivityBar:
    volume = sum((on_grid(trade.size) for trade in trades), Fraction(0))
    notional = sum((on_grid(trade.price * trade.size) for trade in trades), Fraction(0))
    prices = [trade.price for trade in trades]
    return ActivityBar(
        symbol=trades[0].symbol,
        interval=label,
        number=number,
        start=trades[0].time,
        end=trades[-1].time,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=float(volume),
        vwap=float(notional / volume) if volume else None,
        trades=len(trades),
    )
