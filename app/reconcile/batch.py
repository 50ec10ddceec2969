"""A chunk of records to exact sums by (symbol, window), in numpy: sorted once, then reduced.

Windows of every length are consecutive in one order by (symbol, time, sequence, offset), so each
interval is a reduction over the same arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from tables.columns import Columns, Float64Array, Int64Array
from tables.policies import EXTREMES, LAST, VOLUME
from tables.quote_columns import QuoteColumns
from tables.sums import GRID, GRID_BITS, to_limbs

AnyColumns = TypeVar("AnyColumns", bound=Columns | QuoteColumns)
#: Order of a record within its window: event time, sequence, offset.
Place = tuple[int, int, int]
#: Values of a bar by field.
Values = dict[str, float | None]

PRICES = ("open", "high", "low", "close")
SIDES = ("bid", "ask", "mid")
FIELDS: dict[str, tuple[str, ...]] = {
    "bars": (*PRICES, "volume", "vwap", "trades"),
    "quotes": (
        *(f"{side}_{each}" for side in SIDES for each in PRICES),
        *("bid_size", "ask_size", "spread", "quotes"),
    ),
}


@dataclass(slots=True)
class Sums:
    """What the records of one window add up to.

    Attributes:
        first: offset of the first record in the log.
        totals: exact sums, added member by member; in grid units but for the counts.
        highs, lows: of each series; -inf and inf where no record counts.
        opening, closing: the first and the last record that may set open and close, each with its
            place; None where there is none.
    """

    first: int
    totals: tuple[int, ...]
    highs: tuple[float, ...]
    lows: tuple[float, ...]
    opening: tuple[Place, tuple[float, ...]] | None
    closing: tuple[Place, tuple[float, ...]] | None

    def add(self, other: Self) -> None:
        """Add the records of another chunk."""
        self.first = min(self.first, other.first)
        self.totals = tuple(a + b for a, b in zip(self.totals, other.totals, strict=True))
        self.highs = tuple(map(max, self.highs, other.highs))
        self.lows = tuple(map(min, self.lows, other.lows))
        if other.opening is not None and other.closing is not None:
            if self.opening is None or other.opening[0] < self.opening[0]:
                self.opening = other.opening
            if self.closing is None or other.closing[0] > self.closing[0]:
                self.closing = other.closing


def in_order(columns: AnyColumns) -> AnyColumns:
    """Return the records by (symbol, event time, sequence, offset)."""
    order = np.lexsort((columns.offset, columns.sequence, columns.time, columns.symbol))
    return columns.take(order)  # type: ignore[return-value]


def trade_sums(
    trades: Columns, flags: npt.NDArray[np.int8], length: int
) -> Iterator[tuple[int, int, Sums]]:
    """Yield (symbol code, start in ns, sums) of trades `in_order`, at least one.

    Totals are count, size, size and notional of the trades that count for the vwap.

    Args:
        trades: of any windows, n of them.
        flags: of the policy, shape (n,).
        length: of the interval, in ns.
    """
    extremes = (flags & EXTREMES) != 0
    volume = (flags & VOLUME) != 0
    notional = np.where(extremes, trades.price * trades.size, 0.0)
    yield from _reduce(
        trades,
        length,
        (flags & LAST) != 0,
        [volume.astype(np.int64)],
        [np.where(volume, trades.size, 0.0), np.where(extremes, trades.size, 0.0), notional],
        [np.where(extremes, trades.price, -np.inf)],
        [np.where(extremes, trades.price, np.inf)],
        [trades.price],
    )


def quote_sums(quotes: QuoteColumns, length: int) -> Iterator[tuple[int, int, Sums]]:
    """Yield (symbol code, start in ns, sums) of quotes `in_order`; totals are count, spread."""
    series = [quotes.bid, quotes.ask, (quotes.bid + quotes.ask) * 0.5]
    every = np.ones(len(quotes), dtype=np.bool_)
    yield from _reduce(
        quotes,
        length,
        every,
        [every.astype(np.int64)],
        [quotes.ask - quotes.bid],
        series,
        series,
        [*series, quotes.bid_size, quotes.ask_size],
    )


def _reduce(
    records: Columns | QuoteColumns,
    length: int,
    sets: npt.NDArray[np.bool_],
    counts: Sequence[Int64Array],
    exact: Sequence[Float64Array],
    highs: Sequence[Float64Array],
    lows: Sequence[Float64Array],
    kept: Sequence[Float64Array],
) -> Iterator[tuple[int, int, Sums]]:
    """Reduce each window; `sets` tells which records may set open and close, `kept` their values.

    A chunk has at most `MAX_BATCH_RECORDS` records: see tables/sums.py for why limbs then fit.
    """
    window = records.time // length
    changes = (records.symbol[1:] != records.symbol[:-1]) | (window[1:] != window[:-1])
    begins = np.concatenate(([0], np.flatnonzero(changes) + 1))
    totals: list[list[int]] = [np.add.reduceat(each, begins).tolist() for each in counts]
    for values in exact:
        whole, rest = (np.add.reduceat(limb, begins).tolist() for limb in to_limbs(values))
        totals.append([(a << GRID_BITS) + b for a, b in zip(whole, rest, strict=True)])
    index = np.arange(len(records))
    opens = np.minimum.reduceat(np.where(sets, index, len(records)), begins).tolist()
    closes = np.maximum.reduceat(np.where(sets, index, -1), begins).tolist()
    found = zip(
        records.symbol[begins].tolist(),
        (window[begins] * length).tolist(),
        np.minimum.reduceat(records.offset, begins).tolist(),
        zip(*totals, strict=True),
        zip(*(np.maximum.reduceat(each, begins).tolist() for each in highs), strict=True),
        zip(*(np.minimum.reduceat(each, begins).tolist() for each in lows), strict=True),
        opens,
        closes,
        strict=True,
    )

    def at(position: int) -> tuple[Place, tuple[float, ...]]:
        place = tuple(int(each[position]) for each in (records.time, records.sequence))
        offset = int(records.offset[position])
        return (place[0], place[1], offset), tuple(float(each[position]) for each in kept)

    for symbol, start, first, total, high, low, opening, closing in found:
        ends = (at(opening), at(closing)) if closing >= 0 else (None, None)
        yield symbol, start, Sums(first, total, high, low, *ends)


def bar_values(sums: Sums) -> Values | None:
    """Return the fields of a window's bar, None where no trade may set its open and close."""
    if sums.opening is None or sums.closing is None:
        return None
    (_, (first,)), (_, (last,)) = sums.opening, sums.closing
    trades, volume, priced, notional = sums.totals
    (high,), (low,) = sums.highs, sums.lows
    if high < low:  # no trade may set them
        high, low = max(first, last), min(first, last)
    vwap = notional / priced if priced else None
    return dict(
        zip(FIELDS["bars"], (first, high, low, last, volume / GRID, vwap, trades), strict=True)
    )


def no_bar_values(close: float) -> Values:
    """Return the fields of a bar whose trades were cancelled; `close` is the one published last."""
    return dict(zip(FIELDS["bars"], (close, close, close, close, 0.0, None, 0), strict=True))


def quote_bar_values(sums: Sums) -> Values | None:
    """Return the fields of a window's quote bar, None where it holds no quote."""
    if sums.opening is None or sums.closing is None:
        return None
    first, last = sums.opening[1], sums.closing[1]
    quotes, spread = sums.totals
    found: list[Any] = []
    for side in range(len(SIDES)):
        found += [first[side], sums.highs[side], sums.lows[side], last[side]]
    found += [last[3], last[4], spread / (quotes * GRID), quotes]
    return dict(zip(FIELDS["quotes"], found, strict=True))
