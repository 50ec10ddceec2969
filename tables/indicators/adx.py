"""ADX, +DI and -DI: how directed prices move, and where to."""

from __future__ import annotations

from typing import Literal

from app.contracts.wire import BarRecord
from tables.indicators.averages import ExponentialMean, Held, WilderMean, memory_of
from tables.indicators.base import Indicator, IndicatorValue, Length, ParameterError
from tables.indicators.true_range import true_range


class _ShortWilder(ExponentialMean):
    """TA-Lib's: the sum of the first length - 1 values stands for that of `length`.

    In units of the mean: the first `length` - 1 are summed, divided by `length`, and the next
    value is already a step.
    """

    __slots__ = ("_wait",)

    def __init__(self, length: int) -> None:
        super().__init__(length - 1, "sma", 1 / length)
        self._wait = length

    def _begin(self, value: float) -> float | None:
        seeded = super()._begin(value)
        if seeded is not None:
            # The mean of length - 1 values becomes their sum by length; shown from the next on.
            self._total = self._total * (self._length / self._wait)
        return None


class DirectionalIndex(Indicator):
    """Wilder's average of 100 x |+DI - -DI| / (+DI + -DI); the DIs are in per cent of the ATR."""

    NAME = "ADX"
    TITLE = "Average directional index, with +DI (plus) and -DI (minus)"
    OUTPUTS = ("", "plus", "minus")
    SEED = (
        "begins with the second bar. `wilder`: all averages by the mean of their first `length`; "
        "`talib`: those of movements and ranges by the first `length` - 1. No movement: 0"
    )
    NOTE = "ta says 0 in the warm-up, fails below 2 x `length` bars, and its last value is 0"
    SOURCE = "J. W. Wilder, New Concepts in Technical Trading Systems, 1978; TA-Lib ADX"

    def __init__(self, length: Length = 14, seed: Literal["wilder", "talib"] = "wilder") -> None:
        if length < 2:
            raise ParameterError(f"{self.NAME}: length is {length}; expected 2 or more")
        make = _ShortWilder if seed == "talib" else WilderMean
        self._range = make(length)
        self._plus = make(length)
        self._minus = make(length)
        self._index = WilderMean(length)
        #: High, low and close of the bar before.
        self._previous = Held(None, None, None)
        super().__init__(
            self._range,
            self._plus,
            self._minus,
            self._index,
            self._previous,
            warm_up=2 * length,
            memory=memory_of(1 / length, levels=2) + 1,
        )

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        high, low, close = self._previous.values
        self._previous.set(bar.high, bar.low, bar.close)
        if high is None or low is None:
            for part in (self._range, self._plus, self._minus, self._index):
                part.push(None)
            return None
        up = bar.high - high
        down = low - bar.low
        span = self._range.push(true_range(bar, close))
        rising = self._plus.push(up if up > down and up > 0 else 0.0)
        falling = self._minus.push(down if down > up and down > 0 else 0.0)
        if span is None or rising is None or falling is None:
            self._index.push(None)
            return None
        # An average begun by a step may be some 1e-16 of a range that is none any more.
        plus, minus = (100 * rising / span, 100 * falling / span) if span > 0 else (0.0, 0.0)
        both = plus + minus
        index = self._index.push(100 * abs(plus - minus) / both if both else 0.0)
        return None if index is None else (index, plus, minus)
