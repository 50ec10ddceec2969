"""Rows for training from recorded bars, by the indicators and features that run live.

The rules of a row, of the bar that starts at t, with intervals of length d:

- of each start the highest revision counts; an emptied bar is as if it had never been;
- there is a row once the features are past their warm-up;
- its target is close(t + horizon x d) / close(t) - 1, of the bar that starts exactly then. No such
  bar (a gap, the end), or a close of 0 or below at t: no row (`gap`, `price`);
- unless asked for, no target lies across the end or the beginning of a session: from the start of
  the row's bar to the end of the target's the market must be open, or closed all the while on one
  day (before the open, after the close); else there is no row (`session`). Around the clock
  nothing ends. Of daily bars none is left: ask for them;
- `previous`, the return over the horizon up to t, follows the same rules; NaN instead of no row.

Features do see the session before: they count bars, not time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.contracts.wire import BarRecord
from app.durations import parse_duration
from models.predicting.dataset import TrainingSet
from models.predicting.features_series import FeatureSeries
from models.predicting.featuresets import FeatureRow, FeatureSet
from tables.indicators.base import Context
from tables.indicators.sets import IndicatorSet, Outcome
from tables.markets import AlwaysOpen, Market, TradingDays

#: By symbol.
MarketOf = Callable[[str], Market]
Progress = Callable[[str, int, int], None]

_TAKEN = (Outcome.NEW, Outcome.REVISED, Outcome.EMPTIED)
_ALWAYS = AlwaysOpen()


def always_open(symbol: str) -> Market:
    """Return the market of symbols of which nothing is known."""
    return _ALWAYS


def no_progress(label: str, done: int, total: int) -> None:
    """Show nothing."""


class LiveSeries:
    """Indicators and features of one symbol and interval, fed bar by bar, as the agents do."""

    def __init__(
        self,
        kind: type[FeatureSet],
        market: Market = _ALWAYS,
        bars: Sequence[BarRecord] = (),
        *,
        fill_forward: bool = False,
    ) -> None:
        """Begin; `bars` are all that will come, where that is known."""
        context = Context(TradingDays(market))
        self.indicators = IndicatorSet(kind.plan().requests, context, fill_forward=fill_forward)
        self.features = FeatureSeries(kind, market, bars)

    def take(self, bar: BarRecord) -> FeatureRow | None:
        """Take a bar and return the features after it; None in the warm-up, and where emptied."""
        outcome = self.indicators.take(bar)
        if outcome in _TAKEN:
            values = None if outcome is Outcome.EMPTIED else self.indicators.values()
            exact = self.indicators.exact
            self.features.take(bar.start, bar.revision, values, exact=exact)
        return self.features.row


@dataclass(frozen=True)
class Built:
    """Rows, and how many bars gave none, by reason: warm_up, gap, price, session."""

    rows: TrainingSet
    dropped: Mapping[str, int]


def build(
    bars: Iterable[BarRecord],
    feature_set: type[FeatureSet],
    horizon: int,
    *,
    market_of: MarketOf = always_open,
    across_sessions: bool = False,
    fill_forward: bool = False,
    progress: Progress = no_progress,
) -> TrainingSet:
    """Return the rows of `build_counted`."""
    return build_counted(
        bars,
        feature_set,
        horizon,
        market_of=market_of,
        across_sessions=across_sessions,
        fill_forward=fill_forward,
        progress=progress,
    ).rows


def build_counted(
    bars: Iterable[BarRecord],
    feature_set: type[FeatureSet],
    horizon: int,
    *,
    market_of: MarketOf = always_open,
    across_sessions: bool = False,
    fill_forward: bool = False,
    progress: Progress = no_progress,
) -> Built:
    """Make rows of all bars, of one interval and any number of symbols, in any order.

    Args:
        bars: closed ones.
        feature_set: what makes the features.
        horizon: of the target, in bars; positive.
        market_of: when sessions are, by symbol.
        across_sessions: whether targets may lie across the end of a session.
        fill_forward: whether bars without trades are input (the setting `bars.fill_forward`).
        progress: is told how many bars are done.

    Raises:
        ValueError: two intervals, a horizon below 1, or two bars of one start and revision.
        FeatureSetError: the feature set is not as it must be.
    """
    if horizon < 1:
        raise ValueError(f"horizon is {horizon}; expected 1 bar or more")
    series = series_of(bars, fill_forward=fill_forward)
    total = sum(map(len, series.values()))
    interval = next((each[0].interval for each in series.values()), "")
    length = parse_duration(interval) if series else 1
    plan = feature_set.plan()
    features = [np.empty((0, len(plan.names)), np.float32)]
    target, previous = [np.empty(0, np.float64)], [np.empty(0, np.float64)]
    time, symbol = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    dropped: Counter[str] = Counter()
    done = 0
    for index, (name, own) in enumerate(series.items()):
        market = market_of(name)
        labels = _labels_of(own, length, horizon, None if across_sessions else market)
        past_warm_up, matrix = _features_of(own, feature_set, market, fill_forward)
        dropped["warm_up"] += int((~past_warm_up).sum())
        kept = past_warm_up
        for reason, fault in labels.faults:
            dropped[reason] += int((kept & fault).sum())
            kept = kept & ~fault
        features.append(matrix[kept])
        target.append(labels.target[kept])
        previous.append(labels.previous[kept])
        time.append(labels.end[kept])
        symbol.append(np.full(int(kept.sum()), index, np.int32))
        done += len(own)
        progress("bars", done, total)
    times, symbols = np.concatenate(time), np.concatenate(symbol)
    order = np.lexsort((symbols, times))
    rows = TrainingSet(
        names=plan.names,
        features=np.concatenate(features)[order],
        target=np.concatenate(target)[order],
        time=times[order],
        label_time=times[order] + length * horizon,
        symbol=symbols[order],
        previous=np.concatenate(previous)[order],
        symbols=tuple(series),
        interval=interval,
        horizon=horizon,
        feature_set=plan.label,
    )
    return Built(rows, dict(dropped))


def series_of(
    bars: Iterable[BarRecord], *, fill_forward: bool = False
) -> dict[str, list[BarRecord]]:
    """Return the bars by symbol, each start once, in its highest revision, without emptied ones.

    Raises:
        ValueError: two intervals, or two bars of one start and revision.
    """
    held: dict[str, dict[int, BarRecord]] = {}
    interval: str | None = None
    for bar in bars:
        if interval is None:
            interval = bar.interval
        if bar.interval != interval:
            raise ValueError(f"bars of {interval} and of {bar.interval}; expected one interval")
        own = held.setdefault(bar.symbol, {})
        other = own.get(bar.start)
        if other is not None and other.revision == bar.revision:
            raise ValueError(
                f"two bars of {bar.symbol} at {bar.start}, revision {bar.revision}; expected one"
            )
        if other is None or other.revision < bar.revision:
            own[bar.start] = bar
    found = {}
    for symbol, own in sorted(held.items()):
        kept = [own[start] for start in sorted(own)]
        if not fill_forward:
            kept = [bar for bar in kept if not (bar.filled and bar.trades == 0)]
        if kept:
            found[symbol] = kept
    return found


def _features_of(
    bars: Sequence[BarRecord],
    feature_set: type[FeatureSet],
    market: Market,
    fill_forward: bool,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Return which bars have features, and these."""
    live = LiveSeries(feature_set, market, bars, fill_forward=fill_forward)
    there = np.zeros(len(bars), np.bool_)
    matrix = np.full((len(bars), len(feature_set.plan().names)), np.nan, np.float32)
    for number, bar in enumerate(bars):
        row = live.take(bar)
        if row is not None:
            there[number] = True
            matrix[number] = row
    return there, matrix


