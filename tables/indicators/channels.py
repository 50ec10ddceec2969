"""Keltner and Donchian channels."""

from __future__ import annotations

from typing import Literal

from app.contracts.wire import BarRecord
from tables.indicators.averages import ExponentialMean, memory_of
from tables.indicators.base import Factor, Indicator, IndicatorValue, Length
from tables.indicators.bollinger import BANDS, band_values
from tables.indicators.true_range import Average, range_mean, true_range
from tables.indicators.windows import Earlier, Highest, Lowest, Mean


class Keltner(Indicator):
    """An average, and `factor` average true ranges below and above it."""

    NAME = "KELTNER"
    TITLE = "Keltner channel; width in per cent of the middle, percent from 0 to 1"
    OUTPUTS = BANDS
    SEED = (
        "`middle=ema`: EMA of closes begun by a mean, as today; `first`: begun by the first close "
        "(ta); `typical`: SMA of (high + low + close) / 3. The range is "
        "Wilder's ATR, or a simple mean (`average=sma`)"
    )
    NOTE = "ta's default is Keltner's own of 1960, here KELTNER_RANGE"
    SOURCE = "L. B. Raschke's form; StockCharts ChartSchool"

    def __init__(
        self,
        length: Length = 20,
        range_length: Length = 10,
        factor: Factor = 2.0,
        middle: Literal["ema", "first", "typical"] = "ema",
        average: Average = "wilder",
    ) -> None:
        self._typical = middle == "typical"
        seed = "first" if middle == "first" else "sma"
        self._middle = Mean(length) if self._typical else ExponentialMean(length, seed)
        self._previous = Earlier()
        self._range, range_memory = range_mean(range_length, average)
        self._factor = factor
        middle_memory = length if self._typical else memory_of(2 / (length + 1))
        super().__init__(
            self._middle,
            self._previous,
            self._range,
            warm_up=max(length, range_length),
            memory=max(middle_memory, range_memory),
        )

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        price = (bar.high + bar.low + bar.close) / 3 if self._typical else bar.close
        middle = self._middle.push(price)
        average = self._range.push(true_range(bar, self._previous.push(bar.close)))
        if middle is None or average is None:
            return None
        reach = self._factor * average
        return band_values(bar.close, middle - reach, middle, middle + reach)


class KeltnerRange(Indicator):
    """Mean of (high + low + close) / 3, and the mean range (high - low) below and above it."""

    NAME = "KELTNER_RANGE"
    TITLE = "Keltner's channel of 1960, from simple means; width and percent as above"
    OUTPUTS = BANDS
    SOURCE = "C. Keltner, How to Make Money in Commodities, 1960; ta KeltnerChannel"

    def __init__(self, length: Length = 10) -> None:
        self._middle = Mean(length)
        self._range = Mean(length)
        super().__init__(self._middle, self._range, warm_up=length)

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        middle = self._middle.push((bar.high + bar.low + bar.close) / 3)
        reach = self._range.push(bar.high - bar.low)
        if middle is None or reach is None:
            return None
        return band_values(bar.close, middle - reach, middle, middle + reach)


class Donchian(Indicator):
    """Lowest low and highest high of the last `length` bars, and the middle of them."""

    NAME = "DONCHIAN"
    TITLE = "Donchian channel; width in per cent of the mean close, percent from 0 to 1"
    OUTPUTS = BANDS
    SEED = "No range: percent is null"
    SOURCE = "R. Donchian; ta DonchianChannel"

    def __init__(self, length: Length = 20) -> None:
        self._highest = Highest(length)
        self._lowest = Lowest(length)
        self._mean = Mean(length)
        super().__init__(self._highest, self._lowest, self._mean, warm_up=length)

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        upper = self._highest.push(bar.high)
        lower = self._lowest.push(bar.low)
        mean = self._mean.push(bar.close)
        if upper is None or lower is None or mean is None:
            return None
        return band_values(bar.close, lower, (lower + upper) / 2, upper, mean)
