"""Ultimate oscillator, vortex, mass index, Aroon, ulcer index: ranges of the last bars."""

from __future__ import annotations

from math import sqrt

from app.contracts.wire import BarRecord
from tables.indicators.averages import ExponentialMean, Held, Seed, memory_of
from tables.indicators.base import Indicator, IndicatorValue, Length, ParameterError
from tables.indicators.true_range import true_range
from tables.indicators.windows import Earlier, Highest, Sum, Window, ratio


class Ultimate(Indicator):
    """4, 2 and 1 times buying pressure / true range over three lengths, in per cent."""

    NAME = "ULTIMATE"
    TITLE = "Ultimate oscillator"
    SEED = "begins with the second bar. A window without range counts as 50"
    SOURCE = "L. Williams, Stocks & Commodities 3:4, 1985; TA-Lib ULTOSC"

    def __init__(self, short: Length = 7, middle: Length = 14, long: Length = 28) -> None:
        if not short < middle < long:
            raise ParameterError(
                f"{self.NAME}: {short}, {middle}, {long}; expected short < middle < long"
            )
        lengths = (short, middle, long)
        self._previous = Earlier()
        self._pressures = tuple(map(Sum, lengths))
        self._ranges = tuple(map(Sum, lengths))
        super().__init__(self._previous, *self._pressures, *self._ranges, warm_up=long + 1)

    def _step(self, bar: BarRecord) -> float | None:
        previous = self._previous.push(bar.close)
        pressure = span = None
        if previous is not None:
            pressure = bar.close - min(bar.low, previous)
            span = true_range(bar, previous)
        total = 0.0
        ready = False
        for weight, pressures, ranges in zip((4, 2, 1), self._pressures, self._ranges, strict=True):
            bought = pressures.push(pressure)
            ranged = ranges.push(span)
            ready = bought is not None
            total += weight * (bought / ranged if ranged and bought is not None else 0.5)
        return 100 * total / 7 if ready else None


class Vortex(Indicator):
    """|high - previous low| and |low - previous high|, each summed, by the sum of true ranges."""

    NAME = "VORTEX"
    TITLE = "Vortex indicator"
    OUTPUTS = ("plus", "minus", "difference")
    SEED = "begins with the second bar. No range: null"
    NOTE = "ta fills the close before the first with the mean of the whole series: the future"
    SOURCE = "E. Botes, D. Siepman, Stocks & Commodities 28:1, 2010; ta VortexIndicator"

    def __init__(self, length: Length = 14) -> None:
        self._previous = Held(None, None, None)
        self._plus = Sum(length)
        self._minus = Sum(length)
        self._ranges = Sum(length)
        super().__init__(self._previous, self._plus, self._minus, self._ranges, warm_up=length + 1)

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        high, low, close = self._previous.values
        self._previous.set(bar.high, bar.low, bar.close)
        first = high is None or low is None
        ranges = self._ranges.push(None if first else true_range(bar, close))
        plus = self._plus.push(None if low is None else abs(bar.high - low))
        minus = self._minus.push(None if high is None else abs(bar.low - high))
        if ranges is None or plus is None or minus is None:
            return None
        above, below = ratio(plus, ranges), ratio(minus, ranges)
        return above, below, None if above is None or below is None else above - below


class MassIndex(Indicator):
    """Sum over `length` bars of EMA of (high - low) / EMA of that EMA."""

    NAME = "MASS_INDEX"
    TITLE = "Mass index"
    SEED = "`sma`, `first`: as EMA, at each level. No range: a quotient counts as 1"
    SOURCE = "D. Dorsey, Stocks & Commodities 10:6, 1992; ta MassIndex"

    def __init__(self, smooth: Length = 9, length: Length = 25, seed: Seed = "sma") -> None:
        self._once = ExponentialMean(smooth, seed)
        self._twice = ExponentialMean(smooth, seed)
        self._sum = Sum(length)
        super().__init__(
            self._once,
            self._twice,
            self._sum,
            warm_up=2 * (smooth - 1) + length,
            memory=memory_of(2 / (smooth + 1), levels=2) + length,
        )

    def _step(self, bar: BarRecord) -> float | None:
        once = self._once.push(bar.high - bar.low)
        twice = self._twice.push(once)
        quotient = None
        if once is not None and twice is not None:
            found = ratio(once, twice)
            quotient = 1.0 if found is None else found
        return self._sum.push(quotient)


class Aroon(Indicator):
    """100 x (`length` - bars since the highest high, lowest low, of `length` + 1 bars) / `length`.

    The latest counts where several are highest or lowest. Their difference is the oscillator.
    """

    NAME = "AROON"
    TITLE = "Aroon up, down and oscillator"
    OUTPUTS = ("up", "down", "oscillator")
    SEED = "of equal extremes the latest (TA-Lib)"
    NOTE = "of equal extremes ta takes the earliest"
    SOURCE = "T. Chande, Stocks & Commodities 13:9, 1995; TA-Lib AROON"

    def __init__(self, length: Length = 25) -> None:
        self._highs = Window(length + 1)
        self._lows = Window(length + 1)
        self._length = length
        super().__init__(self._highs, self._lows, warm_up=length + 1)

    def _step(self, bar: BarRecord) -> IndicatorValue | None:
        highs = self._highs.take(bar.high)
        lows = self._lows.take(bar.low)
        if highs is None or lows is None:
            return None
        length = self._length
        up = 100 * (length - highs[::-1].index(max(highs))) / length
        down = 100 * (length - lows[::-1].index(min(lows))) / length
        return up, down, up - down


class UlcerIndex(Indicator):
    """Root of the mean square of the percentage below the highest close, over `length` bars.

    The highest is that of the last `length` bars as each of them saw it; fewer at the very start.
    """

    NAME = "ULCER_INDEX"
    TITLE = "Ulcer index"
    SEED = "the first bars look back as far as there is; null while a highest close is 0 or below"
    SOURCE = "P. Martin, B. McCann, The Investor's Guide to Fidelity Funds, 1989; ta UlcerIndex"

    def __init__(self, length: Length = 14) -> None:
        self._highest = Highest(length)
        self._falls = Window(length)
        #: Highest close of the first bars; bars since the highest close was not above 0.
        self._held = Held(None, 0)
        self._length = length
        super().__init__(self._highest, self._falls, self._held, warm_up=length, memory=2 * length)

    def _step(self, bar: BarRecord) -> float | None:
        first, run = self._held.values
        first = bar.close if first is None else max(first, bar.close)
        highest = self._highest.push(bar.close)
        peak = first if highest is None else highest
        fall = ratio(100 * (bar.close - peak), peak) if peak > 0 else None
        run = 0 if fall is None else min(self._length, (run or 0) + 1)
        self._held.set(first, run)
        falls = self._falls.take(fall or 0.0)
        if falls is None or run < self._length:
            return None
        return sqrt(sum([each * each for each in falls]) / self._length)