@dataclass(frozen=True)
class _Labels:
    end: npt.NDArray[np.int64]
    target: npt.NDArray[np.float64]
    previous: npt.NDArray[np.float64]
    #: Which bars have no target, by reason.
    faults: tuple[tuple[str, npt.NDArray[np.bool_]], ...]


def _labels_of(
    bars: Sequence[BarRecord], length: int, horizon: int, market: Market | None
) -> _Labels:
    """Return the targets; `market` is None where they may lie across the end of a session."""
    starts = np.array([bar.start for bar in bars], np.int64)
    closes = np.array([bar.close for bar in bars], np.float64)
    ahead = length * horizon
    target = _returns(closes, _close_at(starts, closes, starts + ahead))
    previous = _returns(_close_at(starts, closes, starts - ahead), closes)
    gap = ~np.isin(starts + ahead, starts)
    ends = starts + length
    within = _within_session(ends, length, ahead, market)
    before = _within_session(ends - ahead, length, ahead, market)
    faults = (("gap", gap), ("price", np.isnan(target)), ("session", ~within))
    return _Labels(ends, target, np.where(before, previous, np.nan), faults)


def _close_at(
    starts: npt.NDArray[np.int64], closes: npt.NDArray[np.float64], wanted: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the closes of the bars that start when wanted; NaN where none does."""
    places = np.minimum(np.searchsorted(starts, wanted), len(starts) - 1)
    return np.where(starts[places] == wanted, closes[places], np.nan)


def _returns(
    base: npt.NDArray[np.float64], then: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return then / base - 1; NaN where base is not above 0 or the quotient is not finite."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = then / base - 1
    return np.where((base > 0) & np.isfinite(found), found, np.nan)


def _within_session(
    ends: npt.NDArray[np.int64], length: int, ahead: int, market: Market | None
) -> npt.NDArray[np.bool_]:
    """Return where no session begins or ends in bars with these ends and the `ahead` ns after."""
    if market is None or isinstance(market, AlwaysOpen):
        return np.ones(len(ends), np.bool_)
    return np.array([within_session(end, length, ahead, market) for end in ends.tolist()], np.bool_)


def within_session(end: int, length: int, ahead: int, market: Market | None) -> bool:
    """Return whether no session begins or ends in a bar and the `ahead` ns after it.

    Args:
        end, length: of the bar, ns.
        market: None where sessions do not matter.
    """
    if market is None or isinstance(market, AlwaysOpen):
        return True
    start, until = end - length, end + ahead
    opened = market.open_between(start, until)
    # Closed all the while, and of one day: before the open, or after the close.
    return opened == until - start or (
        opened == 0 and market.day_of(start) == market.day_of(until - length)
    )
