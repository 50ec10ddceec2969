"""Rows of the past, as they were known then: the point-in-time join.

Asked for are entities: a symbol at a time t. The answer is the row after the newest bar that was
known at t, fed in the order of the log to the code that runs live:

- where the archive tells when each revision was known (`known`), all revisions count, each from
  then on and never before its bar's end: what comes late, comes late here too. A correction of an
  older bar is ignored, as it is live, and the rows it would have changed are not `exact`;
- without, each start counts once, in its highest revision, from its bar's end on, and emptied bars
  never: the rows of training (`building.py`). A correction is then known as early as its bar. An
  archive of final bars alone cannot tell more.

A bar ends when the next one begins; at the very nanosecond its row is known. Live it is served some
milliseconds later: `delay` says how much, for who wants to be as late in training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from app.contracts.wire import BarRecord
from app.durations import parse_duration
from models.predicting.building import (
    LiveSeries,
    MarketOf,
    Progress,
    always_open,
    no_progress,
    series_of,
)
from models.predicting.featuresets import FeatureSet
from tables.markets import Market

Times = npt.NDArray[np.int64]
#: A row's bar, where there is none.
NEVER = np.int64(np.iinfo(np.int64).min)


@dataclass(frozen=True)
class Historical:
    """Rows in the order in which they were asked for.

    Attributes:
        names: of the features, in the order of the columns.
        features: float32, shape (rows, features); NaN where there was nothing.
        feature_time: int64, ns: the end of the bar the row is of; `NEVER` where none had been.
        age: int64, ns: from there to the time asked for; -1 where none had been.
        there: where the row has features: not in the warm-up, not emptied, not older than allowed.
        exact: where no bar came too late for the windows that the row sees.
        feature_set: `returns@1:0123456789abcdef`.
        interval: label of the bars, `1m`.
    """

    names: tuple[str, ...]
    features: npt.NDArray[np.float32]
    feature_time: Times
    age: Times
    there: npt.NDArray[np.bool_]
    exact: npt.NDArray[np.bool_]
    feature_set: str
    interval: str

    def __len__(self) -> int:
        return len(self.age)


def historical_features(
    symbols: Sequence[str],
    times: Sequence[int] | Times,
    bars: Sequence[BarRecord],
    feature_set: type[FeatureSet],
    *,
    max_age: int | None = None,
    delay: int = 0,
    known: Sequence[int] | Times | None = None,
    market_of: MarketOf = always_open,
    fill_forward: bool = False,
    progress: Progress = no_progress,
) -> Historical:
    """Return for each entity the features as they were known at its time.

    Args:
        symbols: of the entities, in any order.
        times: of the entities, ns, as many.
        bars: of one interval, closed ones, in any order; in that of the log where `known` has
            equal times.
        feature_set: what makes the features.
        max_age: ns; older rows are none. A bar's row has the age 0 at the bar's end.
        delay: ns after its bar's end at which a row is served; without `known` only.
        known: when each of the bars was known, ns; None where the archive does not tell.
        market_of: when sessions are, by symbol.
        fill_forward: whether bars without trades are input (the setting `bars.fill_forward`).
        progress: is told how many bars are done.

    Raises:
        ValueError: lengths that differ, two intervals, a negative age or delay, or two bars of one
            start and revision.
    """
    wanted = np.asarray(times, np.int64)
    if wanted.shape != (len(symbols),):
        raise ValueError(f"{len(symbols)} symbols at {wanted.shape} times; expected as many")
    if delay < 0 or (max_age is not None and max_age < 0):
        raise ValueError(f"delay {delay}, greatest age {max_age}; expected 0 or more")
    if delay and known is not None:
        raise ValueError("a delay besides the times that the archive tells; expected one of both")
    places: dict[str, list[int]] = defaultdict(list)
    for place, symbol in enumerate(symbols):
        places[symbol].append(place)
    plan = feature_set.plan()
    count = len(wanted)
    features = np.full((count, len(plan.names)), np.nan, np.float32)
    feature_time, age = np.full(count, NEVER, np.int64), np.full(count, -1, np.int64)
    there, exact = np.zeros(count, np.bool_), np.ones(count, np.bool_)
    interval, arrivals = _arrivals(bars, known, delay, fill_forward)
    length = parse_duration(interval) if interval else 0
    asked = {symbol: own for symbol, own in arrivals.items() if symbol in places}
    total, done = sum(len(own) for _, own in asked.values()), 0
    for symbol, (available, own) in asked.items():
        rows = np.array(places[symbol], np.intp)
        # Bars that come after the last time asked for are not looked at, far less fed.
        until = int(np.searchsorted(available, wanted[rows].max(), side="right"))
        fed = _feed(own[:until], feature_set, market_of(symbol), fill_forward)
        newest = np.searchsorted(available[:until], wanted[rows], side="right") - 1
        rows, newest = rows[newest >= 0], newest[newest >= 0]
        features[rows], there[rows] = fed.features[newest], fed.there[newest]
        exact[rows] = fed.exact[newest]
        feature_time[rows] = fed.starts[newest] + length
        age[rows] = wanted[rows] - feature_time[rows]
        done += len(own)
        progress("bars", done, total)
    if max_age is not None:
        there &= age <= max_age
    features[~there] = np.nan
    return Historical(plan.names, features, feature_time, age, there, exact, plan.label, interval)


_Arrivals = dict[str, tuple[Times, list[BarRecord]]]


def _arrivals(
    bars: Sequence[BarRecord],
    known: Sequence[int] | Times | None,
    delay: int,
    fill_forward: bool,
) -> tuple[str, _Arrivals]:
    """Return the interval, and by symbol when each bar is known and the bars, in this order."""
    if known is None:
        series = series_of(bars, fill_forward=fill_forward)
        interval = next((each[0].interval for each in series.values()), "")
        ahead = delay + (parse_duration(interval) if interval else 0)
        return interval, {
            symbol: (np.array([bar.start + ahead for bar in own], np.int64), own)
            for symbol, own in series.items()
        }
    intervals = {bar.interval for bar in bars}
    if len(intervals) > 1:
        raise ValueError(f"bars of {' and of '.join(sorted(intervals))}; expected one interval")
    interval = min(intervals, default="")
    length = parse_duration(interval) if interval else 0
    held: dict[str, list[tuple[int, BarRecord]]] = defaultdict(list)
    for bar, time in zip(bars, known, strict=True):
        # A clock that is slow elsewhere makes no bar known before its end.
        held[bar.symbol].append((max(int(time), bar.start + length), bar))
    found: _Arrivals = {}
    for symbol, records in sorted(held.items()):
        records.sort(key=itemgetter(0))
        times = np.array([time for time, _ in records], np.int64)
        found[symbol] = times, [bar for _, bar in records]
    return interval, found


@dataclass(frozen=True)
class _Fed:
    """What is served after each record."""

    features: npt.NDArray[np.float32]
    starts: Times
    there: npt.NDArray[np.bool_]
    exact: npt.NDArray[np.bool_]


def _feed(
    bars: Sequence[BarRecord], feature_set: type[FeatureSet], market: Market, fill_forward: bool
) -> _Fed:
    """Feed one symbol's records; the set is told of none beforehand, as it is live."""
    live = LiveSeries(feature_set, market, fill_forward=fill_forward)
    count = len(bars)
    features = np.full((count, len(feature_set.plan().names)), np.nan, np.float32)
    starts = np.empty(count, np.int64)
    there, exact = np.zeros(count, np.bool_), np.ones(count, np.bool_)
    for number, bar in enumerate(bars):
        row = live.take(bar)
        start = live.features.start
        starts[number] = bar.start if start is None else start
        exact[number] = live.features.exact
        if row is not None:
            there[number] = True
            features[number] = row
    return _Fed(features, starts, there, exact)
