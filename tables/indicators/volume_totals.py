"""Totals of volume since the first bar: OBV, accumulation/distribution, VPT, negative volume index.

They forget nothing; only their changes say something.
"""

from __future__ import annotations

from math import isfinite
from typing import Literal

from app.contracts.wire import BarRecord
from tables.indicators.averages import Held, Total
from tables.indicators.base import Indicator, Length
from tables.indicators.windows import Earlier, Mean, ratio


class OnBalanceVolume(Indicator):
    """Volume is added where the close rose, taken away where it fell."""

    NAME = "OBV"
    TITLE = "On-balance volume"
    SEED = "`first=volume`: begins with the first bar's volume (TA-Lib); `zero`: with 0 (Granville)"
    NOTE = "ta adds the volume of bars whose close did not change"
    SOURCE = "J. Granville, 1963; TA-Lib OBV"

    def __init__(self, first: Literal["volume", "zero"] = "volume") -> None:
        self._previous = Earlier()
        self._total = Total()
        self._adds_first = first == "volume"
        super().__init__(self._previous, self._total, warm_up=1, memory=None)

    def _step(self, bar: BarRecord) -> float | None:
        previous = self._previous.push(bar.close)
        if previous is None:
            return self._total.push(bar.volume if self._adds_first else 0.0)
        if bar.close > previous:
            return self._total.push(bar.volume)
        return self._total.push(-bar.volume if bar.close < previous else 0.0)


def money_flow(bar: BarRecord) -> float:
    """Return volume x where the close lies between low (-1) and high (1); 0 where they are one."""
    spread = bar.high - bar.low
    if not spread:
        return 0.0
    return ((bar.close - bar.low) - (bar.high - bar.close)) / spread * bar.volume


class AccumulationDistribution(Indicator):
    """Total of volume x ((close - low) - (high - close)) / (high - low)."""

    NAME = "AD"
    TITLE = "Accumulation/distribution line"
    SEED = "A bar without range adds 0"
    SOURCE = "M. Chaikin; TA-Lib AD"

    def __init__(self) -> None:
        self._total = Total()
        super().__init__(self._total, warm_up=1, memory=None)

    def _step(self, bar: BarRecord) -> float | None:
        return self._total.push(money_flow(bar))


class VolumePriceTrend(Indicator):
    """Total of volume x relative change of the close; the mean of the last `smooth` of it."""

    NAME = "VPT"
    TITLE = "Volume-price trend"
    SEED = "begins with the second bar; a change from 0 adds 0"
    SOURCE = "ta VolumePriceTrendIndicator; StockCharts ChartSchool"

    def __init__(self, smooth: Length = 1) -> None:
        self._previous = Earlier()
        self._total = Total()
        self._mean = Mean(smooth)
        super().__init__(self._previous, self._total, self._mean, warm_up=smooth + 1, memory=None)

    def _step(self, bar: BarRecord) -> float | None:
        previous = self._previous.push(bar.close)
        if previous is None:
            self._total.push(None)
            return self._mean.push(None)
        change = ratio(bar.close - previous, previous) or 0.0
        return self._mean.push(self._total.push(change * bar.volume))


class NegativeVolumeIndex(Indicator):
    """Grows with the close on bars with less volume than the one before, from 1,000."""

    NAME = "NVI"
    TITLE = "Negative volume index"
    SEED = "1,000; a change from 0 changes nothing"
    SOURCE = (
        "P. Dysart, 1936; N. Fosback, Stock Market Logic, 1976; ta NegativeVolumeIndexIndicator"
    )

    def __init__(self) -> None:
        self._held = Held(None, None, None)
        super().__init__(self._held, warm_up=1, memory=None)

    def _step(self, bar: BarRecord) -> float | None:
        index, close, volume = self._held.values
        if index is None:
            index = 1000.0
        elif close is not None and volume is not None and bar.volume < volume:
            grown = index * (1 + (ratio(bar.close - close, close) or 0.0))
            index = grown if isfinite(grown) else index
        self._held.set(index, bar.close, bar.volume)
        return index
