"""MACD, PPO and PVO: a fast exponential average against a slow one, and a signal of that."""

from __future__ import annotations

from typing import Literal

from app.contracts.wire import BarRecord
from tables.indicators.averages import ExponentialMean, Held, memory_of
from tables.indicators.base import Indicator, IndicatorValue, Length, ParameterError
from tables.indicators.windows import ratio

#: `talib`: as `sma`, but the fast average begins so late that both have a first value together.
FastSlowSeed = Literal["sma", "first", "talib"]
SEEDED = (
    "`sma`: mean of the first values of each; `first`: the first value (ta, pandas); "
    "`talib`: the seed of the fast average ends with that of the slow one"
)


class _FastSlow(Indicator):
    OUTPUTS = ("", "signal", "histogram")
    SEED = SEEDED

    def __init__(
        self,
        fast: Length = 12,
        slow: Length = 26,
        signal: Length = 9,
        seed: FastSlowSeed = "sma",
    ) -> None:
        if fast >= slow:
            raise ParameterError(f"{self.NAME}: fast is {fast}, slow {slow}; expected fast < slow")
        kind = "first" if seed == "first" else "sma"
        self._fast = ExponentialMean(fast, kind)
        self._slow = ExponentialMean(slow, kind)
        self._signal = ExponentialMean(signal, kind)
        #: Bars that the fast average still leaves out.
        self._waiting = Held(slow - fast if seed == "talib" else 0)
        super().__init__(
            self._fast,
            self._slow,
            self._signal,
            self._waiting,
            warm_up=slow + signal - 1,
            memory=memory_of(2 / (slow + 1)) + memory_of(2 / (signal + 1)),
        )

    def _averages(self, value: float) -> tuple[float | None, float | None]:
        waiting = self._waiting.values[0] or 0
        self._waiting.set(max(0, waiting - 1))
        return self._fast.push(None if waiting else value), self._slow.push(value)

    def _with_signal(self, line: float | None) -> IndicatorValue | None:
        signal = self._signal.push(line)
        if signal is None or line is None:
            return None
        return line, signal, line - signal


class Macd(_FastSlow):
    """EMA of closes over `fast` bars less that over `slow`; `signal` is the EMA of that."""

    NAME = "MACD"
    TITLE = "Moving average convergence/divergence"
    SOURCE = "G. Appel, 1979; TA-Lib MACD"

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        fast, slow = self._averages(bar.close)
        return self._with_signal(None if fast is None or slow is None else fast - slow)


class _Percentage(_FastSlow):
    def _percentage(self, value: float) -> IndicatorValue | None:
        fast, slow = self._averages(value)
        difference = None if fast is None or slow is None else 100 * (fast - slow)
        return self._with_signal(ratio(difference, slow))


class PercentagePriceOscillator(_Percentage):
    """MACD in per cent of the slow average."""

    NAME = "PPO"
    TITLE = "Percentage price oscillator"
    SOURCE = "StockCharts ChartSchool; TA-Lib PPO with matype 1"

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        return self._percentage(bar.close)


class PercentageVolumeOscillator(_Percentage):
    """PPO of volume."""

    NAME = "PVO"
    TITLE = "Percentage volume oscillator"
    SEED = SEEDED + "; null while the slow average is 0"
    SOURCE = "StockCharts ChartSchool"

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        return self._percentage(bar.volume)
