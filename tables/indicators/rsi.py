"""RSI and the stochastic of it."""

from __future__ import annotations

from typing import Literal

from app.contracts.wire import BarRecord
from tables.indicators.averages import Seed, WilderMean, memory_of
from tables.indicators.base import Indicator, IndicatorValue, Length
from tables.indicators.windows import Earlier, Highest, Lowest, Mean

#: What RSI is where no close has changed.
Flat = Literal["50", "none", "0", "100"]
SEEDED = (
    "`sma`: means of the first `length` changes (Wilder, TA-Lib); `first`: as ta, the change of "
    "the first bar counts as 0 and begins both averages"
)


class _Strength:
    """RSI of closes, as parts for an indicator."""

    def __init__(self, length: int, flat: str, seed: str) -> None:
        self._previous = Earlier()
        self._gains = WilderMean(length, seed)
        self._losses = WilderMean(length, seed)
        self._flat = None if flat == "none" else float(flat)
        self._begins_at_once = seed == "first"
        self.parts = (self._previous, self._gains, self._losses)
        self.warm_up = length if self._begins_at_once else length + 1
        self.memory = memory_of(1 / length) + 1

    def push(self, close: float) -> float | None:
        """Take a close; return its RSI."""
        previous = self._previous.push(close)
        if previous is None and self._begins_at_once:
            previous = close
        if previous is None:
            self._gains.push(None)
            self._losses.push(None)
            return None
        change = close - previous
        gains = self._gains.push(change if change > 0 else 0.0)
        losses = self._losses.push(-change if change < 0 else 0.0)
        if gains is None or losses is None:
            return None
        moved = gains + losses
        return 100 * (gains / moved) if moved else self._flat


class RelativeStrength(Indicator):
    """100 x average gain / (average gain + average loss), both Wilder's."""

    NAME = "RSI"
    TITLE = "Relative strength index"
    SEED = SEEDED + ". No movement at all: `flat`, 50 unless told"
    NOTE = "No movement: ta says 100, TA-Lib 0; both are options"
    SOURCE = "J. W. Wilder, New Concepts in Technical Trading Systems, 1978; TA-Lib RSI"

    def __init__(self, length: Length = 14, flat: Flat = "50", seed: Seed = "sma") -> None:
        self._strength = strength = _Strength(length, flat, seed)
        super().__init__(*strength.parts, warm_up=strength.warm_up, memory=strength.memory)

    def _step(self, bar: BarRecord) -> float | None:
        return self._strength.push(bar.close)


class StochasticStrength(Indicator):
    """Where RSI lies between its lowest (0) and highest (1) of the last `window` bars.

    `k` is the mean of the last `smooth` of it, `d` that of the last `signal` of `k`.
    """

    NAME = "STOCH_RSI"
    TITLE = "Stochastic RSI, 0 to 1"
    OUTPUTS = ("", "k", "d")
    SEED = SEEDED + ". Neither RSI nor range: 0.5"
    NOTE = "0 to 1 as ta and the authors; TA-Lib and TradingView multiply by 100"
    SOURCE = "T. Chande, S. Kroll, The New Technical Trader, 1994"

    def __init__(
        self,
        length: Length = 14,
        window: Length = 14,
        smooth: Length = 3,
        signal: Length = 3,
        seed: Seed = "sma",
    ) -> None:
        self._strength = strength = _Strength(length, "50", seed)
        self._highest = Highest(window)
        self._lowest = Lowest(window)
        self._smooth = Mean(smooth)
        self._signal = Mean(signal)
        behind = window + smooth + signal - 3
        super().__init__(
            *strength.parts,
            self._highest,
            self._lowest,
            self._smooth,
            self._signal,
            warm_up=strength.warm_up + behind,
            memory=strength.memory + behind,
        )

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        strength = self._strength.push(bar.close)
        highest = self._highest.push(strength)
        lowest = self._lowest.push(strength)
        place = None
        if strength is not None and highest is not None and lowest is not None:
            place = (strength - lowest) / (highest - lowest) if highest > lowest else 0.5
        k = self._smooth.push(place)
        d = self._signal.push(k)
        return None if place is None or k is None or d is None else (place, k, d)
