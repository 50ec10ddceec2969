"""What the latency bench computes: what is due when, beforehand; how late it came, afterwards.

Pure. Times are ns since the epoch by the one clock of the machine. Every latency is counted from
the time at which a trade was due, not from when it was sent: a trade that waited for others in the
load's own process waited all the same (coordinated omission).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tables.partitioning import partition_of
from tests.bench.ticks import Ticks, make_ticks

Int64Array = npt.NDArray[np.int64]

#: Time of what has not come.
NEVER = 0
#: A percentile of nothing.
NONE = float("nan")
SECOND = 1_000_000_000
MILLISECOND = 1_000_000
#: Trades made beforehand; a run repeats them with times, sequences and ids of its own.
POOL = 50_000
PERCENTILES = (0.50, 0.95, 0.99)


@dataclass(frozen=True)
class Load:
    """What is sent, in the order in which it is due; one entry a trade.

    Attributes:
        due: ns after the run's begin, ascending.
        row: of the trades made beforehand, which one it repeats.
        symbol: its code; `ticks.symbols` has the names.
        partition: where it goes.
        ticks: the trades made beforehand.
    """

    due: Int64Array
    row: Int64Array
    symbol: Int64Array
    partition: Int64Array
    ticks: Ticks

    def __len__(self) -> int:
        return len(self.due)


def make_load(rate: float, seconds: float, symbols: int, partitions: int) -> Load:
    """Fix a run's schedule: so many trades, with exponential gaps (a Poisson process), seeded."""
    count = round(rate * seconds)
    ticks = make_ticks(POOL, symbols, 0)
    gaps = np.random.default_rng(count).exponential(SECOND / rate, count)
    row = np.arange(count, dtype=np.int64) % POOL
    symbol = ticks.symbol[row]
    homes = [partition_of(name.encode(), partitions) for name in ticks.symbols]
    home = np.array(homes, dtype=np.int64)
    return Load(np.cumsum(gaps).astype(np.int64), row, symbol, home[symbol], ticks)


def begin_within(now: int, span: int, length: int) -> int:
    """Return when a run of `span` ns may begin so that no window of `length` ends in it.

    That is now, or at the next window's start; now also where a run is longer than a window.
    """
    start = now // length * length
    ended = now + span >= start + length
    return start + length if ended and span < length else now


class Figures(NamedTuple):
    """Percentiles in ms, of those that came; `missing` is how many did not."""

    p50: float
    p95: float
    p99: float
    worst: float
    came: int
    missing: int


def figures(seen: Int64Array, since: Int64Array) -> Figures:
    """Return the percentiles of what has passed from `since` to `seen`, entry by entry.

    By nearest rank: each is a latency that was measured. NaN where nothing came.
    """
    came = seen != NEVER
    missing = len(seen) - int(came.sum())
    if not came.any():
        return Figures(NONE, NONE, NONE, NONE, 0, missing)
    taken = (seen[came] - since[came]) / MILLISECOND
    p50, p95, p99 = np.quantile(taken, PERCENTILES, method="inverted_cdf").tolist()
    return Figures(p50, p95, p99, float(taken.max()), len(taken), missing)


def covered(begin: Int64Array, end: Int64Array, time: Int64Array, count: int) -> Int64Array:
    """Return for each of `count` offsets the time of the first note `[begin, end)` that has it."""
    found = np.full(count, NEVER, dtype=np.int64)
    notes = zip(begin[::-1].tolist(), end[::-1].tolist(), time[::-1].tolist(), strict=True)
    for first, last, moment in notes:
        found[first:last] = moment
    return found


def first_holding(trades: Int64Array, times: Int64Array, count: int) -> Int64Array:
    """Return when each of a window's first `count` trades was in a published bar.

    Args:
        trades: how many trades the bar had, each time it was published.
        times: when that was.
    """
    if not len(trades):
        return np.full(count, NEVER, dtype=np.int64)
    places = np.searchsorted(np.maximum.accumulate(trades), np.arange(1, count + 1), side="left")
    reached: Int64Array = np.where(
        places < len(times), times[np.minimum(places, len(times) - 1)], NEVER
    )
    return reached


class Sightings(NamedTuple):
    """When one window's bar was published, and how many trades it had each time; shape (n,)."""

    times: Int64Array
    trades: Int64Array


def published(
    symbol: Int64Array, window: Int64Array, sightings: Mapping[tuple[int, int], Sightings]
) -> Int64Array:
    """Return when each trade was first in a published bar of its window.

    A window's trades are applied in the order in which they are due, since one producer sends them
    in it: so the bar that has n trades has the first n.

    Args:
        symbol, window: of each trade, in that order.
        sightings: by symbol and window.
    """
    found = np.full(len(symbol), NEVER, dtype=np.int64)
    for key, places in _groups(symbol, window):
        seen = sightings.get(key)
        if seen is not None:
            found[places] = first_holding(seen.trades, seen.times, len(places))
    return found


def window_counts(symbol: Int64Array, window: Int64Array) -> dict[tuple[int, int], int]:
    """Return how many trades each window has, by symbol and window."""
    return {key: len(places) for key, places in _groups(symbol, window)}


def _groups(
    symbol: Int64Array, window: Int64Array
) -> Iterator[tuple[tuple[int, int], npt.NDArray[np.intp]]]:
    """Yield the places of each window's trades, in their order."""
    if not len(symbol):
        return
    order = np.lexsort((window, symbol))
    change = (np.diff(symbol[order]) != 0) | (np.diff(window[order]) != 0)
    for places in np.split(order, np.flatnonzero(change) + 1):
        yield (int(symbol[places[0]]), int(window[places[0]])), places


def closing(end: Int64Array, times: Int64Array, grace: int) -> npt.NDArray[np.intp]:
    """Return the records that move a partition's watermark to the ends; `len(times)`: none does.

    Args:
        end: of windows, in ns.
        times: event times of the partition's records, ascending.
    """
    return np.searchsorted(times, end + grace, side="left")


def run_bounds(
    begin: Int64Array, end: Int64Array, runs: Int64Array, counts: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Return first offset and end of each run of records with one append time.

    Args:
        begin, end: offsets of the batches, which have no holes.
        runs: how many runs each batch has.
        counts: how many records each run has, batch after batch.

    Raises:
        ValueError: there are holes.
    """
    sizes = end - begin
    if int(sizes.sum()) != int(counts.sum()):
        raise ValueError(f"{int(sizes.sum())} offsets, {int(counts.sum())} records")
    batch = np.repeat(np.arange(len(runs)), runs)
    before = np.cumsum(sizes) - sizes
    first = np.cumsum(counts) - counts - before[batch] + begin[batch]
    return first, first + counts
