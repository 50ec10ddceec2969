"""The newest features of symbols, and how fresh they are.

Where rows come from is a reader: a callable of symbol and interval that returns what a table holds
now, or None. The prediction agent's state is one; `InProcessRows` is another, fed bar by bar, for
tests and notebooks. A look-up reads nothing else, changes nothing, and asks no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from app.contracts.wire import BarRecord
from app.durations import parse_duration
from models.predicting.building import LiveSeries, MarketOf, always_open
from models.predicting.features_series import FeatureSeries
from models.predicting.featuresets import FeatureRow, FeatureSet

Status = Literal["served", "missing", "warm_up", "stale"]


class TableRow(NamedTuple):
    """What a table holds of a symbol and interval.

    Attributes:
        start: of the newest bar, ns.
        row: its features; None in the warm-up, and of a bar that was emptied.
        exact: whether it is as if every bar had come once, in its highest revision.
    """

    start: int
    row: FeatureRow | None
    exact: bool


def row_of(series: FeatureSeries) -> TableRow | None:
    """Return what a reader returns of a series; None where it has seen no bar."""
    return None if series.start is None else TableRow(series.start, series.row, series.exact)


#: By symbol and interval; None where there is nothing.
Reader = Callable[[str, str], TableRow | None]


class OnlineRow(NamedTuple):
    """The answer for a symbol.

    Attributes:
        status: `served`; or why there are no features: `missing` (no such symbol and interval),
            `warm_up` (too few bars, or the newest was emptied), `stale` (older than allowed).
        values: one a feature asked for, None where there is nothing; empty unless served.
        feature_time: ns, the end of the bar; None where there was none.
        age: ns, from there to now; None where there was no bar.
        exact: see `TableRow`.
    """

    symbol: str
    status: Status
    values: FeatureRow
    feature_time: int | None
    age: int | None
    exact: bool


@dataclass(frozen=True)
class OnlineRows:
    """Answers in the order of the symbols asked for.

    Attributes:
        feature_set: `returns@1:0123456789abcdef`.
        names: of the features, in the order of the values.
    """

    feature_set: str
    interval: str
    names: tuple[str, ...]
    rows: tuple[OnlineRow, ...]

    @property
    def served(self) -> int:
        """How many rows have features."""
        return sum(each.status == "served" for each in self.rows)


class OnlineSource(Protocol):
    """Where the newest features of one feature set are looked up."""

    @property
    def feature_set(self) -> str:
        """Name, version and hash."""

    def latest(
        self,
        symbols: Sequence[str],
        interval: str,
        *,
        now: int,
        features: Sequence[str] | None = None,
        max_age: int | None = None,
    ) -> OnlineRows:
        """Return the newest features of symbols.

        Args:
            interval: label of the bars, `1m`.
            now: ns.
            features: some of the set's, in this order; None for all.
            max_age: ns; older rows are none. A bar's row has the age 0 at the bar's end.

        Raises:
            ValueError: the interval is none, or the set has no such feature.
        """


class TableSource:
    """An `OnlineSource` over what a reader returns."""

    def __init__(self, kind: type[FeatureSet], reader: Reader) -> None:
        plan = kind.plan()
        self.feature_set = plan.label
        self.names = plan.names
        self._places = {name: place for place, name in enumerate(plan.names)}
        self._reader = reader

    def latest(
        self,
        symbols: Sequence[str],
        interval: str,
        *,
        now: int,
        features: Sequence[str] | None = None,
        max_age: int | None = None,
    ) -> OnlineRows:
        length = parse_duration(interval)
        chosen = None if features is None else self._chosen(features)
        rows = tuple([self._row(each, interval, length, now, chosen, max_age) for each in symbols])
        names = self.names if features is None else tuple(features)
        return OnlineRows(self.feature_set, interval, names, rows)

    def _chosen(self, features: Sequence[str]) -> tuple[int, ...]:
        unknown = [each for each in features if each not in self._places]
        if unknown:
            raise ValueError(
                f"{self.feature_set} has no feature {', '.join(unknown)}; it has "
                f"{', '.join(self.names)}"
            )
        return tuple(self._places[each] for each in features)

    def _row(
        self,
        symbol: str,
        interval: str,
        length: int,
        now: int,
        chosen: tuple[int, ...] | None,
        max_age: int | None,
    ) -> OnlineRow:
        held = self._reader(symbol, interval)
        if held is None:
            return OnlineRow(symbol, "missing", (), None, None, True)
        start, row, exact = held
        end = start + length
        age = now - end
        if row is None:
            return OnlineRow(symbol, "warm_up", (), end, age, exact)
        if max_age is not None and age > max_age:
            return OnlineRow(symbol, "stale", (), end, age, exact)
        values = row if chosen is None else tuple([row[place] for place in chosen])
        return OnlineRow(symbol, "served", values, end, age, exact)


class InProcessRows:
    """A reader of rows that are made here, from bars in the order of their log."""

    def __init__(
        self,
        kind: type[FeatureSet],
        *,
        market_of: MarketOf = always_open,
        fill_forward: bool = False,
    ) -> None:
        self._kind = kind
        self._market_of = market_of
        self._fill_forward = fill_forward
        self._series: dict[tuple[str, str], LiveSeries] = {}

    def take(self, bar: BarRecord) -> None:
        """Take the next closed bar of any symbol and interval."""
        key = bar.symbol, bar.interval
        series = self._series.get(key)
        if series is None:
            market = self._market_of(bar.symbol)
            series = LiveSeries(self._kind, market, fill_forward=self._fill_forward)
            self._series[key] = series
        series.take(bar)

    def __call__(self, symbol: str, interval: str) -> TableRow | None:
        series = self._series.get((symbol, interval))
        return None if series is None else row_of(series.features)
