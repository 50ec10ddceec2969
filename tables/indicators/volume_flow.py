"""Volume with the direction of prices: CMF, MFI, force index, ease of movement."""

from __future__ import annotations

from app.contracts.wire import BarRecord
from tables.indicators.averages import ExponentialMean, Seed, memory_of
from tables.indicators.base import Factor, Indicator, IndicatorValue, Length
from tables.indicators.volume_totals import money_flow
from tables.indicators.windows import Earlier, Mean, Sum, ratio

#: Typical prices that differ by less are one: the sums of three prices are, but for rounding.
ROUNDING = 1e-14


class ChaikinMoneyFlow(Indicator):
    """Sum of volume x ((close - low) - (high - close)) / (high - low), by the sum of volume."""

    NAME = "CMF"
    TITLE = "Chaikin money flow, -1 to 1"
    SEED = "A bar without range adds 0; null while the window has no volume"
    SOURCE = "M. Chaikin; ta ChaikinMoneyFlowIndicator"

    def __init__(self, length: Length = 20) -> None:
        self._flows = Sum(length)
        self._volumes = Sum(length)
        super().__init__(self._flows, self._volumes, warm_up=length)

    def _step(self, bar: BarRecord) -> float | None:
        return ratio(self._flows.push(money_flow(bar)), self._volumes.push(bar.volume))


class MoneyFlowIndex(Indicator):
    """100 x flow of rising bars / flow of all that moved; flow is typical price x volume."""

    NAME = "MFI"
    TITLE = "Money flow index"
    SEED = "begins with the second bar. No flow: 50"
    NOTE = (
        "No flow: ta says nothing, TA-Lib 0, also for flows below 1. Sums that are equal but for "
        "rounding have a direction in ta"
    )
    SOURCE = "G. Quong, A. Soudack, Stocks & Commodities 7:3, 1989; TA-Lib MFI"

    def __init__(self, length: Length = 14) -> None:
        self._previous = Earlier()
        self._rising = Sum(length)
        self._falling = Sum(length)
        super().__init__(self._previous, self._rising, self._falling, warm_up=length + 1)

    def _step(self, bar: BarRecord) -> float | None:
        typical = (bar.high + bar.low + bar.close) / 3
        previous = self._previous.push(typical)
        if previous is None:
            self._falling.push(None)
            return self._rising.push(None)
        # A flow has no sign of its own, also where prices are negative.
        flow = abs(typical) * bar.volume
        change = typical - previous
        if abs(change) <= ROUNDING * abs(typical):
            change = 0.0
        rising = self._rising.push(flow if change > 0 else 0.0)
        falling = self._falling.push(flow if change < 0 else 0.0)
        if rising is None or falling is None:
            return None
        flows = rising + falling
        return 100 * (rising / flows) if flows else 50.0


class ForceIndex(Indicator):
    """Exponential average of change of the close x volume."""

    NAME = "FORCE_INDEX"
    TITLE = "Force index"
    SEED = "begins with the second bar. `sma`, `first`: as EMA"
    SOURCE = "A. Elder, Trading for a Living, 1993; StockCharts ChartSchool"

    def __init__(self, length: Length = 13, seed: Seed = "sma") -> None:
        self._previous = Earlier()
        self._mean = ExponentialMean(length, seed)
        memory = memory_of(2 / (length + 1)) + 1
        super().__init__(self._previous, self._mean, warm_up=length + 1, memory=memory)

    def _step(self, bar: BarRecord) -> float | None:
        previous = self._previous.push(bar.close)
        return self._mean.push(None if previous is None else (bar.close - previous) * bar.volume)


class EaseOfMovement(Indicator):
    """Mean of the last `length` of the midpoint's change x (high - low) / volume x `scale` million.

    `raw` is that of the bar.
    """

    NAME = "EASE_OF_MOVEMENT"
    TITLE = "Ease of movement"
    OUTPUTS = ("", "raw")
    SEED = "begins with the second bar. A bar without volume counts as 0"
    SOURCE = "R. Arms, Volume Cycles in the Stock Market, 1994; ta EaseOfMovementIndicator"

    def __init__(self, length: Length = 14, scale: Factor = 100.0) -> None:
        self._previous = Earlier()
        self._mean = Mean(length)
        self._scale = scale * 1e6
        super().__init__(self._previous, self._mean, warm_up=length + 1)

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        previous = self._previous.push(bar.high + bar.low)
        if previous is None:
            self._mean.push(None)
            return None
        moved = (bar.high + bar.low - previous) * (bar.high - bar.low) * self._scale
        raw = ratio(moved, 2 * bar.volume) or 0.0
        mean = self._mean.push(raw)
        return None if mean is None else (mean, raw)
