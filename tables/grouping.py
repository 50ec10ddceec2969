"""One sort a batch, then all windows of all intervals by `reduceat`: never a loop over trades.

Trades sorted by (symbol, event time, sequence, offset) put each (symbol, window) into a run, and
its open and close at the ends of the eligible part. A longer interval that is a multiple of a
shorter one rolls up the shorter one's groups, which is exact because the aggregates are monoids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tables.columns import Columns, Float64Array, Int64Array
from tables.partial import ABSENT, INFINITY, Partial
from tables.policies import EXTREMES, LAST, VOLUME
from tables.sums import GRID_BITS, to_limbs

_NONE = np.iinfo(np.int64).max
_EVERY_FLAG = EXTREMES | LAST | VOLUME


class Ordered(Protocol):
    """What records are sorted by."""

    symbol: npt.NDArray[np.int32]
    time: Int64Array
    sequence: Int64Array
    offset: Int64Array


def sort_order(columns: Ordered) -> npt.NDArray[np.intp]:
    """Indexes that sort by (symbol, time, sequence, offset), shape (n,).

    In log order the offsets rise; where the times rise too (and sequences within equal times),
    as in most batches, one stable sort by symbol is enough (radix for 16-bit codes).
    """
    symbol: npt.NDArray[np.signedinteger] = columns.symbol
    if len(symbol) and symbol.max() < 32_768:
        symbol = symbol.astype(np.int16)
    step = np.diff(columns.time)
    in_order = bool((step >= 0).all())
    if in_order:
        level = step == 0
        in_order = not level.any() or bool((np.diff(columns.sequence)[level] >= 0).all())
    if in_order:
        return np.argsort(symbol, kind="stable")
    return np.lexsort((columns.offset, columns.sequence, columns.time, symbol))


@dataclass(slots=True)
class Groups:
    """Aggregates of runs, one entry a (symbol, window); indexes point into the sorted trades."""

    symbol: npt.NDArray[np.int32]
    start: Int64Array
    trades: Int64Array
    volume: tuple[Int64Array, Int64Array]
    priced: tuple[Int64Array, Int64Array]
    notional: tuple[Int64Array, Int64Array]
    high: Float64Array
    low: Float64Array
    first: Int64Array
    last: Int64Array
    source: Int64Array


def group(trades: Columns, flags: npt.NDArray[np.int8], length: int) -> Groups:
    """Aggregate sorted trades, at least one, by symbol and window of `length` ns."""
    window = trades.time // length
    starts = runs(trades.symbol, window)
    size = to_limbs(trades.size)
    notional = to_limbs(trades.price * trades.size)
    every = bool((flags == _EVERY_FLAG).all())
    position = np.arange(len(window), dtype=np.int64)
    if every:
        ones = np.ones(len(window), dtype=np.int64)
        ends = np.append(starts[1:], len(window)) - 1
        volume = priced = add_limbs(size, starts)
        return Groups(
            trades.symbol[starts],
            window[starts] * length,
            np.add.reduceat(ones, starts),
            volume,
            priced,
            add_limbs(notional, starts),
            np.maximum.reduceat(trades.price, starts),
            np.minimum.reduceat(trades.price, starts),
            starts.astype(np.int64),
            ends.astype(np.int64),
            np.bitwise_or.reduceat(trades.source, starts),
        )
    extremes = (flags & EXTREMES) != 0
    last = (flags & LAST) != 0
    volume_flag = (flags & VOLUME) != 0
    return Groups(
        trades.symbol[starts],
        window[starts] * length,
        np.add.reduceat(volume_flag.astype(np.int64), starts),
        add_limbs((size[0] * volume_flag, size[1] * volume_flag), starts),
        add_limbs((size[0] * extremes, size[1] * extremes), starts),
        add_limbs((notional[0] * extremes, notional[1] * extremes), starts),
        np.maximum.reduceat(np.where(extremes, trades.price, -INFINITY), starts),
        np.minimum.reduceat(np.where(extremes, trades.price, INFINITY), starts),
        np.minimum.reduceat(np.where(last, position, _NONE), starts),
        np.maximum.reduceat(np.where(last, position, -1), starts),
        np.bitwise_or.reduceat(trades.source, starts),
    )


def roll_up(groups: Groups, length: int) -> Groups:
    """Aggregate groups into windows of `length`, a multiple of theirs."""
    window = groups.start // length
    starts = runs(groups.symbol, window)
    return Groups(
        groups.symbol[starts],
        window[starts] * length,
        np.add.reduceat(groups.trades, starts),
        add_limbs(groups.volume, starts),
        add_limbs(groups.priced, starts),
        add_limbs(groups.notional, starts),
        np.maximum.reduceat(groups.high, starts),
        np.minimum.reduceat(groups.low, starts),
        np.minimum.reduceat(groups.first, starts),
        np.maximum.reduceat(groups.last, starts),
        np.bitwise_or.reduceat(groups.source, starts),
    )


def runs(symbol: npt.NDArray[np.int32], window: Int64Array) -> npt.NDArray[np.intp]:
    """Where each run of one symbol and window begins, in sorted records."""
    change = np.empty(len(window), dtype=np.bool_)
    change[0] = True
    np.not_equal(window[1:], window[:-1], out=change[1:])
    change[1:] |= symbol[1:] != symbol[:-1]
    return np.flatnonzero(change)


def add_limbs(
    limbs: tuple[Int64Array, Int64Array], starts: npt.NDArray[np.intp]
) -> tuple[Int64Array, Int64Array]:
    """Sums of each run."""
    return np.add.reduceat(limbs[0], starts), np.add.reduceat(limbs[1], starts)


def to_partials(groups: Groups, trades: Columns) -> list[tuple[int, int, Partial]]:
    """(symbol code, window start, aggregate) of each group, in the groups' order."""
    first = np.where(groups.first == _NONE, 0, groups.first)
    last = np.maximum(groups.last, 0)
    rows = zip(
        groups.symbol.tolist(),
        groups.start.tolist(),
        groups.trades.tolist(),
        groups.volume[0].tolist(),
        groups.volume[1].tolist(),
        groups.priced[0].tolist(),
        groups.priced[1].tolist(),
        groups.notional[0].tolist(),
        groups.notional[1].tolist(),
        groups.high.tolist(),
        groups.low.tolist(),
        zip(
            trades.time[first].tolist(),
            trades.sequence[first].tolist(),
            np.where(groups.last < 0, ABSENT, trades.offset[first]).tolist(),
            strict=True,
        ),
        trades.price[first].tolist(),
        zip(
            trades.time[last].tolist(),
            trades.sequence[last].tolist(),
            np.where(groups.last < 0, ABSENT, trades.offset[last]).tolist(),
            strict=True,
        ),
        trades.price[last].tolist(),
        groups.source.tolist(),
        strict=True,
    )
    return [
        (
            symbol,
            start,
            Partial(
                count,
                (volume << GRID_BITS) + volume_grid,
                (priced << GRID_BITS) + priced_grid,
                (notional << GRID_BITS) + notional_grid,
                high,
                low,
                open_key,
                open_price,
                close_key,
                close_price,
                source,
            ),
        )
        for (
            symbol,
            start,
            count,
            volume,
            volume_grid,
            priced,
            priced_grid,
            notional,
            notional_grid,
            high,
            low,
            open_key,
            open_price,
            close_key,
            close_price,
            source,
        ) in rows
    ]
