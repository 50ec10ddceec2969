"""SMA, WMA and VWMA: means of the last closes."""

from __future__ import annotations

from app.contracts.wire import BarRecord
from tables.indicators.base import Indicator, Length
from tables.indicators.windows import Mean, Sum, WeightedMean, ratio


class SimpleAverage(Indicator):
    """Mean of the last `length` closes."""

    NAME = "SMA"
    TITLE = "Simple moving average"
    SOURCE = "mean of the last closes"

    def __init__(self, length: Length = 20) -> None:
        self._mean = Mean(length)
        super().__init__(self._mean, warm_up=length)

    def _step(self, bar: BarRecord) -> float | None:
        return self._mean.push(bar.close)


class WeightedAverage(Indicator):
    """Mean of the last `length` closes with the weights 1 (oldest) to `length`."""

    NAME = "WMA"
    TITLE = "Linearly weighted moving average"
    SOURCE = "TA-Lib WMA"

    def __init__(self, length: Length = 9) -> None:
        self._mean = WeightedMean(length)
        super().__init__(self._mean, warm_up=length)

    def _step(self, bar: BarRecord) -> float | None:
        return self._mean.push(bar.close)


class VolumeWeightedAverage(Indicator):
    """Mean of the last `length` closes, weighted by volume."""

    NAME = "VWMA"
    TITLE = "Volume-weighted moving average of closes"
    SEED = "null while the window has no volume"
    SOURCE = "sum(close x volume) / sum(volume)"

    def __init__(self, length: Length = 20) -> None:
        self._products = Sum(length)
        self._volumes = Sum(length)
        super().__init__(self._products, self._volumes, warm_up=length)

    def _step(self, bar: BarRecord) -> float | None:
        return ratio(self._products.push(bar.close * bar.volume), self._volumes.push(bar.volume))
