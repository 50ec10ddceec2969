"""Stochastic oscillator and Williams %R: where the close lies in the range of the last bars."""

from __future__ import annotations

from app.contracts.wire import BarRecord
from tables.indicators.base import Indicator, IndicatorValue, Length
from tables.indicators.windows import Highest, Lowest, Mean, Part


class _Placed(Indicator):
    def __init__(self, length: int, *others: Part, behind: int = 0) -> None:
        self._highest = Highest(length)
        self._lowest = Lowest(length)
        super().__init__(self._highest, self._lowest, *others, warm_up=length + behind)

    def _place(self, bar: BarRecord) -> float | None:
        """Return 0 at the lowest low and 1 at the highest high; one half where they are one."""
        highest = self._highest.push(bar.high)
        lowest = self._lowest.push(bar.low)
        if highest is None or lowest is None:
            return None
        return (bar.close - lowest) / (highest - lowest) if highest > lowest else 0.5


class Stochastic(_Placed):
    """%K: 100 x (close - lowest low) / (highest high - lowest low), the mean of the last `smooth`.

    %D: the mean of the last `signal` of %K. The fast one has `smooth` 1, the slow one 3.
    """

    NAME = "STOCHASTIC"
    TITLE = "Stochastic oscillator; STOCHASTIC(14,3,3) is the slow one"
    OUTPUTS = ("k", "d")
    SEED = "No range: 50"
    NOTE = "No range: ta says nothing, TA-Lib 0"
    SOURCE = "G. Lane, 1950s; TA-Lib STOCH"

    def __init__(self, length: Length = 14, signal: Length = 3, smooth: Length = 1) -> None:
        self._smooth = Mean(smooth)
        self._signal = Mean(signal)
        super().__init__(length, self._smooth, self._signal, behind=smooth + signal - 2)

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        place = self._place(bar)
        k = self._smooth.push(None if place is None else 100 * place)
        d = self._signal.push(k)
        return None if k is None or d is None else (k, d)


class WilliamsR(_Placed):
    """-100 x (highest high - close) / (highest high - lowest low)."""

    NAME = "WILLIAMS_R"
    TITLE = "Williams %R, -100 to 0"
    SEED = "No range: -50"
    SOURCE = "L. Williams, 1973; TA-Lib WILLR"

    def __init__(self, length: Length = 14) -> None:
        super().__init__(length)

    def _step(self, bar: BarRecord) -> float | None:
        place = self._place(bar)
        return None if place is None else 100 * (place - 1)
