"""CCI, awesome oscillator, DPO, KST: closes and middles against their means."""

from __future__ import annotations

from app.contracts.wire import BarRecord
from tables.indicators.base import Factor, Indicator, IndicatorValue, Length, ParameterError
from tables.indicators.windows import Earlier, Mean, Window, mean_absolute_deviation, ratio


class CommodityChannel(Indicator):
    """(typical price - its mean) / (`factor` x mean absolute deviation from it)."""

    NAME = "CCI"
    TITLE = "Commodity channel index"
    SEED = "No deviation: 0"
    NOTE = "No deviation: ta says nothing"
    SOURCE = "D. Lambert, Commodities, 1980; TA-Lib CCI"

    def __init__(self, length: Length = 20, factor: Factor = 0.015) -> None:
        self._window = Window(length)
        self._length = length
        self._factor = factor
        super().__init__(self._window, warm_up=length)

    def _step(self, bar: BarRecord) -> float | None:
        typical = (bar.high + bar.low + bar.close) / 3
        values = self._window.take(typical)
        if values is None:
            return None
        mean, deviation = mean_absolute_deviation(values, self._length)
        return ratio(typical - mean, self._factor * deviation) or 0.0


class Awesome(Indicator):
    """Mean of the last `fast` middles (high + low) / 2, less that of the last `slow`."""

    NAME = "AWESOME"
    TITLE = "Awesome oscillator"
    SOURCE = "B. Williams, New Trading Dimensions, 1998; ta AwesomeOscillatorIndicator"

    def __init__(self, fast: Length = 5, slow: Length = 34) -> None:
        if fast >= slow:
            raise ParameterError(f"{self.NAME}: fast is {fast}, slow {slow}; expected fast < slow")
        self._fast = Mean(fast)
        self._slow = Mean(slow)
        super().__init__(self._fast, self._slow, warm_up=slow)

    def _step(self, bar: BarRecord) -> float | None:
        middle = (bar.high + bar.low) / 2
        fast = self._fast.push(middle)
        slow = self._slow.push(middle)
        return None if fast is None or slow is None else fast - slow


class DetrendedPrice(Indicator):
    """The close `length` / 2 + 1 bars ago, less the mean of the last `length` closes."""

    NAME = "DPO"
    TITLE = "Detrended price oscillator"
    SEED = "looks back only: charts that shift the mean back use later closes"
    NOTE = "ta fills the first bars with the mean of the whole series: the future"
    SOURCE = "StockCharts ChartSchool"

    def __init__(self, length: Length = 20) -> None:
        lag = length // 2 + 1
        self._earlier_close = Earlier(lag)
        self._mean = Mean(length)
        super().__init__(self._earlier_close, self._mean, warm_up=max(length, lag + 1))

    def _step(self, bar: BarRecord) -> float | None:
        before = self._earlier_close.push(bar.close)
        mean = self._mean.push(bar.close)
        return None if before is None or mean is None else before - mean


class KnowSureThing(Indicator):
    """1, 2, 3 and 4 times the means of four rates of change; `signal` is the mean of that."""

    NAME = "KST"
    TITLE = "Know sure thing"
    OUTPUTS = ("", "signal", "histogram")
    SEED = "A change from 0 is left out of the means"
    NOTE = "ta fills the first bars with the mean of the whole series: the future"
    SOURCE = "M. Pring, Stocks & Commodities 10:9, 1992; ta KSTIndicator"

    def __init__(
        self,
        roc1: Length = 10,
        roc2: Length = 15,
        roc3: Length = 20,
        roc4: Length = 30,
        mean1: Length = 10,
        mean2: Length = 10,
        mean3: Length = 10,
        mean4: Length = 15,
        signal: Length = 9,
    ) -> None:
        lags = (roc1, roc2, roc3, roc4)
        means = (mean1, mean2, mean3, mean4)
        self._lags = tuple(map(Earlier, lags))
        self._means = tuple(map(Mean, means))
        self._signal = Mean(signal)
        ready = max(lag + mean for lag, mean in zip(lags, means, strict=True))
        super().__init__(*self._lags, *self._means, self._signal, warm_up=ready + signal - 1)

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        line: float | None = 0.0
        for weight, lag, mean in zip((1, 2, 3, 4), self._lags, self._means, strict=True):
            before = lag.push(bar.close)
            change = None if before is None else ratio(100 * (bar.close - before), before)
            smoothed = mean.push(change)
            line = None if line is None or smoothed is None else line + weight * smoothed
        signal = self._signal.push(line)
        if line is None or signal is None:
            return None
        return line, signal, line - signal
