"""EMA, RMA, DEMA, TEMA and TRIX: exponential averages, and averages of them."""

from __future__ import annotations

from app.contracts.wire import BarRecord
from tables.indicators.averages import ExponentialMean, Seed, WilderMean, memory_of
from tables.indicators.base import Indicator, Length
from tables.indicators.windows import Earlier, ratio

SEEDED = "`sma`: mean of the first `length` values; `first`: the first value (ta, pandas)"


class ExponentialAverage(Indicator):
    """Average of closes in which each has the weight 2 / (length + 1)."""

    NAME = "EMA"
    TITLE = "Exponential moving average"
    SEED = SEEDED
    SOURCE = "TA-Lib EMA"

    def __init__(self, length: Length = 14, seed: Seed = "sma") -> None:
        self._mean = ExponentialMean(length, seed)
        super().__init__(self._mean, warm_up=length, memory=memory_of(2 / (length + 1)))

    def _step(self, bar: BarRecord) -> float | None:
        return self._mean.push(bar.close)


class WilderAverage(Indicator):
    """Average of closes in which each has the weight 1 / length."""

    NAME = "RMA"
    TITLE = "Wilder's moving average"
    SEED = SEEDED
    SOURCE = "J. W. Wilder, New Concepts in Technical Trading Systems, 1978"

    def __init__(self, length: Length = 14, seed: Seed = "sma") -> None:
        self._mean = WilderMean(length, seed)
        super().__init__(self._mean, warm_up=length, memory=memory_of(1 / length))

    def _step(self, bar: BarRecord) -> float | None:
        return self._mean.push(bar.close)


class _Chained(Indicator):
    """Exponential averages of each other; `_chain` gives those of a bar, None until each is."""

    def __init__(self, length: int, seed: str, levels: int, *others: Earlier, extra: int) -> None:
        self._means = tuple(ExponentialMean(length, seed) for _ in range(levels))
        super().__init__(
            *self._means,
            *others,
            warm_up=levels * (length - 1) + 1 + extra,
            memory=memory_of(2 / (length + 1), levels=levels) + extra,
        )

    def _chain(self, bar: BarRecord) -> list[float | None]:
        value: float | None = bar.close
        return [value := mean.push(value) for mean in self._means]


class DoubleExponentialAverage(_Chained):
    """2 x EMA - EMA of EMA."""

    NAME = "DEMA"
    TITLE = "Double exponential moving average"
    SEED = SEEDED + ", at each level"
    SOURCE = "P. Mulloy, Stocks & Commodities 12:1, 1994; TA-Lib DEMA"

    def __init__(self, length: Length = 20, seed: Seed = "sma") -> None:
        super().__init__(length, seed, 2, extra=0)

    def _step(self, bar: BarRecord) -> float | None:
        once, twice = self._chain(bar)
        return None if once is None or twice is None else 2 * once - twice


class TripleExponentialAverage(_Chained):
    """3 x EMA - 3 x EMA of EMA + EMA of EMA of EMA."""

    NAME = "TEMA"
    TITLE = "Triple exponential moving average"
    SEED = SEEDED + ", at each level"
    SOURCE = "P. Mulloy, Stocks & Commodities 12:1, 1994; TA-Lib TEMA"

    def __init__(self, length: Length = 20, seed: Seed = "sma") -> None:
        super().__init__(length, seed, 3, extra=0)

    def _step(self, bar: BarRecord) -> float | None:
        once, twice, thrice = self._chain(bar)
        if once is None or twice is None or thrice is None:
            return None
        return 3 * once - 3 * twice + thrice


class Trix(_Chained):
    """Percentage change, from bar to bar, of an EMA of EMA of EMA."""

    NAME = "TRIX"
    TITLE = "Change of the triple-smoothed average, per cent"
    SEED = SEEDED + ", at each level"
    NOTE = "ta fills the bar before the first with the mean of the whole series: the future"
    SOURCE = "J. Hutson, Stocks & Commodities 1:5, 1983; TA-Lib TRIX"

    def __init__(self, length: Length = 15, seed: Seed = "sma") -> None:
        self._previous = Earlier()
        super().__init__(length, seed, 3, self._previous, extra=1)

    def _step(self, bar: BarRecord) -> float | None:
        value = self._chain(bar)[-1]
        before = self._previous.push(value)
        if value is None or before is None:
            return None
        return ratio(100 * (value - before), before)
