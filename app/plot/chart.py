"""What a picture shows, as columns; made of rows by either source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from app.durations import parse_duration

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

RSI: Final = "RSI(14)"
#: More candles than pixels show nothing.
MOST_BARS: Final = 3_000


Row = TypeVar("Row")


class PlotError(ValueError):
    """There is nothing to draw, or too much; the message is one line."""


@dataclass(frozen=True)
class Selection:
    """Which bars are drawn.

    Args:
        interval: of the bars, `1m`.
        begin, end: of the starts, ns; the end is not within. None: the newest.
        last: how many, at most, where not both ends are given.
        model: whose predictions are drawn; None: the only one that there is.
    """

    symbol: str
    interval: str
    begin: int | None = None
    end: int | None = None
    last: int = 200
    model: str | None = None

    @property
    def forward(self) -> bool:
        """Whether it is the first bars from its begin on, not the newest."""
        return self.begin is not None and self.end is None

    @property
    def most(self) -> int:
        """How many bars there may be."""
        return self.last if self.begin is None or self.end is None else MOST_BARS

    def has(self, start: int) -> bool:
        """Whether a bar that starts then is within the ends."""
        return (self.begin is None or start >= self.begin) and (
            self.end is None or start < self.end
        )

    def cut(self, rows: list[Row]) -> list[Row]:
        """Return those of rows by rising starts that are drawn."""
        if self.begin is not None and self.end is not None:
            return rows
        return rows[: self.last] if self.forward else rows[-self.last :]


@dataclass(frozen=True)
class Predictions:
    """Closes that were predicted: at the start (ns) of the bar that they are of, rising.

    NaN where there is no finite interval.
    """

    start: Integers
    close: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Chart:
    """Bars of one symbol and size by rising starts (ns), and what was found in them.

    `vwap` and `rsi` are NaN where there is none. `anomalies` are places among the bars.
    """

    symbol: str
    interval: str
    start: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    vwap: Floats
    rsi: Floats
    anomalies: Integers
    predictions: Predictions

    @property
    def length(self) -> int:
        """Of a bar, ns."""
        return parse_duration(self.interval)


#: start, open, high, low, close, volume, vwap.
BarRow = tuple[int, float, float, float, float, float, float | None]
#: start of the bar that it was made of, horizon in bars, predicted return, low, high.
PredictionRow = tuple[int, int, float | None, float | None, float | None]


def make_chart(
    chosen: Selection,
    bars: Sequence[BarRow],
    rsi: dict[int, float | None],
    anomalies: Iterable[int],
    predictions: Iterable[PredictionRow],
) -> Chart:
    """Return the chart of rows.

    Args:
        bars: by rising starts.
        rsi: by start.
        anomalies: starts of odd bars.
        predictions: in any order; those of bars that are not drawn are left out.

    Raises:
        PlotError: no bars, or more than can be drawn.
    """
    if not bars:
        raise PlotError(f"there are no bars of {chosen.symbol} {chosen.interval} in that time")
    if len(bars) > chosen.most:
        raise PlotError(
            f"more than {chosen.most:,} bars are too many for a picture: "
            "choose a larger --interval or a shorter time"
        )
    starts, *columns = zip(*bars, strict=True)
    opens, highs, lows, closes, volumes, vwaps = map(_floats, columns)
    places = {start: place for place, start in enumerate(starts)}
    by_start = {bar[0]: bar[4] for bar in bars}
    return Chart(
        chosen.symbol,
        chosen.interval,
        np.array(starts, np.int64),
        *(opens, highs, lows, closes, volumes, vwaps),
        _floats([rsi.get(start) for start in starts]),
        np.array(sorted({places[at] for at in anomalies if at in places}), np.int64),
        _predicted(parse_duration(chosen.interval), by_start, predictions),
    )


def _predicted(length: int, closes: dict[int, float], rows: Iterable[PredictionRow]) -> Predictions:
    """Turn returns from a bar's close into closes of the bar that they are of."""
    found: list[tuple[int, float, float, float]] = []
    for start, horizon, *returns in rows:
        close = closes.get(start)
        if close is None or returns[0] is None:
            continue
        value, low, high = (np.nan if each is None else close * (1 + each) for each in returns)
        found.append((start + horizon * length, value, low, high))
    columns = list(zip(*sorted(found), strict=True)) or [(), (), (), ()]
    return Predictions(np.array(columns[0], np.int64), *map(_floats, columns[1:]))


def _floats(values: Sequence[Any]) -> Floats:
    return np.array([np.nan if each is None else each for each in values], np.float64)


def one_model(found: set[str], chosen: Selection) -> str | None:
    """Return whose predictions are drawn; None where there are none.

    Raises:
        PlotError: there are several, and none is chosen.
    """
    if chosen.model is not None:
        return chosen.model
    if len(found) > 1:
        raise PlotError(f"predictions of {', '.join(sorted(found))}: choose one with --model")
    return next(iter(found), None)
