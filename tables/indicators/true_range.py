"""True range, and its averages ATR and NATR."""

from __future__ import annotations

from typing import Literal

from app.contracts.wire import BarRecord
from tables.indicators.averages import WilderMean, memory_of
from tables.indicators.base import Indicator, Length
from tables.indicators.windows import Earlier, Mean, ratio

#: The true range of the first bar: `high_low`, high - low (ta, Lean, TradingView); or none,
#: `previous_close`: it begins with the second bar (TA-Lib).
First = Literal["high_low", "previous_close"]
SEEDED = (
    "`first=high_low`: the first true range is high - low (ta, Lean); "
    "`first=previous_close`: it is that of the second bar (TA-Lib)"
)


#: `wilder`, or a simple mean of the last `length` (`sma`).
Average = Literal["wilder", "sma"]


def range_mean(length: int, average: str) -> tuple[Mean | WilderMean, int]:
    """Return what averages true ranges, and how many bars it remembers one."""
    if average == "sma":
        return Mean(length), length + 1
    return WilderMean(length), memory_of(1 / length) + 1


def true_range(bar: BarRecord, previous: float | None) -> float:
    """Return the range of a bar and the close before it; without one high - low."""
    if previous is None:
        return bar.high - bar.low
    high = bar.high if bar.high > previous else previous
    return high - (bar.low if bar.low < previous else previous)


class _Ranges(Indicator):
    def __init__(self, length: int, first: str, average: str = "sma") -> None:
        self._previous = Earlier()
        self._mean, memory = range_mean(length, average)
        self._begins_late = first == "previous_close"
        super().__init__(
            self._previous,
            self._mean,
            warm_up=length + 1 if self._begins_late else length,
            memory=memory,
        )

    def _average(self, bar: BarRecord) -> float | None:
        previous = self._previous.push(bar.close)
        late = previous is None and self._begins_late
        return self._mean.push(None if late else true_range(bar, previous))


class TrueRange(_Ranges):
    """Greatest of high - low, |high - previous close|, |low - previous close|."""

    NAME = "TRUE_RANGE"
    TITLE = "True range"
    SEED = SEEDED
    SOURCE = "J. W. Wilder, New Concepts in Technical Trading Systems, 1978; TA-Lib TRANGE"

    def __init__(self, first: First = "high_low") -> None:
        super().__init__(1, first)

    def _step(self, bar: BarRecord) -> float | None:
        return self._average(bar)


class AverageTrueRange(_Ranges):
    """Wilder's average of the true range, begun by the mean of the first `length`.

    With `average=sma` the mean of the last `length`.
    """

    NAME = "ATR"
    TITLE = "Average true range"
    SEED = SEEDED
    NOTE = "ta says 0.0 in the warm-up"
    SOURCE = "J. W. Wilder, New Concepts in Technical Trading Systems, 1978; TA-Lib ATR"

    def __init__(
        self, length: Length = 14, first: First = "high_low", average: Average = "wilder"
    ) -> None:
        super().__init__(length, first, average)

    def _step(self, bar: BarRecord) -> float | None:
        return self._average(bar)


class NormalisedTrueRange(_Ranges):
    """ATR in per cent of the close."""

    NAME = "NATR"
    TITLE = "Average true range, per cent of the close"
    SEED = SEEDED + "; null while the close is 0"
    SOURCE = "J. Forman, Stocks & Commodities 24:5, 2006; TA-Lib NATR"

    def __init__(
        self, length: Length = 14, first: First = "high_low", average: Average = "wilder"
    ) -> None:
        super().__init__(length, first, average)

    def _step(self, bar: BarRecord) -> float | None:
        average = self._average(bar)
        return None if average is None else ratio(100 * average, bar.close)
