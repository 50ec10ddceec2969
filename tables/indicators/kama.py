"""KAMA: an exponential average that is fast where prices go straight and slow where they do not."""

from __future__ import annotations

from app.contracts.wire import BarRecord
from tables.indicators.averages import Held, memory_of
from tables.indicators.base import Indicator, Length
from tables.indicators.windows import Earlier, Sum


class AdaptiveAverage(Indicator):
    """Kaufman's: the weight of a close is (efficiency x (fast - slow) + slow) squared.

    Efficiency is |change over `length` bars| / sum of the |changes| of each; fast and slow are
    2 / (bars + 1). No change at all counts as efficiency 1 (TA-Lib), which moves nothing.
    """

    NAME = "KAMA"
    TITLE = "Kaufman's adaptive moving average"
    SEED = "begins with the close before the first value (TA-Lib, StockCharts)"
    NOTE = "ta already shows that close, and wraps round to the last close of the series for it"
    SOURCE = "P. Kaufman, Trading Systems and Methods, 1995; TA-Lib KAMA"

    def __init__(self, length: Length = 10, fast: Length = 2, slow: Length = 30) -> None:
        self._earlier_close = Earlier(length)
        self._previous = Earlier()
        self._path = Sum(length)
        self._average = Held(None)
        self._slow = 2 / (slow + 1)
        self._range = 2 / (fast + 1) - self._slow
        super().__init__(
            self._earlier_close,
            self._previous,
            self._path,
            self._average,
            warm_up=length + 1,
            memory=memory_of(self._slow**2) + length,
        )

    def _step(self, bar: BarRecord) -> float | None:
        close = bar.close
        before = self._earlier_close.push(close)
        previous = self._previous.push(close)
        path = self._path.push(None if previous is None else abs(close - previous))
        if before is None or path is None or previous is None:
            self._average.set(None)
            return None
        # Of monotonous prices path and distance differ by rounding alone.
        distance = abs(close - before)
        efficiency = 1.0 if path <= distance else distance / path
        average = self._average.values[0]
        if average is None:
            average = previous
        average += (efficiency * self._range + self._slow) ** 2 * (close - average)
        self._average.set(average)
        return average
