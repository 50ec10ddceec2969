"""One sort a batch, then all quote windows of all intervals by `reduceat` (tables/grouping.py)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tables.columns import Float64Array, Int64Array
from tables.grouping import add_limbs, runs
from tables.quote_columns import QuoteColumns
from tables.quote_partial import QuotePartial, mid_of
from tables.sums import GRID_BITS, to_limbs, to_units


@dataclass(slots=True)
class QuoteGroups:
    """Aggregates of runs, one entry a (symbol, window); indexes point into the sorted quotes.

    `highs` and `lows` hold bid, ask and mid.
    """

    symbol: npt.NDArray[np.int32]
    start: Int64Array
    quotes: Int64Array
    spread: tuple[Int64Array, Int64Array]
    highs: tuple[Float64Array, Float64Array, Float64Array]
    lows: tuple[Float64Array, Float64Array, Float64Array]
    first: Int64Array
    last: Int64Array
    source: Int64Array


def group_quotes(quotes: QuoteColumns, length: int) -> QuoteGroups:
    """Aggregate sorted quotes, at least one, by symbol and window of `length` ns."""
    window = quotes.time // length
    starts = runs(quotes.symbol, window)
    ends = np.append(starts[1:], len(window))
    mid = (quotes.bid + quotes.ask) * 0.5
    series = (quotes.bid, quotes.ask, mid)
    high = [np.maximum.reduceat(each, starts) for each in series]
    low = [np.minimum.reduceat(each, starts) for each in series]
    return QuoteGroups(
        quotes.symbol[starts],
        window[starts] * length,
        ends - starts,
        add_limbs(to_limbs(quotes.ask - quotes.bid), starts),
        (high[0], high[1], high[2]),
        (low[0], low[1], low[2]),
        starts.astype(np.int64),
        ends - 1,
        np.bitwise_or.reduceat(quotes.source, starts),
    )


def roll_up_quotes(groups: QuoteGroups, length: int) -> QuoteGroups:
    """Aggregate groups into windows of `length`, a multiple of theirs."""
    window = groups.start // length
    starts = runs(groups.symbol, window)
    high = [np.maximum.reduceat(each, starts) for each in groups.highs]
    low = [np.minimum.reduceat(each, starts) for each in groups.lows]
    return QuoteGroups(
        groups.symbol[starts],
        window[starts] * length,
        np.add.reduceat(groups.quotes, starts),
        add_limbs(groups.spread, starts),
        (high[0], high[1], high[2]),
        (low[0], low[1], low[2]),
        groups.first[starts],
        np.maximum.reduceat(groups.last, starts),
        np.bitwise_or.reduceat(groups.source, starts),
    )


def quote_partials(
    groups: QuoteGroups, quotes: QuoteColumns
) -> list[tuple[int, int, QuotePartial]]:
    """(symbol code, window start, aggregate) of each group, in the groups' order."""

    def keys(at: Int64Array) -> list[tuple[int, int, int]]:
        columns = (quotes.time[at], quotes.sequence[at], quotes.offset[at])
        return list(zip(*(column.tolist() for column in columns), strict=True))

    def values(at: Int64Array, *columns: Float64Array) -> list[tuple[float, ...]]:
        return list(zip(*(column[at].tolist() for column in columns), strict=True))

    rows = zip(
        groups.symbol.tolist(),
        groups.start.tolist(),
        groups.quotes.tolist(),
        groups.spread[0].tolist(),
        groups.spread[1].tolist(),
        groups.highs[0].tolist(),
        groups.lows[0].tolist(),
        groups.highs[1].tolist(),
        groups.lows[1].tolist(),
        groups.highs[2].tolist(),
        groups.lows[2].tolist(),
        keys(groups.first),
        values(groups.first, quotes.bid, quotes.ask),
        keys(groups.last),
        values(groups.last, quotes.bid, quotes.ask, quotes.bid_size, quotes.ask_size),
        groups.source.tolist(),
        strict=True,
    )
    return [
        (symbol, start, QuotePartial(count, (whole << GRID_BITS) + grid, *rest))
        for symbol, start, count, whole, grid, *rest in rows
    ]


def single_quote(quotes: QuoteColumns, index: int) -> QuotePartial:
    """What one quote adds to a window."""
    bid, ask = float(quotes.bid[index]), float(quotes.ask[index])
    mid = mid_of(bid, ask)
    key = (int(quotes.time[index]), int(quotes.sequence[index]), int(quotes.offset[index]))
    closing = (bid, ask, float(quotes.bid_size[index]), float(quotes.ask_size[index]))
    return QuotePartial(
        1,
        to_units(ask - bid),
        bid,
        bid,
        ask,
        ask,
        mid,
        mid,
        key,
        (bid, ask),
        key,
        closing,
        int(quotes.source[index]),
    )
