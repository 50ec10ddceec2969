"""Whether a feature set looks ahead: the same rows must come out whatever comes later.

After freqtrade's lookahead-analysis: compute once, then again with the future cut off, and compare
what was known before. Every row must be equal, bit for bit, to that of the first run, which is the
one that the agents make: bars of all symbols in the order of time, `prepare` told of none.

| check | what is different |
|---|---|
| `batch` | as a training set is built: symbol by symbol, `prepare` told of all bars |
| `cut` | as `batch`, but there are no bars after some point in time; at many points |
| `other` | as `cut`, but `prepare` is told of other prices and volumes after the point |
| `state` | as live, through the JSON of the state now and then |
| `revised` | as live, but now and then another bar comes first, and then its revision |

It is a run, not a proof: what a set reads from files or clocks is the same with the future cut off,
and is not seen. The first run comes first because code that caches what it was told of would answer
later ones from there.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt

from app.contracts.wire import BarRecord
from models.predicting.building import (
    LiveSeries,
    MarketOf,
    Progress,
    always_open,
    no_progress,
    series_of,
)
from models.predicting.features_series import FeatureSeries
from models.predicting.featuresets import FeatureRow, FeatureSet
from tables.indicators.base import Context, sample_bars
from tables.indicators.sets import IndicatorSet
from tables.learning import State
from tables.markets import Market, TradingDays

#: And `live`, where the first run fails.
CHECKS = ("batch", "cut", "other", "state", "revised")
#: State and revision are tried at one bar in so many.
OFTEN = 7

#: Rows of each symbol, by the number of the bar; NaN in the warm-up.
Rows = dict[str, npt.NDArray[np.float64]]
Series = Mapping[str, Sequence[BarRecord]]


@dataclass(frozen=True)
class Difference:
    """A feature that is not what it was in the first run.

    Attributes:
        check: one of CHECKS, or `live`.
        feature: its name; empty where the set failed.
        rows: how many differ, over all points.
        symbol, start: of the first row that does; start in ns.
        live: what it was; None for nothing.
        found: what it is here; None for nothing.
        error: what the set failed with.
    """

    check: str
    feature: str
    rows: int
    symbol: str
    start: int
    live: float | None
    found: float | None
    error: str = ""


@dataclass(frozen=True)
class Lookahead:
    """What was compared, and what differs.

    Attributes:
        feature_set: name, version and hash.
        features: how many.
        bars: how many, of all symbols.
        rows: compared in each check, by its name.
        points: at which the future was cut off, ns.
        differences: nothing where the set is clean.
    """

    feature_set: str
    features: int
    bars: int
    rows: Mapping[str, int]
    points: tuple[int, ...]
    differences: tuple[Difference, ...]

    @property
    def clean(self) -> bool:
        """Whether no row depends on what comes later."""
        return not self.differences


def check_lookahead(
    bars: Iterable[BarRecord],
    feature_set: type[FeatureSet],
    *,
    points: int = 20,
    seed: int = 0,
    market_of: MarketOf = always_open,
    progress: Progress = no_progress,
) -> Lookahead:
    """Compute the rows of bars under all checks, and compare.

    Args:
        bars: closed ones of one interval and any number of symbols, in any order.
        feature_set: what is checked.
        points: at how many points in time the future is cut off; the last bar is never one.
        seed: of the points, and of what is put in place of the future.
        market_of: when sessions are, by symbol.
        progress: is told how many runs are done.

    Raises:
        ValueError: there are too few bars, or as `series_of`.
        FeatureSetError: the feature set is not as it must be.
    """
    plan = feature_set.plan()
    series = series_of(bars)
    times = sorted({bar.start for own in series.values() for bar in own[plan.warm_up - 1 :]})[:-1]
    if not times or points < 1:
        longest = max(map(len, series.values()), default=0)
        raise ValueError(
            f"{longest} bars of a symbol, {points} points; expected at least {plan.warm_up + 1} "
            f"bars, as {plan.label} begins with bar {plan.warm_up}, and one point"
        )
    chance = random.Random(seed)
    chosen = sorted(chance.sample(times, min(points, len(times))))
    runs = _Runs(feature_set, market_of, seed)
    total, done = 4 + 2 * len(chosen), 0
    findings = _Findings(series, plan.names, plan.warm_up)

    def attempt(check: str, run: Callable[[], Rows], until: int | None = None) -> None:
        nonlocal done
        try:
            rows = run()
        except Exception as error:  # noqa: BLE001 - code of a user's: what it fails with is told
            findings.fail(check, f"{type(error).__name__}: {error}")
        else:
            findings.compare(check, rows, until)
        done += 1
        progress("runs", done, total)

    attempt("live", lambda: runs.live(series))
    if findings.first is None:
        # Nothing to compare with: what this one fails with is the caller's to see.
        findings.first = runs.batch(series)
    attempt("batch", lambda: runs.batch(series))
    for point in chosen:
        kept = {
            symbol: [bar for bar in own if bar.start <= point] for symbol, own in series.items()
        }
        others = {
            symbol: [*kept[symbol], *_others(own[len(kept[symbol]) :], chance)]
            for symbol, own in series.items()
        }
        attempt("cut", functools.partial(runs.batch, kept), point)
        attempt("other", functools.partial(runs.batch, kept, others), point)
    attempt("state", lambda: runs.live(series, stored=True))
    attempt("revised", lambda: runs.live(series, revised=True))
    return Lookahead(
        plan.label,
        len(plan.names),
        sum(map(len, series.values())),
        findings.rows,
        tuple(chosen),
        findings.differences(),
    )


class _Runs:
    """Computes all rows, in several ways."""

    def __init__(self, feature_set: type[FeatureSet], market_of: MarketOf, seed: int) -> None:
        self._kind = feature_set
        self._market_of = market_of
        self._seed = seed

    def batch(self, series: Series, told: Series | None = None) -> Rows:
        """Symbol by symbol, prepared for all bars, or for those that it is told."""
        found = {}
        for symbol, bars in series.items():
            whole = bars if told is None else told[symbol]
            live = LiveSeries(self._kind, self._market_of(symbol), whole)
            found[symbol] = self._array([live.take(bar) for bar in bars])
        return found

    def live(self, series: Series, *, stored: bool = False, revised: bool = False) -> Rows:
        """All symbols in the order of time, prepared for nothing."""
        chance = random.Random(self._seed)
        lives = {symbol: LiveSeries(self._kind, self._market_of(symbol)) for symbol in series}
        rows: dict[str, list[FeatureRow | None]] = {symbol: [] for symbol in series}
        for bar in sorted(
            (bar for own in series.values() for bar in own), key=lambda bar: (bar.start, bar.symbol)
        ):
            tried = chance.randrange(OFTEN) == 0
            live = lives[bar.symbol]
            if stored and tried:
                live = lives[bar.symbol] = self._stored(live, self._market_of(bar.symbol))
            if revised and tried:
                (other,) = _others([bar], chance)
                live.take(msgspec.structs.replace(other, revision=bar.revision - 1))
            rows[bar.symbol].append(live.take(bar))
        return {symbol: self._array(own) for symbol, own in rows.items()}

    def _stored(self, live: LiveSeries, market: Market) -> LiveSeries:
        restored = LiveSeries(self._kind, market)
        restored.indicators = IndicatorSet.from_state(
            _through_json(live.indicators.state()),
            self._kind.plan().requests,
            Context(TradingDays(market)),
        )
        restored.features = FeatureSeries.from_state(
            _through_json(live.features.state()), self._kind, market
        )
        return restored

    def _array(self, rows: Sequence[FeatureRow | None]) -> npt.NDArray[np.float64]:
        width = len(self._kind.plan().names)
        found = np.full((len(rows), width), np.nan)
        for number, row in enumerate(rows):
            if row is not None:
                found[number] = row
        return found


def _through_json(state: State) -> State:
    restored: State = json.loads(json.dumps(state, allow_nan=False))
    return restored


def _others(bars: Sequence[BarRecord], chance: random.Random) -> Iterator[BarRecord]:
    """Yield bars of the same starts with a walk of their own."""
    close = bars[0].open if bars else 0.0
    for bar in bars:
        first = close * (1 + chance.gauss(0, 0.01))
        close = first * (1 + chance.gauss(0, 0.01))
        reach = abs(chance.gauss(0, 0.01) * close)
        high, low = max(first, close) + reach, min(first, close) - reach
        yield msgspec.structs.replace(
            bar,
            open=first,
            high=high,
            low=low,
            close=close,
            volume=float(chance.randrange(1, 100_000)),
            vwap=(high + low + close) / 3,
            trades=chance.randrange(1, 1000),
        )


class _Findings:
    """What differs from the first run."""

    def __init__(self, series: Series, names: Sequence[str], warm_up: int) -> None:
        self._starts = {
            symbol: np.array([bar.start for bar in own]) for symbol, own in series.items()
        }
        self._names = names
        self._warm_up = warm_up
        self.first: Rows | None = None
        self.rows: dict[str, int] = {}
        self._found: dict[tuple[str, str], Difference] = {}

    def fail(self, check: str, error: str) -> None:
        """Note that a run failed."""
        found = self._found.get((check, ""))
        count = found.rows + 1 if found else 1
        self._found[check, ""] = Difference(check, "", count, "", 0, None, None, error)

    def compare(self, check: str, rows: Rows, until: int | None) -> None:
        """Compare the rows up to a point in time, ns, or all; the first are kept."""
        if self.first is None:
            self.first = rows
            return
        for symbol, starts in self._starts.items():
            count = len(starts) if until is None else int((starts <= until).sum())
            before, after = self.first[symbol][:count], rows[symbol][:count]
            compared = max(0, count - self._warm_up + 1)
            self.rows[check] = self.rows.get(check, 0) + compared
            same = before.view(np.int64) == after.view(np.int64)
            differs = ~(same | (np.isnan(before) & np.isnan(after)))
            for column in np.flatnonzero(differs.any(axis=0)).tolist():
                places = np.flatnonzero(differs[:, column])
                place = int(places[0])
                self._add(
                    Difference(
                        check,
                        self._names[column],
                        len(places),
                        symbol,
                        int(starts[place]),
                        _number(before[place, column]),
                        _number(after[place, column]),
                    )
                )

    def _add(self, found: Difference) -> None:
        key = (found.check, found.feature)
        held = self._found.get(key)
        if held is not None:
            first = min(held, found, key=lambda each: (each.start, each.symbol))
            found = replace(first, rows=held.rows + found.rows)
        self._found[key] = found

    def differences(self) -> tuple[Difference, ...]:
        """Return them by check, then in the order of the features."""
        checks = ("live", *CHECKS)
        names = ("", *self._names)
        return tuple(
            sorted(
                self._found.values(),
                key=lambda each: (checks.index(each.check), names.index(each.feature)),
            )
        )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def made_up_bars(seed: int, count: int) -> list[BarRecord]:
    """Return one-minute bars of two symbols, random walks with gaps, for who has none."""
    chance = random.Random(seed)
    return [
        msgspec.structs.replace(bar, symbol=symbol)
        for number, symbol in enumerate(("AAA", "BBB"))
        for bar in sample_bars(2 * seed + number, count)
        if chance.random() > 0.03
    ]
