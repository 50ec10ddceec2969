"""TSI and STC: twice smoothed changes, and a twice stochastic MACD."""

from __future__ import annotations

from app.contracts.wire import BarRecord
from tables.indicators.averages import ExponentialMean, Seed, memory_of
from tables.indicators.base import Indicator, Length, ParameterError
from tables.indicators.windows import Earlier, Highest, Lowest


class TrueStrength(Indicator):
    """100 x EMA of EMA of changes / EMA of EMA of |changes|."""

    NAME = "TSI"
    TITLE = "True strength index"
    SEED = "begins with the second bar. `sma`, `first`: as EMA, at each level. No movement: 0"
    SOURCE = "W. Blau, Momentum, Direction and Divergence, 1995; ta TSIIndicator"

    def __init__(self, slow: Length = 25, fast: Length = 13, seed: Seed = "sma") -> None:
        self._previous = Earlier()
        self._slow = ExponentialMean(slow, seed)
        self._fast = ExponentialMean(fast, seed)
        self._slow_size = ExponentialMean(slow, seed)
        self._fast_size = ExponentialMean(fast, seed)
        super().__init__(
            self._previous,
            self._slow,
            self._fast,
            self._slow_size,
            self._fast_size,
            warm_up=slow + fast,
            memory=memory_of(2 / (max(slow, fast) + 1), levels=2) + 1,
        )

    def _step(self, bar: BarRecord) -> float | None:
        previous = self._previous.push(bar.close)
        change = None if previous is None else bar.close - previous
        moved = self._fast.push(self._slow.push(change))
        size = None if change is None else abs(change)
        sizes = self._fast_size.push(self._slow_size.push(size))
        if moved is None or sizes is None:
            return None
        return 100 * (moved / sizes) if sizes else 0.0


class _Place:
    """Where a value lies in the range of the last ones, 0 to 100, smoothed exponentially."""

    def __init__(self, cycle: int, smooth: int, seed: str) -> None:
        self._highest = Highest(cycle)
        self._lowest = Lowest(cycle)
        self._mean = ExponentialMean(smooth, seed)
        self.parts = (self._highest, self._lowest, self._mean)

    def push(self, value: float | None) -> float | None:
        """Take a value; return the smoothed place of it."""
        highest = self._highest.push(value)
        lowest = self._lowest.push(value)
        if value is None or highest is None or lowest is None:
            return self._mean.push(None)
        return self._mean.push(
            100 * ((value - lowest) / (highest - lowest)) if highest > lowest else 50.0
        )


class SchaffTrendCycle(Indicator):
    """The place of MACD in its range, smoothed; the place of that in its own, smoothed again."""

    NAME = "STC"
    TITLE = "Schaff trend cycle"
    SEED = "`sma`, `first`: as EMA, at each level. No range: 50"
    NOTE = "No range: ta leaves the value out of the average that follows"
    SOURCE = "D. Schaff, 1999; ta STCIndicator"

    def __init__(
        self,
        slow: Length = 50,
        fast: Length = 23,
        cycle: Length = 10,
        smooth1: Length = 3,
        smooth2: Length = 3,
        seed: Seed = "sma",
    ) -> None:
        if fast >= slow:
            raise ParameterError(f"{self.NAME}: slow is {slow}, fast {fast}; expected fast < slow")
        self._fast = ExponentialMean(fast, seed)
        self._slow = ExponentialMean(slow, seed)
        self._first = _Place(cycle, smooth1, seed)
        self._second = _Place(cycle, smooth2, seed)
        super().__init__(
            self._fast,
            self._slow,
            *(part for one in (self._first, self._second) for part in one.parts),
            warm_up=slow + 2 * (cycle - 1) + smooth1 + smooth2 - 2,
            memory=sum(memory_of(2 / (each + 1)) for each in (slow, smooth1, smooth2)) + 2 * cycle,
        )

    def _step(self, bar: BarRecord) -> float | None:
        fast = self._fast.push(bar.close)
        slow = self._slow.push(bar.close)
        line = None if fast is None or slow is None else fast - slow
        return self._second.push(self._first.push(line))
