"""Bollinger bands."""

from __future__ import annotations

from math import sqrt

from app.contracts.wire import BarRecord
from tables.indicators.base import Factor, Indicator, IndicatorValue, Length
from tables.indicators.windows import Window, mean_and_deviation, ratio

BANDS = ("lower", "middle", "upper", "width", "percent")


def band_values(
    close: float, lower: float, middle: float, upper: float, scale: float | None = None
) -> tuple[float | None, ...]:
    """Return the bands, their width in per cent of `scale` (the middle), and the close's place.

    The place is 0 on the lower band and 1 on the upper; None where they are one.
    """
    spread = upper - lower
    width = ratio(100 * spread, middle if scale is None else scale)
    return lower, middle, upper, width, ratio(close - lower, spread)


class Bollinger(Indicator):
    """Mean of the last `length` closes, and `factor` standard deviations below and above it."""

    NAME = "BOLLINGER"
    TITLE = "Bollinger bands; width in per cent of the middle, percent from 0 to 1"
    OUTPUTS = BANDS
    SEED = "population deviation (divided by `length`). No deviation: percent is null"
    SOURCE = "J. Bollinger, Bollinger on Bollinger Bands, 2001; TA-Lib BBANDS"

    def __init__(self, length: Length = 20, factor: Factor = 2.0) -> None:
        self._window = Window(length)
        self._length = length
        self._scale = factor / sqrt(length)
        super().__init__(self._window, warm_up=length)

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        close = bar.close
        values = self._window.take(close)
        if values is None:
            return None
        mean, deviation = mean_and_deviation(values, self._length)
        reach = self._scale * deviation
        return band_values(close, mean - reach, mean, mean + reach)
